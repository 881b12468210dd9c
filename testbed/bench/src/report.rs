//! Figures for people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::stats::Figure;
use crate::{goals, memory};

/// What the subcommand is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Figures: what a run has printed with --json
    #[arg(default_value = "docs/plots/figures.jsonl")]
    figures: std::path::PathBuf,
}

/// Prints the figures of an earlier run as a table, with their goals.
pub fn run(options: &Options) -> Result<()> {
    let figures = read(&options.figures)?;
    let _ = write!(std::io::stdout(), "{}\n{}", table(&figures), goals::table(&figures));
    Ok(())
}

/// Reads what a run has printed with `--json`.
pub fn read(path: &Path) -> Result<Vec<Figure>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The machine, as far as it matters here.
pub fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let total = memory::field("/proc/meminfo", "MemTotal:").unwrap_or(0) >> 20;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let busy = others_percent();
    let noise = if busy > 10.0 { ": expect noise, and memif rates that mean nothing" } else { "" };
    format!("{model}, {cpus} CPUs, {total} GiB, Linux {}; other programs use {busy:.0} % of it{noise}", kernel.trim())
}

/// How much of all CPUs is in use, while nothing is measured yet.
fn others_percent() -> f64 {
    let (idle, all) = cpu_times();
    std::thread::sleep(Duration::from_secs(1));
    let (idle_after, all_after) = cpu_times();
    100.0 - 100.0 * (idle_after - idle) as f64 / (all_after - all).max(1) as f64
}

/// Idle time and all time of all CPUs since they started.
fn cpu_times() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let times: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // user, nice, system, idle, waiting for I/O, interrupts, … and guests, who are in "user" already.
    (times.iter().skip(3).take(2).sum(), times.iter().take(8).sum())
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
        if self::group(figure) != group {
            text.push('\n');
            group = self::group(figure);
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

/// What a case is of: its first word.
fn group(figure: &Figure) -> &str {
    figure.case.split(['/', '-']).next().unwrap_or_default()
}

/// Figures of one group together, and of one case, otherwise as they came.
fn order(figures: &[Figure]) -> Vec<&Figure> {
    let mut ordered: Vec<&Figure> = Vec::new();
    for figure in figures {
        let last = |same: &dyn Fn(&Figure) -> bool| ordered.iter().rposition(|f| same(f));
        let after = last(&|f| f.case == figure.case).or_else(|| last(&|f| group(f) == group(figure)));
        ordered.insert(after.map_or(ordered.len(), |at| at + 1), figure);
    }
    ordered
}
