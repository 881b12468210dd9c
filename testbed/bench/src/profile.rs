//! Instructions of a fixed amount of work, counted by callgrind, and whose they are.
//!
//! An instruction belongs to the innermost function of this project that it was inlined into: what the standard library does counts for
//! who uses it. Debug information says so ([`addr2line`]); callgrind alone knows only functions that are called.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use addr2line::Loader;
use anyhow::{Context, Result, anyhow, ensure};

use crate::counted::PACKETS;

/// What was counted, per packet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// All instructions.
    pub total: f64,
    /// By file and function: `table.rs: candidate`.
    pub functions: BTreeMap<String, f64>,
}

impl Profile {
    /// By file.
    pub fn files(&self) -> BTreeMap<&str, f64> {
        let mut files = BTreeMap::new();
        for (function, count) in &self.functions {
            *files.entry(function.split(':').next().unwrap_or_default()).or_default() += count;
        }
        files
    }
}

/// Whether callgrind is there.
pub fn can_count() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok()
}

/// Counts a case of [`crate::counted`]. Files are made in `directory`.
pub fn count(case: &str, directory: &Path) -> Result<Profile> {
    let (program, out) = (std::env::current_exe()?, directory.join("callgrind.out"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*leat_bench*bed*measured*", "--quiet"]);
    command.args(["--compress-strings=no", "--compress-pos=no", "--dump-instr=yes"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(&program);
    command.arg("counted").arg(format!("--case={case}"));
    command.arg(format!("--scratch={}", directory.join("counted").display()));
    let output = command.output().context("valgrind (Debian package valgrind) cannot be run")?;
    ensure!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = std::fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    let owners = Owners { loader: Loader::new(&program).map_err(|e| anyhow!("{e}"))?, known: HashMap::new() };
    let profile = sum(&text, &program.to_string_lossy(), owners);
    ensure!(profile.total > 0.0, "nothing was counted: is the measured function still there by its name?");
    Ok(profile)
}

/// Sums the costs of a profile. Lines are `ob=` OBJECT, `fn=` FUNCTION, then `ADDRESS LINE COST`; after `calls=` comes the cost of a
/// call, which is counted where it is spent.
fn sum(text: &str, program: &str, mut owners: Owners) -> Profile {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let (mut object, mut function, mut is_call) = ("", "", false);
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "ob" => object = value,
                "fn" => function = value,
                "calls" => is_call = true,
                _ => {}
            }
        } else if line.starts_with("0x") && !std::mem::take(&mut is_call) {
            let mut fields = line.split_whitespace();
            let address = fields.next().and_then(|hex| u64::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
            let cost: u64 = fields.nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
            let owner = address.filter(|_| object == program).and_then(|address| owners.of(address));
            let elsewhere = || format!("{}: {}", file_name(object), plain(function));
            *counts.entry(owner.unwrap_or_else(elsewhere)).or_default() += cost;
        }
    }
    let per_packet = |count: u64| count as f64 / f64::from(PACKETS);
    Profile {
        total: per_packet(counts.values().sum()),
        functions: counts.into_iter().map(|(function, count)| (function, per_packet(count))).collect(),
    }
}

/// Tells which function of the project an instruction belongs to.
struct Owners {
    loader: Loader,
    known: HashMap<u64, Option<String>>,
}

impl Owners {
    fn of(&mut self, address: u64) -> Option<String> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let owner = self.find(address);
        self.known.insert(address, owner.clone());
        owner
    }

    fn find(&self, address: u64) -> Option<String> {
        let mut frames = self.loader.find_frames(address).ok()?;
        while let Some(frame) = frames.next().ok()? {
            let file = frame.location.and_then(|location| location.file).unwrap_or_default();
            if !["dp/core/src/", "dp/abi/src/", "testbed/bench/src/"].iter().any(|ours| file.contains(ours)) {
                continue;
            }
            // A closure counts for the function that it is in.
            let name = frame.function.and_then(|function| Some(plain(&function.demangle().ok()?).to_owned()));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                return Some(format!("{}: {name}", file_name(file)));
            }
        }
        None
    }
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A function's own name: without its path, and without what it is generic over. Empty for a closure.
fn plain(name: &str) -> &str {
    let mut depth = 0;
    let mut start = 0;
    let mut last = "";
    for (at, c) in name.char_indices().chain([(name.len(), ':')]) {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ':' if depth == 0 => {
                let part = name[start..at].split('<').next().unwrap_or_default();
                if !(part.is_empty() || is_hash(part)) {
                    last = part;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    if last.contains('{') { "" } else { last }
}

/// What the compiler adds to tell equal names apart.
fn is_hash(part: &str) -> bool {
    part.len() == 17 && part.starts_with('h') && part[1..].chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names() {
        for (name, expected) in [
            ("leat_core::table::FlowTable::candidate", "candidate"),
            ("<leat_core::a::B as C>::sum::h0123456789abcdef", "sum"),
            ("leat_core::pipeline::Pipeline<'_>::process::<leat_bench::bed::Buffer>", "process"),
            ("process<leat_bench::bed::Buffer>", "process"),
            ("leat_core::table::with_tag::{{closure}}", ""),
            ("{closure#0}<leat_bench::bed::Buffer>", ""),
            ("main", "main"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }
}
