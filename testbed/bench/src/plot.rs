//! Plots of a run's figures, as SVG, for docs/performance.md.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::gates::Recorded;
use crate::stats::Figure;
use crate::{goals, report};

/// What the subcommand is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The figures: what a run prints with --json
    #[arg(long, default_value = "docs/plots/figures.jsonl")]
    figures: PathBuf,
    /// The instructions of each case, by function
    #[arg(long, default_value = "testbed/bench/instructions.json")]
    instructions: PathBuf,
    /// The directory to write to
    #[arg(long, default_value = "docs/plots")]
    into: PathBuf,
}

/// Leat, then what it is compared with.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1f, 0x5f, 0xa8),
    RGBColor(0xe0, 0x7b, 0x1a),
    RGBColor(0x6b, 0x6b, 0x6b),
    RGBColor(0x9a, 0x3b, 0x8f),
    RGBColor(0xc9, 0x5c, 0x5c),
];
const WIDTH: u32 = 760;
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws every plot for which there are figures.
pub fn run(options: &Options) -> Result<()> {
    let figures = report::read(&options.figures)?;
    let into = |name: &str| options.into.join(name);
    established(&into("established.svg"), &figures)?;
    bars(&into("new.svg"), "New flow, ns", &new_flows(&figures))?;
    bars(&into("memif.svg"), "Over memif, packet rate as a part of testpmd's (macswap)", &memif(&figures))?;
    for what in ["connection", "request"] {
        let title = format!("CPU time of a TCP {what} through the load balancer, µs");
        bars(&into(&format!("{what}.svg")), &title, &operations(&figures, what))?;
    }
    bars(&into("instructions.svg"), "Instructions of a packet by file", &instructions(&options.instructions)?)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// The established packet's cost by the number of flows.
fn established(path: &Path, figures: &[Figure]) -> Result<()> {
    let series = [
        ("Leat, full NAT", "leat", "established/full-nat/ipv4/"),
        ("rte_hash look-up alone", "rte_hash", "established/full-nat/ipv4/"),
        ("random access alone (floor)", "floor", "established/full-nat/ipv4/"),
        ("Leat, IPv6, full NAT", "leat", "established/full-nat/ipv6/"),
    ];
    let points = |system: &str, prefix: &str| -> Vec<(f64, f64)> {
        let of = |f: &Figure| Some((f.case.strip_prefix(prefix)?.parse().ok()?, f.value));
        figures.iter().filter(|f| f.system == system).filter_map(of).collect()
    };
    let mut all: Vec<_> = series.iter().map(|(name, system, prefix)| (*name, points(system, prefix))).collect();
    let goal = |(flows, _): &(f64, f64)| Some((*flows, goals::at_most(&format!("{}{flows}", series[0].2))?));
    all.push(("goal for Leat with IPv4", all[0].1.iter().filter_map(goal).collect()));
    let Some(top) = all.iter().flat_map(|(_, points)| points).map(|(_, ns)| *ns).max_by(f64::total_cmp) else {
        return Ok(());
    };
    let root = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Established flows, ns per packet", (FONT, 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(44)
        .build_cartesian_2d((1.0..10_000_000.0).log_scale(), 0.0..(top * 1.1))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("flows, in random order")
        .x_label_formatter(&|flows| count(*flows))
        .y_label_formatter(&|ns| format!("{ns:.0}"))
        .label_style((FONT, 15))
        .draw()
        .map_err(failed)?;
    for ((name, points), colour) in all.into_iter().zip(COLOURS) {
        let line = LineSeries::new(points, colour.stroke_width(2)).point_size(3);
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(line).map_err(failed)?.label(name).legend(legend);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .label_font((FONT, 15))
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)
}

fn count(flows: f64) -> String {
    match flows {
        n if n >= 1e6 => format!("{:.0} M", n / 1e6),
        n if n >= 1e3 => format!("{:.0} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A bar: what it is of, its length, the number of its colour.
type Bar = (String, f64, usize);

/// The first packets of flows.
fn new_flows(figures: &[Figure]) -> Vec<Bar> {
    let of = |f: &&Figure| f.unit == "ns/flow" && f.case.starts_with("new");
    figures.iter().filter(of).map(|f| (f.case.clone(), f.value, 0)).collect()
}

/// What leat-dp reaches of testpmd's rate.
fn memif(figures: &[Figure]) -> Vec<Bar> {
    let of = |f: &Figure| Some((f.case.strip_prefix("memif/")?.strip_suffix("/ratio")?.to_owned(), f.value, 0));
    figures.iter().filter_map(of).collect()
}

/// What a connection or a request costs each system, the cheapest first.
fn operations(figures: &[Figure], what: &str) -> Vec<Bar> {
    let case = format!("{what}/full-nat");
    let of = |f: &Figure| (f.system.clone(), f.value, usize::from(f.system != "leat"));
    let mut bars: Vec<Bar> = figures.iter().filter(|f| f.case == case).map(of).collect();
    bars.sort_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
    bars
}

/// Which files an established flow's packet spends its instructions in, and a new one's, most first.
fn instructions(path: &Path) -> Result<Vec<Bar>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let recorded: Recorded = serde_json::from_str(&text)?;
    let mut bars = Vec::new();
    for (colour, case) in ["established/full-nat/ipv4", "new/full-nat/ipv4"].into_iter().enumerate() {
        let mut files: Vec<(String, f64)> = recorded.files(case).into_iter().collect();
        files.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let kind = case.split('/').next().unwrap_or_default();
        bars.extend(files.into_iter().take(10).map(|(file, n)| (format!("{kind}: {file}"), n, colour)));
    }
    Ok(bars)
}

/// Draws bars below each other, each with its number. Nothing if there are none.
fn bars(path: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    const BAR: i32 = 22;
    const TOP: i32 = 44;
    const LEFT: i32 = 250;
    const RIGHT: i32 = 70;
    let Some(longest) = bars.iter().map(|(_, value, _)| *value).max_by(f64::total_cmp) else { return Ok(()) };
    let height = TOP + bars.len() as i32 * BAR + 12;
    let root: Area<'_> = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let text = |size: i32, at: HPos| (FONT, size).into_font().color(&BLACK).pos(Pos::new(at, VPos::Center));
    root.draw(&Text::new(title, (12, TOP / 2), text(18, HPos::Left))).map_err(failed)?;
    let scale = f64::from(WIDTH as i32 - LEFT - RIGHT) / longest;
    for (row, (label, value, colour)) in (0..).zip(bars) {
        let (top, end) = (TOP + row * BAR, LEFT + (value * scale).round() as i32);
        let fill = COLOURS[*colour % COLOURS.len()].filled();
        root.draw(&Text::new(label.as_str(), (LEFT - 8, top + BAR / 2), text(15, HPos::Right))).map_err(failed)?;
        root.draw(&Rectangle::new([(LEFT, top + 3), (end.max(LEFT + 1), top + BAR - 3)], fill)).map_err(failed)?;
        let number = if *value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        root.draw(&Text::new(number, (end + 6, top + BAR / 2), text(15, HPos::Left))).map_err(failed)?;
    }
    root.present().map_err(failed)
}
