//! Figures for people.

use std::fmt::Write;

use crate::memory;
use crate::stats::Figure;

/// The machine, as far as it matters here.
pub fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let total = memory::field("/proc/meminfo", "MemTotal:").unwrap_or(0) >> 20;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    format!("{model}, {cpus} CPUs, {total} GiB, Linux {}, load {load}", kernel.trim())
}

/// All figures, those of other systems next to Leat's.
pub fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.case.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$}  {:<8} {:>9}  {:<19} {:>19}  {:>8}\n",
        "case", "system", "median", "unit", "quartiles", "best"
    );
    let (mut group, mut case) = ("", "");
    for figure in order(figures) {
        let next = figure.case.split(['/', '-']).next().unwrap_or_default();
        if next != group {
            text.push('\n');
            group = next;
        }
        let spread = match (figure.q1, figure.q3) {
            (Some(q1), Some(q3)) => format!("{q1} – {q3}"),
            _ => String::new(),
        };
        let shown = if figure.case == case { "" } else { &figure.case };
        let best = figure.best.map(|best| best.to_string()).unwrap_or_default();
        let cycles = figure.cycles.map(|cycles| format!("{cycles:.0} TSC ticks")).unwrap_or_default();
        let _ = write!(
            text,
            "{shown:<width$}  {:<8} {:>9}  {:<19} {spread:>19}  {best:>8}  {cycles}",
            figure.system, figure.value, figure.unit
        );
        if figure.system != "leat"
            && let Some(ours) = figures.iter().find(|f| f.case == figure.case && f.system == "leat")
        {
            let _ = write!(text, "  leat/{} = {:.2}", figure.system, ours.value / figure.value);
        }
        if let Some(note) = &figure.note {
            let _ = write!(text, "  [{note}]");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        case = &figure.case;
    }
    text
}

/// Figures of one case together, otherwise as they came.
fn order(figures: &[Figure]) -> Vec<&Figure> {
    let mut ordered: Vec<&Figure> = Vec::new();
    for figure in figures {
        let after = ordered.iter().rposition(|f| f.case == figure.case).map_or(ordered.len(), |at| at + 1);
        ordered.insert(after, figure);
    }
    ordered
}
