//! A client of the admin API, with curl over the control plane's Unix socket: that works across network namespaces.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A call that takes longer than this has failed.
const TIMEOUT_SECONDS: &str = "30";

/// The admin API at a Unix socket.
#[derive(Debug, Clone)]
pub struct Rest {
    socket: PathBuf,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; `Null` when it is empty.
    pub body: Value,
}

impl Reply {
    /// The machine-readable error code, or `""`.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }

    /// The error message for people, or `""`.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("")
    }

    /// The field at fault, or `""`.
    pub fn field(&self) -> &str {
        self.body["error"]["field"].as_str().unwrap_or("")
    }
}

impl Rest {
    /// The API behind `socket`.
    pub fn new(socket: &Path) -> Rest {
        Rest { socket: socket.to_path_buf() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends `body` as it is, even when it is not JSON.
    ///
    /// # Errors
    /// When there is no answer, or one that is not JSON. An error status is not an error here.
    pub fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Reply> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", TIMEOUT_SECONDS, "--request", method]);
        command.arg("--unix-socket").arg(&self.socket);
        command.args(["--write-out", "\n%{http_code}", &format!("http://localhost{path}")]);
        if body.is_some() {
            command.args(["--header", "content-type: application/json", "--data-binary", "@-"]);
        }
        command.stdin(if body.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run curl")?;
        if let (Some(body), Some(mut stdin)) = (body, child.stdin.take()) {
            // A server may answer before it has read all of a body it refuses.
            let _ = stdin.write_all(body.as_bytes());
        }
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{method} {path}: no answer: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let (body, status) = text.rsplit_once('\n').with_context(|| format!("{method} {path}: no status"))?;
        let body = if body.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).with_context(|| format!("{method} {path}: not JSON: {body}"))?
        };
        Ok(Reply { status: status.trim().parse()?, body })
    }

    /// Calls and returns status and body.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        self.send(method, path, body.map(Value::to_string).as_deref())
    }

    /// Calls and expects success (2xx).
    ///
    /// # Errors
    /// As [`Rest::send`], and for any other status, with the API's own message.
    pub fn expect(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let reply = self.call(method, path, body)?;
        if !(200..300).contains(&reply.status) {
            bail!("{method} {path}: {} {}", reply.status, reply.body);
        }
        Ok(reply.body)
    }

    /// `GET`, expecting success.
    ///
    /// # Errors
    /// As [`Rest::expect`].
    pub fn get(&self, path: &str) -> Result<Value> {
        self.expect("GET", path, None)
    }
}
