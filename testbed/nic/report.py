"""Figures: lines of JSON in the form of scripts/bench, a table, and a plot."""

import json
from xml.etree import ElementTree

WIDTH, HEIGHT, MARGIN = 720, 400, 60
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"]


class Report:
    """Takes figures in and writes each to a file at once, so that a run that ends early leaves what it has."""

    def __init__(self, file, system):
        self._file, self._system = file, system
        self.figures = []

    def add(self, case, value, unit, **more):
        """A figure; `more` is repetitions, quartiles, notes."""
        figure = {"case": case, "system": self._system, "value": round(value, 4), "unit": unit, **more}
        self.figures.append(figure)
        self._file.write(json.dumps(figure) + "\n")
        self._file.flush()


def table(figures):
    """The figures for people."""
    width = max((len(it["case"]) for it in figures), default=4)
    lines = [f"{'case':<{width}}  {'system':<10} {'value':>14}  unit"]
    for it in figures:
        note = f"  [{it['note']}]" if "note" in it else ""
        lines.append(f"{it['case']:<{width}}  {it['system']:<10} {it['value']:>14,}  {it['unit']}{note}")
    return "\n".join(lines)


def plot(title, x_name, y_name, series):
    """A plot of lines as SVG; `series` is {name: [(x, y), …]}. Both axes begin at 0."""
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError("nothing to plot")
    x_end = max(x for x, _ in points) or 1
    y_end = max(y for _, y in points) or 1
    svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}",
                              **{"font-family": "sans-serif", "font-size": "12"})
    ElementTree.SubElement(svg, "rect", width="100%", height="100%", fill="white")

    def text(x, y, words, anchor="middle"):
        ElementTree.SubElement(svg, "text", x=str(x), y=str(y), **{"text-anchor": anchor}).text = words

    def place(x, y):
        return (MARGIN + x / x_end * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - y / y_end * (HEIGHT - 2 * MARGIN))

    text(WIDTH / 2, MARGIN / 2, title)
    text(WIDTH / 2, HEIGHT - 12, x_name)
    text(MARGIN, MARGIN - 10, y_name)
    for part in range(5):
        (x, bottom), (left, y) = place(x_end * part / 4, 0), place(0, y_end * part / 4)
        text(x, bottom + 16, f"{x_end * part / 4:,.4g}")
        text(left - 6, y + 4, f"{y_end * part / 4:,.4g}", "end")
        ElementTree.SubElement(svg, "line", x1=str(left), x2=str(WIDTH - MARGIN), y1=str(y), y2=str(y), stroke="#ddd")
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(line)))
        ElementTree.SubElement(svg, "polyline", points=path, fill="none", stroke=colour, **{"stroke-width": "2"})
        ElementTree.SubElement(svg, "text", x=str(WIDTH - MARGIN), y=str(MARGIN + 16 * number), fill=colour,
                               **{"text-anchor": "end"}).text = name
    return ElementTree.tostring(svg, encoding="unicode")
