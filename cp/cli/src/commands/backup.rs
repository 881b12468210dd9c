//! `leat backup`, `leat restore`

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use leat_model::rest::{Backup, Restored};
use serde_json::json;

use crate::client::{CallError, Client};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  leat backup leat-$(date +%F).json
  leat backup - | gzip > leat.json.gz

The file has the whole configuration but users, keys of certificates and other secrets.")]
pub struct BackupArgs {
    /// File to write; - for standard output
    file: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  leat restore leat-2026-11-21.json

Everything that the file has not is deleted, protected or not; users stay. Flows that are open go on.")]
pub struct RestoreArgs {
    /// File that `leat backup` has written
    file: PathBuf,
}

pub fn backup(args: &BackupArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let backup: Backup = client.get("/v1/backup")?;
    let text = serde_json::to_string_pretty(&backup).map_err(|error| CallError::Protocol(error.to_string()))? + "\n";
    let to_stdout = args.file == Path::new("-");
    let written = if to_stdout { io::stdout().write_all(text.as_bytes()) } else { write(&args.file, &text) };
    written.map_err(|error| CallError::Protocol(format!("cannot write {}: {error}", args.file.display())))?;
    if !to_stdout {
        let (records, file) = (backup.records.len(), args.file.display().to_string());
        output.show(&json!({"file": file, "records": records}), |_| format!("{records} records written to {file}"));
    }
    Ok(())
}

/// The file is there whole or not at all, also after a power loss.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

pub fn restore(args: &RestoreArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let wrong = |error: &dyn std::fmt::Display| CallError::Protocol(format!("{}: {error}", args.file.display()));
    let text = fs::read(&args.file).map_err(|error| wrong(&error))?;
    let backup: Backup =
        serde_json::from_slice(&text).map_err(|error| wrong(&format_args!("it is no backup of leat: {error}")))?;
    let restored: Restored = client.post("/v1/restore", &backup)?;
    output.show(&restored, |restored| {
        let follows = if restored.applied { "" } else { "; the data plane has not confirmed it yet" };
        format!("restored as epoch {}{follows}", restored.epoch)
    });
    Ok(())
}
