//! What a health check by HTTP or HTTPS asks for, and which answers pass (S16.7, HC-08).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::rest::{HealthCheck, HealthCheckProtocol};

/// Statuses there are to choose from.
const STATUSES: RangeInclusive<u16> = 200..=599;

/// Which statuses pass: numbers and ranges from 200 to 599, such as `200-299,302`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher(Vec<RangeInclusive<u16>>);

impl Matcher {
    /// Whether a status passes.
    pub fn allows(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// A text that does not say which statuses pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMatcher;

impl FromStr for Matcher {
    type Err = NotAMatcher;

    fn from_str(text: &str) -> Result<Self, NotAMatcher> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|status| digits && STATUSES.contains(status)).ok_or(NotAMatcher)
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (status(first)?, status(last)?);
            if first <= last { Ok(first..=last) } else { Err(NotAMatcher) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

/// A request, and what has to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// By HTTPS.
    pub tls: bool,
    /// The name that the handshake of TLS asks for; none: no name.
    pub server_name: Option<String>,
    /// The Host header.
    pub host: String,
    /// What is asked for, beginning with `/`.
    pub path: String,
    /// The statuses that pass.
    pub matcher: Matcher,
    /// What the answer's body has to contain.
    pub body_contains: Option<String>,
}

impl CheckRequest {
    /// The request of a node's checks; none: they are made by TCP. `port` is the lowest listener port that forwards to the group
    /// (HC-23).
    pub(crate) fn of(check: &HealthCheck, node: IpAddr, port: u16) -> Option<Self> {
        let tls = match check.protocol {
            HealthCheckProtocol::Tcp => return None,
            HealthCheckProtocol::Http => false,
            HealthCheckProtocol::Https => true,
        };
        Some(Self {
            tls,
            server_name: check.server_name.clone(),
            // An address of IPv6 is in brackets in both.
            host: check.host.clone().unwrap_or_else(|| SocketAddr::new(node, port).to_string()),
            path: check.path.clone().unwrap_or_else(|| "/".into()),
            // It was checked when it was set.
            matcher: check.matcher.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Matcher(vec![200..=399])),
            body_contains: check.body_contains.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: HC-08
    #[test]
    fn statuses_pass_by_lists_and_ranges() {
        let passing = |text: &str| -> Vec<u16> {
            let matcher: Matcher = text.parse().expect(text);
            (0..1000).filter(|status| matcher.allows(*status)).collect()
        };
        assert_eq!(passing("200-399"), (200..=399).collect::<Vec<_>>());
        assert_eq!(passing("200,404"), [200, 404]);
        assert_eq!(passing("200-201,302,598-599"), [200, 201, 302, 598, 599]);
        for bad in
            ["", "199", "600", "200-", "-200", "300-200", "200,", "200,,201", "+200", "0200", "2OO", "200-300-400"]
        {
            assert_eq!(bad.parse::<Matcher>(), Err(NotAMatcher), "{bad}");
        }
    }
}
