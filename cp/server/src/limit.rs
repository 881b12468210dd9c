//! How much one caller may ask for, so that all of them are served.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use leat_model::{Code, Error};

use crate::access::Peer;

/// Largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
pub const BODY_PATIENCE: Duration = Duration::from_secs(20);
/// All bodies that are being received or worked on, in bytes.
pub const BODIES_BYTES_MAX: usize = 256 << 20;
/// How deep JSON may be nested.
pub const JSON_DEPTH_MAX: usize = 32;
/// Requests that are worked on at a time; others wait.
pub const REQUESTS_MAX: usize = 512;
/// Those of them that may wait for events.
pub const WAITING_MAX: usize = 64;
/// Failed authentications of an address and second.
pub const FAILURES_PER_SECOND: u32 = 10;
/// Keys that a set of buckets remembers.
const BUCKETS_MAX: usize = 8192;

/// Token buckets by key. Time is in milliseconds of a clock that does not go back.
#[derive(Debug)]
pub struct Buckets<K> {
    per_second: u32,
    burst: u32,
    levels: Mutex<HashMap<K, Level>>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// Tokens, in thousandths.
    milli: u64,
    at_ms: u64,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Buckets that hold `burst` tokens and get `per_second` new ones.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, levels: Mutex::default() }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, key: K, now_ms: u64) -> bool {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= BUCKETS_MAX {
            // Full ones say nothing that a new one would not.
            levels.retain(|_, level| self.filled(*level, now_ms) < self.full());
        }
        if levels.len() >= BUCKETS_MAX && !levels.contains_key(&key) {
            return false;
        }
        let level = levels.entry(key).or_insert(Level { milli: self.full(), at_ms: now_ms });
        *level = Level { milli: self.filled(*level, now_ms), at_ms: now_ms.max(level.at_ms) };
        let taken = level.milli >= 1000;
        if taken {
            level.milli -= 1000;
        }
        taken
    }

    /// Whether [`Self::take`] would fail.
    pub fn is_empty(&self, key: &K, now_ms: u64) -> bool {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        levels.get(key).is_some_and(|level| self.filled(*level, now_ms) < 1000)
    }

    fn full(&self) -> u64 {
        u64::from(self.burst) * 1000
    }

    fn filled(&self, level: Level, now_ms: u64) -> u64 {
        let since = now_ms.saturating_sub(level.at_ms);
        level.milli.saturating_add(since.saturating_mul(u64::from(self.per_second))).min(self.full())
    }
}

/// What failures of authentication are counted by: a source, and the user that is tried, so that who tries one does not shut others out.
pub type Source = (Option<IpAddr>, String);

/// The source of a request: IPv6 networks count as one.
pub fn source(peer: Option<Peer>, user: Option<&str>) -> Source {
    let address = match peer {
        Some(Peer::Tcp(address)) => match address.ip().to_canonical() {
            IpAddr::V6(v6) => Some(std::net::Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
            v4 => Some(v4),
        },
        Some(Peer::Unix { .. }) | None => None,
    };
    (address, user.unwrap_or_default().to_owned())
}

/// Memory for bodies.
#[derive(Debug, Default)]
pub struct Memory(AtomicUsize);

/// A part of it, given back when dropped.
#[derive(Debug)]
pub struct Held<'m> {
    memory: &'m Memory,
    bytes: usize,
}

impl Memory {
    /// Receives a body.
    ///
    /// # Errors
    /// It is too large, too slow, was cut off, or there are too many at a time.
    pub async fn receive(&self, body: Body) -> Result<(Vec<u8>, Held<'_>), Error> {
        let too_large = || {
            let message = format!(
                "the body is larger than {BODY_BYTES_MAX} bytes, or its end did not arrive; send less in one request"
            );
            Error::new(Code::RequestTooLarge, message)
        };
        if axum::body::HttpBody::size_hint(&body).lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let mut held = Held { memory: self, bytes: 0 };
        let receive = async {
            let (mut bytes, mut chunks) = (Vec::new(), body.into_data_stream());
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|_| too_large())?;
                if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                    return Err(too_large());
                }
                held.grow(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        };
        let slow = |_| {
            let message = format!("the body did not come within {} s", BODY_PATIENCE.as_secs());
            Error::new(Code::RequestTooLarge, message)
        };
        let bytes = tokio::time::timeout(BODY_PATIENCE, receive).await.map_err(slow)??;
        Ok((bytes, held))
    }
}

impl Held<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let before = self.memory.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > BODIES_BYTES_MAX {
            return Err(Error::new(
                Code::ServiceUnavailable,
                "too many requests are being received; try again in a moment",
            ));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Refuses JSON that is nested too deep. What is not JSON is left to its parser.
///
/// # Errors
/// [`Code::ValidationError`].
pub fn check_depth(json: &[u8]) -> Result<(), Error> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    let message = format!("the body is nested deeper than {JSON_DEPTH_MAX} levels");
                    return Err(Error::new(Code::ValidationError, message));
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_burst_and_fills_again() {
        let buckets = Buckets::new(10, 3);
        let taken = |now_ms| (0..5).filter(|_| buckets.take("a", now_ms)).count();
        assert_eq!(taken(0), 3);
        assert!(buckets.is_empty(&"a", 99) && !buckets.is_empty(&"a", 100));
        assert_eq!((taken(100), taken(50), taken(10_000)), (1, 0, 3));
        assert!(buckets.take("b", 0), "each key has its own");
    }

    #[test]
    fn keys_are_bounded() {
        let buckets = Buckets::new(1, 1);
        assert!((0..BUCKETS_MAX).all(|key| buckets.take(key, 0)));
        assert!(!buckets.take(BUCKETS_MAX, 0));
        assert!(buckets.take(BUCKETS_MAX, 1000), "full ones make room");
        assert!(buckets.levels.lock().expect("it").len() < 10);
    }

    /// req: R26
    #[test]
    fn json_has_a_depth() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(check_depth(nested(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        let text = format!("{{\"a\":\"{}\\\"{}\"}}", "[".repeat(100), "{".repeat(100));
        assert!(check_depth(text.as_bytes()).is_ok(), "brackets in texts");
        let flat = "[".to_owned() + &"[],".repeat(1000) + "1]";
        assert!(check_depth(flat.as_bytes()).is_ok());
    }

    #[test]
    fn networks_are_sources() {
        let tcp = |address: &str| Some(Peer::Tcp(address.parse().expect("an address")));
        assert_eq!(source(tcp("[2001:db8::1]:1"), None), source(tcp("[2001:db8::2]:2"), None));
        assert_ne!(source(tcp("10.0.0.1:1"), None), source(tcp("10.0.0.2:1"), None));
        assert_ne!(source(tcp("10.0.0.1:1"), Some("a")), source(tcp("10.0.0.1:1"), None));
    }
}
