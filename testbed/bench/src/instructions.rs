//! Instructions per packet, counted by callgrind: the same on every run and every machine of the architecture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cleanup;
use crate::counted::{CASES, PACKETS};
use crate::run::{Report, figures_of};
use crate::stats::Figure;

/// Counts every case, the first one twice.
pub fn run(report: &mut Report) -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("  there is no valgrind (Debian package valgrind): instructions are not counted");
        return Ok(());
    }
    for (index, (case, ..)) in CASES.iter().enumerate() {
        eprintln!("  {case}");
        let profile = count(case, report)?;
        if index == 0 {
            let again = count(case, report)?;
            ensure!(again.total == profile.total, "{case}: {} instructions, then {}", profile.total, again.total);
        }
        let per_packet = |n: u64| n as f64 / f64::from(PACKETS);
        report.add(
            Figure::once(format!("instructions/{case}"), "leat", per_packet(profile.total), "instructions/packet")
                .with_note(profile.largest(per_packet)),
        );
    }
    Ok(())
}

struct Profile {
    total: u64,
    files: BTreeMap<String, u64>,
}

impl Profile {
    /// The files of source in which most instructions are. A stage is a file.
    fn largest(&self, per_packet: impl Fn(u64) -> f64) -> String {
        let mut files: Vec<(&String, &u64)> = self.files.iter().collect();
        files.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = files.iter().take(8).map(|(file, count)| format!("{file} {:.0}", per_packet(**count)));
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn count(case: &str, report: &mut Report) -> Result<Profile> {
    let out = cleanup::directory().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*leat_bench*bed*measured*", "--quiet"]);
    command.args(["--compress-strings=no", "--compress-pos=no", "--dump-line=yes"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(std::env::current_exe()?);
    command.arg("counted").arg(format!("--case={case}"));
    command.arg(format!("--scratch={}", cleanup::directory().join("counted").display()));
    figures_of("callgrind", &mut command, Duration::from_secs(300), report)?;
    parse(&out).with_context(|| format!("cannot read {}", out.display()))
}

/// Sums the costs of a profile by file. Lines are `fl=`, `fi=` or `fe=` FILE, then `LINE COST`; after `calls=` comes the cost of a
/// call, which is counted where it is spent.
fn parse(path: &Path) -> Result<Profile> {
    let text = std::fs::read_to_string(path)?;
    let mut profile = Profile { total: 0, files: BTreeMap::new() };
    let (mut file, mut is_call) = (String::new(), false);
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fl" | "fi" | "fe" => file = short(value),
                "calls" => is_call = true,
                _ => {}
            }
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            if !std::mem::take(&mut is_call) {
                profile.total += cost;
                *profile.files.entry(file.clone()).or_default() += cost;
            }
        }
    }
    ensure!(profile.total > 0, "nothing was counted: is the measured function still there by its name?");
    Ok(profile)
}

/// The last two parts of a path.
fn short(path: &str) -> String {
    let parts: Vec<&str> = path.rsplit('/').take(1).collect();
    if path.contains("/dp/core/src/") || path.starts_with("dp/core/src/") {
        parts[0].to_owned()
    } else {
        format!("({})", parts[0])
    }
}
