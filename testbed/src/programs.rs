//! Where the programs under test and the rig's own programs are.

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

/// A program under test: `leat`, `leat-dp`, `leat-cp`.
///
/// Looked for in the directory named by `LEAT_BIN_DIR` (that one alone, when set), else beside this program, else in the
/// `checked` and `release` directories next to that.
///
/// # Errors
/// When there is none; the message says where it was looked for.
pub fn program(name: &str) -> Result<PathBuf> {
    find(name, candidates()?)
}

/// One of the rig's own programs: `leat-echo`, `leat-transfer`. They are built together with this one and lie beside it.
///
/// # Errors
/// When it was not built.
pub fn own_program(name: &str) -> Result<PathBuf> {
    find(name, beside_this_program()?)
}

fn find(name: &str, directories: Vec<PathBuf>) -> Result<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file()).with_context(|| {
        let places: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
        format!("no program {name} in {}: run scripts/build, or set LEAT_BIN_DIR", places.join(", "))
    })
}

fn candidates() -> Result<Vec<PathBuf>> {
    if let Some(directory) = env::var_os("LEAT_BIN_DIR") {
        return Ok(vec![PathBuf::from(directory)]);
    }
    let mut directories = beside_this_program()?;
    if let Some(target) = directories.last().and_then(|directory| directory.parent()).map(PathBuf::from) {
        directories.extend([target.join("checked"), target.join("release")]);
    }
    Ok(directories)
}

/// A test's executable is in `<profile>/deps`, a program's in `<profile>`.
fn beside_this_program() -> Result<Vec<PathBuf>> {
    let executable = env::current_exe().context("cannot tell where this program is")?;
    let directory = executable.parent().context("this program has no directory")?.to_path_buf();
    let mut directories = vec![directory.clone()];
    if directory.ends_with("deps")
        && let Some(parent) = directory.parent()
    {
        directories.push(parent.to_path_buf());
    }
    Ok(directories)
}
