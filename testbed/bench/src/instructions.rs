//! Instructions per packet as figures: the same on every run and every machine of the architecture.

use anyhow::{Result, ensure};

use crate::cleanup;
use crate::counted::CASES;
use crate::profile::{Profile, can_count, count};
use crate::run::Report;
use crate::stats::Figure;

/// Counts every case, the first one twice.
pub fn run(report: &mut Report) -> Result<()> {
    if !can_count() {
        eprintln!("  there is no valgrind (Debian package valgrind): instructions are not counted");
        return Ok(());
    }
    let directory = cleanup::directory();
    for (index, (case, ..)) in CASES.iter().enumerate() {
        eprintln!("  {case}");
        let profile = count(case, &directory)?;
        if index == 0 {
            let again = count(case, &directory)?;
            ensure!(again == profile, "{case}: {} instructions, then {}", profile.total, again.total);
        }
        report.add(
            Figure::once(format!("instructions/{case}"), "leat", profile.total, "instructions/packet")
                .with_note(largest(&profile)),
        );
    }
    Ok(())
}

/// The files of source in which most instructions are. A stage is a file.
fn largest(profile: &Profile) -> String {
    let mut files: Vec<(&str, f64)> = profile.files().into_iter().collect();
    files.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let shown = files.iter().take(8).map(|(file, count)| format!("{file} {count:.0}"));
    shown.collect::<Vec<_>>().join(", ")
}
