//! What a change may not make worse: instructions per packet and bytes per flow. Neither depends on the machine or on what else it does.
//!
//! Instructions are compared with a file that is kept with the source. Another compiler makes other instructions, so then the bound is
//! wider. Bytes per flow have absolute limits.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bed::{Bed, forwarding};
use crate::counted::CASES;
use crate::frames::{Family, Mode, Way};
use crate::memory::{FlowRegion, Pages, Sinks};
use crate::profile::{Profile, count};

/// By how many percent instructions may grow, and by how many with another compiler than the one of the file.
const PERCENT: (f64, f64) = (3.0, 15.0);
/// Bytes per flow at the most.
const BYTES: [(Family, &str, f64); 2] = [(Family::V4, "IPv4", 96.0), (Family::V6, "IPv6", 160.0)];
/// Functions that are named when a case has grown, and instructions per packet by which they must have.
const NAMED: (usize, f64) = (6, 0.5);

/// What the subcommand is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The file with the instructions of each case
    #[arg(long, default_value = "testbed/bench/instructions.json")]
    file: PathBuf,
    /// Write the file anew instead of comparing with it
    #[arg(long)]
    write: bool,
}

/// The file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The compiler.
    compiler: String,
    /// By case.
    cases: BTreeMap<String, Case>,
}

impl Recorded {
    /// The instructions of a case by file.
    pub fn files(&self, case: &str) -> BTreeMap<String, f64> {
        let mut files = BTreeMap::new();
        for (function, count) in self.cases.get(case).iter().flat_map(|case| &case.functions) {
            let file = function.split(':').next().unwrap_or_default();
            *files.entry(file.to_owned()).or_default() += count;
        }
        files
    }
}

/// Instructions per packet.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Case {
    total: f64,
    functions: BTreeMap<String, f64>,
}

impl Case {
    /// To a tenth of an instruction. Functions that are not in every other packet are left out.
    fn of(profile: &Profile) -> Self {
        let round = |count: f64| (count * 10.0).round() / 10.0;
        let functions = profile.functions.iter().map(|(name, count)| (name.clone(), round(*count)));
        Self { total: round(profile.total), functions: functions.filter(|(_, count)| *count >= 0.5).collect() }
    }
}

/// Checks everything, also after a failure.
pub fn run(options: &Options) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("leat-gates-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = check(options, &directory);
    std::fs::remove_dir_all(&directory)?;
    let failures = result?;
    if failures > 0 {
        bail!("{failures} of the figures above are worse than they may be");
    }
    Ok(())
}

fn check(options: &Options, directory: &Path) -> Result<usize> {
    let mut failures = bytes_per_flow(directory)?;
    let mut now = Recorded { compiler: compiler()?, cases: BTreeMap::new() };
    for (case, ..) in &CASES {
        now.cases.insert((*case).to_owned(), Case::of(&count(case, directory)?));
    }
    let file = options.file.display();
    if options.write {
        std::fs::write(&options.file, serde_json::to_string_pretty(&now)? + "\n")?;
        println!("{file}: written");
        return Ok(failures);
    }
    let text = std::fs::read_to_string(&options.file).with_context(|| format!("cannot read {file}"))?;
    let recorded: Recorded = serde_json::from_str(&text).with_context(|| format!("cannot read {file}"))?;
    let percent = if recorded.compiler == now.compiler {
        PERCENT.0
    } else {
        println!(
            "{file} was made with {}, this is {}: {} % more are allowed",
            recorded.compiler, now.compiler, PERCENT.1
        );
        PERCENT.1
    };
    let mut fewer = false;
    for (name, case) in &now.cases {
        let Some(before) = recorded.cases.get(name) else {
            println!("{name}: not in {file}");
            failures += 1;
            continue;
        };
        let change = 100.0 * (case.total / before.total - 1.0);
        print!("{name}: {:.1} instructions a packet, {:.1} recorded, {change:+.1} %", case.total, before.total);
        println!("{}", if change > percent { ": FAILED" } else { "" });
        if change > percent {
            print!("{}", grown(before, case));
        }
        failures += usize::from(change > percent);
        fewer |= change < -PERCENT.0;
    }
    if failures > 0 || fewer {
        println!("If this is as it should be, write the file anew: scripts/gates --write");
    }
    Ok(failures)
}

/// The functions that grew most.
fn grown(before: &Case, now: &Case) -> String {
    let mut grown: Vec<(&String, f64, f64)> = now
        .functions
        .iter()
        .map(|(name, count)| (name, before.functions.get(name).copied().unwrap_or(0.0), *count))
        .filter(|(_, before, now)| now - before >= NAMED.1)
        .collect();
    grown.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)));
    let mut text = String::new();
    for (name, before, now) in grown.into_iter().take(NAMED.0) {
        let _ = writeln!(text, "    {name}: {before:.1} -> {now:.1} ({:+.1})", now - before);
    }
    text
}

/// Prints the bytes of a flow and returns how many limits are exceeded.
fn bytes_per_flow(directory: &Path) -> Result<usize> {
    const FLOWS: usize = 1_000_000;
    let sinks = Sinks::new(&directory.join("sinks"))?;
    let mut failures = 0;
    for (family, name, at_most) in BYTES {
        let way = Way::tcp(Mode::FullNat, family);
        let mut region = FlowRegion::new(FLOWS, way.is_wide(), Pages::Ordinary)?;
        let mut bed = Bed::new(way, region.flows()?, sinks.take(), &Arc::new(forwarding(&way.snapshot(1))));
        let bytes = bed.pipeline().bytes_per_flow();
        let fails = bytes > at_most;
        println!("{name}: {bytes:.1} bytes a flow, {at_most:.0} allowed{}", if fails { ": FAILED" } else { "" });
        failures += usize::from(fails);
    }
    Ok(failures)
}

/// The compiler that builds here, and so has built this.
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    ensure!(output.status.success(), "rustc -vV: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?");
    Ok(format!("rustc {}, LLVM {}, {}", field("release: "), field("LLVM version: "), field("host: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_grew_is_named_the_most_first() {
        let case = |counts: &[(&str, f64)]| Case {
            total: counts.iter().map(|(_, count)| count).sum(),
            functions: counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        };
        let before = case(&[("a.rs: a", 10.0), ("b.rs: b", 20.0), ("c.rs: c", 30.0)]);
        let now = case(&[("a.rs: a", 12.0), ("b.rs: b", 15.0), ("c.rs: c", 30.2), ("d.rs: d", 9.0)]);
        let named = grown(&before, &now);
        let names: Vec<&str> = named.lines().filter_map(|line| line.trim().split(": ").nth(1)).collect();
        assert_eq!(names, ["d", "a"]);
    }
}
