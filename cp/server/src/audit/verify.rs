//! Whether an audit log is what was written: `leat-cp --verify-audit FILE`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use leat_aws::sigv4::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::log::{CHAIN, Head, aside, head_path};

/// A chain without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number of the first line that is kept.
    pub first: u64,
    /// The last line. Compare it with one that was noted elsewhere: whoever can write the log can write another whole one.
    pub head: Head,
}

/// Where a chain breaks.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The files cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is not the one that follows that before it.
    #[error("{file}, line {line}: {why}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Lines are missing at the end.
    #[error("the last record is number {found}, but number {noted} had been written")]
    Truncated {
        /// The last one's number.
        found: u64,
        /// What the file of the head says.
        noted: u64,
    },
    /// The line that the file of the head names is another.
    #[error("record {0} is not the one that had been written")]
    Head(u64),
    /// There is nothing.
    #[error("there is no record")]
    Empty,
}

/// Reads the log, with the files that were put aside, and follows the chain.
///
/// # Errors
/// The first place where it breaks.
pub fn verify(path: &Path) -> Result<Report, Broken> {
    let noted = read_head(path)?;
    let mut files = aside(path)?;
    files.push(path.to_owned());
    let (mut first, mut last): (Option<u64>, Option<Head>) = (None, None);
    for path in files {
        for (number, line) in BufReader::new(File::open(&path)?).split(b'\n').enumerate() {
            let line = line?;
            let broken = |why| Broken::Line { file: path.display().to_string(), line: number + 1, why };
            let record: Value = serde_json::from_slice(&line).map_err(|_| broken("it is not JSON"))?;
            let sequence = record[CHAIN]["sequence"].as_u64().ok_or_else(|| broken("it has no place in the chain"))?;
            if let Some(last) = &last {
                if sequence != last.sequence + 1 {
                    return Err(broken("its number does not follow that of the line before"));
                }
                if record[CHAIN]["previousSha256"] != last.sha256 {
                    return Err(broken("the line before it was changed"));
                }
            }
            let head = Head { sequence, sha256: hex(&Sha256::digest(&line)) };
            if noted.as_ref().is_some_and(|noted| noted.sequence == sequence && *noted != head) {
                return Err(Broken::Head(sequence));
            }
            first.get_or_insert(sequence);
            last = Some(head);
        }
    }
    match (first, last, noted) {
        (_, Some(head), Some(noted)) if noted.sequence > head.sequence => {
            Err(Broken::Truncated { found: head.sequence, noted: noted.sequence })
        }
        (Some(first), Some(head), _) => Ok(Report { first, head }),
        (_, _, Some(noted)) => Err(Broken::Truncated { found: 0, noted: noted.sequence }),
        _ => Err(Broken::Empty),
    }
}

fn read_head(path: &Path) -> io::Result<Option<Head>> {
    let text = match std::fs::read(head_path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let (sequence, sha256) = (value["sequence"].as_u64(), value["sha256"].as_str());
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{} cannot be read", head_path(path).display()));
    let sequence = sequence.ok_or_else(wrong)?;
    Ok(Some(Head { sequence, sha256: sha256.ok_or_else(wrong)?.to_owned() }))
}
