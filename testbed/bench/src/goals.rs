//! What is to be reached, put next to what was measured. Nothing fails because of it: times are this machine's.

use std::fmt::Write;

use crate::stats::Figure;

/// What a figure of Leat's is to be.
enum Goal {
    /// So much at the most.
    AtMost(f64),
    /// So much at least.
    AtLeast(f64),
    /// At the most so many times what it is of another system.
    Times(&'static str, f64),
}

use Goal::{AtLeast, AtMost, Times};

/// By case; `*` stands for the rest of a name, or for its beginning.
const GOALS: &[(&str, Goal)] = &[
    ("established/full-nat/ipv4/1", AtMost(25.0)),
    ("established/full-nat/ipv4/1000", AtMost(26.0)),
    ("established/full-nat/ipv4/100000", AtMost(35.0)),
    ("established/full-nat/ipv4/1000000", AtMost(60.0)),
    ("established/full-nat/ipv4/10000000", AtMost(80.0)),
    ("established/preserve/ipv4/1", AtMost(25.0)),
    ("established/preserve/ipv4/1000", AtMost(26.0)),
    ("established/preserve/ipv4/100000", AtMost(35.0)),
    ("established/preserve/ipv4/1000000", AtMost(60.0)),
    ("established/preserve/ipv4/10000000", AtMost(80.0)),
    ("ratio/rte_hash/established/full-nat/ipv4/100000", AtMost(2.0)),
    ("ratio/rte_hash/established/full-nat/ipv4/1000000", AtMost(1.3)),
    ("ratio/rte_hash/established/full-nat/ipv4/10000000", AtMost(1.3)),
    ("ratio/10000000-to-1/*", AtMost(3.2)),
    ("ratio/ipv6-to-ipv4/*", AtMost(1.3)),
    ("new/preserve/ipv4", AtMost(150.0)),
    ("new/full-nat/ipv4", AtMost(250.0)),
    ("memory/ipv4", AtMost(96.0)),
    ("memory/ipv6", AtMost(160.0)),
    ("turn/*", AtMost(200.0)),
    ("memif/full-nat/100000/ratio", AtLeast(0.8)),
    ("*/p99", Times("testpmd", 3.0)),
    ("connection/full-nat", Times("haproxy", 0.1)),
    ("connection/full-nat", Times("nftables", 1.0 / 3.0)),
    ("request/full-nat", Times("haproxy", 0.1)),
    ("request/full-nat", Times("nftables", 1.0 / 3.0)),
];

/// The most that a case of Leat's is to cost.
pub fn at_most(case: &str) -> Option<f64> {
    GOALS.iter().find_map(|(pattern, goal)| match goal {
        AtMost(most) if *pattern == case => Some(*most),
        _ => None,
    })
}

fn matches(pattern: &str, case: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(start), _) => case.starts_with(start),
        (_, Some(end)) => case.ends_with(end),
        _ => case == pattern,
    }
}

/// Each figure that has a goal, next to it. Empty if there is none.
pub fn table(figures: &[Figure]) -> String {
    let mut lines = Vec::new();
    for (pattern, goal) in GOALS {
        for ours in figures.iter().filter(|f| f.system == "leat" && matches(pattern, &f.case)) {
            let (wanted, value, is_reached) = match goal {
                AtMost(most) => (format!("<= {most} {}", ours.unit), ours.value, ours.value <= *most),
                AtLeast(least) => (format!(">= {least} {}", ours.unit), ours.value, ours.value >= *least),
                Times(system, most) => {
                    let theirs = figures.iter().find(|f| f.case == ours.case && f.system == *system);
                    let Some(theirs) = theirs else { continue };
                    let ratio = ours.value / theirs.value;
                    (format!("<= {most:.2} x {system}"), ratio, ratio <= *most)
                }
            };
            lines.push((ours.case.as_str(), wanted, value, is_reached));
        }
    }
    let Some(width) = lines.iter().map(|(case, ..)| case.len()).max() else { return String::new() };
    let mut text = format!("{:<width$}  {:<22} {:>9}\n", "goal", "wanted", "measured");
    for (case, wanted, value, is_reached) in &lines {
        let verdict = if *is_reached { "reached" } else { "NOT reached" };
        let _ = writeln!(text, "{case:<width$}  {wanted:<22} {value:>9.2}  {verdict}");
    }
    let reached = lines.iter().filter(|(.., is_reached)| *is_reached).count();
    let _ = writeln!(text, "{reached} of {} reached", lines.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_next_to_their_goals() {
        let figures = [
            Figure::once("established/full-nat/ipv4/1", "leat", 24.0, "ns/packet"),
            Figure::once("established/full-nat/ipv4/1", "rte_hash", 99.0, "ns/packet"),
            Figure::once("ratio/ipv6-to-ipv4/new/full-nat", "leat", 1.5, "ratio"),
            Figure::once("latency/full-nat/1/p99", "leat", 30.0, "us"),
            Figure::once("latency/full-nat/1/p99", "testpmd", 11.0, "us"),
            Figure::once("request/full-nat", "leat", 1.0, "us/request"),
        ];
        let text = table(&figures);
        let verdicts: Vec<bool> = text.lines().skip(1).map(|line| !line.ends_with("NOT reached")).collect();
        assert_eq!(verdicts, [true, false, true, true], "{text}");
        assert!(text.ends_with("2 of 3 reached\n"), "{text}");
        assert_eq!(table(&[]), "");
    }
}
