//! Whom events are posted to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::webhook::{Settings, Url, Wanted};

/// The pause after the first attempt that has failed.
const RETRY: Duration = Duration::from_secs(1);

/// A text that is not shown: what is wrong with it is said by [`WebhookOptions::settings`], in words that leave it out.
#[derive(Clone)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The flags.
#[derive(Args, Debug)]
pub struct WebhookOptions {
    /// Post events to this URL, http or https, as JSON; repeat for more. docs/operations.md shows the body
    #[arg(long = "webhook", value_name = "URL")]
    pub urls: Vec<Secret>,

    /// Which events are posted [default: target-health,zone,fail-open,data-plane,port]
    #[arg(long = "webhook-events", value_name = "KINDS", value_enum, value_delimiter = ',', requires = "urls")]
    pub wanted: Vec<Wanted>,

    /// The certificates that are trusted with https webhooks, in a PEM file, instead of the system's
    #[arg(long = "webhook-ca", value_name = "FILE", requires = "urls")]
    pub ca: Option<PathBuf>,
}

impl WebhookOptions {
    /// What they say.
    ///
    /// # Errors
    /// A URL is none that can be used.
    pub fn settings(&self) -> Result<Settings, String> {
        let wanted = if self.wanted.is_empty() { Wanted::DEFAULT.to_vec() } else { self.wanted.clone() };
        let urls = self.urls.iter().map(|url| url.0.parse::<Url>()).collect::<Result<_, _>>();
        let urls = urls.map_err(|error| format!("--webhook: {error}"))?;
        Ok(Settings { urls, wanted, ca: self.ca.clone(), retry: RETRY })
    }
}
