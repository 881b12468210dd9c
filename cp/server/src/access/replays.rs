//! Signed requests for changes that were seen: each is carried out once.
//!
//! A signature counts for [`sigv4::SKEW_MS`] after its date and is remembered as long. Clients that get no answer send the same request
//! again, and, as a signature's date counts in seconds, with the same signature; so within [`RETRY_MS`] after the first it is the client's
//! retry, and carried out: changes that are made twice in a row change nothing more. Later it is somebody else's.

use std::collections::{BTreeMap, HashMap};

use leat_aws::sigv4;
use leat_model::{Code, Error};

/// How long after the first a request may come again, in milliseconds.
pub const RETRY_MS: u64 = 5_000;
/// Signatures at the most: more than 1,000 changes a second for the time that they count.
const SEEN_MAX: usize = 1 << 20;
const MINUTE_MS: u64 = 60_000;

/// What was seen: by the minute in which it ceases to count, the signature and when it came first.
#[derive(Debug, Default)]
pub struct Replays {
    by_end: BTreeMap<u64, HashMap<[u8; 16], u64>>,
    count: usize,
}

impl Replays {
    /// Notes a signature that was checked.
    ///
    /// # Errors
    /// It was used before ([`Code::SignatureDoesNotMatch`]), or there is no room for it ([`Code::Throttling`]).
    pub fn admit(&mut self, claim: &sigv4::Claim, now_ms: u64) -> Result<(), Error> {
        self.forget(now_ms);
        let mut key = [0; 16];
        key.copy_from_slice(&claim.signature[..16]);
        let minute = self.by_end.entry(claim.until_ms() / MINUTE_MS).or_default();
        match minute.get(&key) {
            Some(first) if now_ms.saturating_sub(*first) > RETRY_MS => {
                let message = "the signature was used before: sign each request for a change anew";
                Err(Error::new(Code::SignatureDoesNotMatch, message))
            }
            Some(_) => Ok(()),
            None if self.count >= SEEN_MAX => {
                Err(Error::new(Code::Throttling, "too many signed changes within 15 minutes; wait a moment"))
            }
            None => {
                minute.insert(key, now_ms);
                self.count += 1;
                Ok(())
            }
        }
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some(oldest) = self.by_end.first_entry().filter(|oldest| oldest.key() + 1 < now_ms / MINUTE_MS) {
            self.count -= oldest.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600_000;

    fn claim(number: u64) -> sigv4::Claim {
        let signature = format!("{number:064x}").chars().rev().collect::<String>();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=K/20260101/r/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        let headers = [("authorization", authorization.as_bytes()), ("x-amz-date", b"20260101T000000Z")];
        let request = sigv4::Request { method: "POST", path: "/", query: "", headers: &headers, body: b"" };
        sigv4::claim(&request).expect("well-formed").expect("signed")
    }

    /// req: R26
    #[test]
    fn a_retry_is_carried_out_and_a_replay_is_not() {
        let mut replays = Replays::default();
        assert_eq!(replays.admit(&claim(1), NOW), Ok(()));
        assert_eq!(replays.admit(&claim(1), NOW + RETRY_MS), Ok(()), "the client's own retry");
        assert!(replays.admit(&claim(1), NOW + RETRY_MS + 1).is_err());
        assert!(replays.admit(&claim(1), NOW + sigv4::SKEW_MS).is_err(), "as long as it counts");
        assert_eq!(replays.admit(&claim(2), NOW + RETRY_MS + 1), Ok(()), "another one");
        assert_eq!(replays.count, 2);
        replays.forget(NOW + sigv4::SKEW_MS + 3 * MINUTE_MS);
        assert_eq!((replays.count, replays.by_end.len()), (0, 0));
    }
}
