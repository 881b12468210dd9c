//! Reads the answer to a health check's request while it comes in (S16.7, HC-08). Knows no sockets.
//!
//! The verdict is there as soon as status line and headers are complete, or, where a text is looked for, as soon as it is found or
//! cannot come any more. At most [`BYTES_MAX`] are read and kept, whatever the target sends.

use std::sync::Arc;

use httparse::{EMPTY_HEADER, Response, Status};
use leat_model::health::{Cause, CheckRequest};

/// What is read of an answer.
pub const BYTES_MAX: usize = 8192;
/// Headers that an answer may have.
const HEADERS_MAX: usize = 128;
/// Up to here every byte is looked at when it comes, so that what is not HTTP is known at once; afterwards every line.
const FIRST_BYTES: usize = 16;

/// An answer, as far as it has come.
pub struct Answer {
    request: Arc<CheckRequest>,
    bytes: Vec<u8>,
    /// All that was read, with interim answers, which are not kept.
    read: usize,
    /// None: the head is not complete.
    body: Option<Body>,
}

struct Body {
    /// Where it begins in the bytes.
    start: usize,
    /// Where it ends, if that is known.
    end: Option<usize>,
}

impl Answer {
    /// Nothing yet.
    pub fn new(request: Arc<CheckRequest>) -> Self {
        Self { request, bytes: Vec::new(), read: 0, body: None }
    }

    /// How much may still be read: more than nothing, as long as there is no verdict.
    pub fn room(&self) -> usize {
        BYTES_MAX - self.read
    }

    /// Takes what came next, at most [`Self::room`]. Some: the verdict; nothing more is to be read.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Result<(), Cause>> {
        let before = self.bytes.len();
        let bytes = &bytes[..bytes.len().min(self.room())];
        self.bytes.extend_from_slice(bytes);
        self.read += bytes.len();
        if self.body.is_none() {
            let is_worth_it = before < FIRST_BYTES || bytes.contains(&b'\n');
            if let Some(verdict) = is_worth_it.then(|| self.read_head()).flatten() {
                return Some(verdict);
            }
            if self.body.is_none() {
                return (self.room() == 0).then_some(Err(Cause::HeadTooLarge));
            }
            return self.look_for_text(0);
        }
        self.look_for_text(before)
    }

    /// Why the check fails whose target has closed the connection.
    pub fn at_close(&self) -> Cause {
        if self.body.is_some() { Cause::BodyLacksText } else { Cause::ClosedEarly }
    }

    /// Why the check fails whose time is over.
    pub fn at_timeout(&self) -> Cause {
        if self.body.is_some() { Cause::BodyLacksText } else { Cause::Timeout }
    }

    /// Looks whether the head is complete; the verdict, where that suffices.
    fn read_head(&mut self) -> Option<Result<(), Cause>> {
        loop {
            let mut headers = [EMPTY_HEADER; HEADERS_MAX];
            let mut head = Response::new(&mut headers);
            let start = match head.parse(&self.bytes) {
                Ok(Status::Partial) => return None,
                Ok(Status::Complete(start)) => start,
                Err(httparse::Error::TooManyHeaders) => return Some(Err(Cause::HeadTooLarge)),
                Err(_) => return Some(Err(Cause::NotHttp)),
            };
            let status = head.code.unwrap_or_default();
            // Interim answers come before the one that counts (RFC 9110, section 15.2).
            if (100..200).contains(&status) && status != 101 {
                self.bytes.drain(..start);
                continue;
            }
            if !self.request.matcher.allows(status) {
                return Some(Err(Cause::Status(status)));
            }
            if self.request.body_contains.is_none() {
                return Some(Ok(()));
            }
            let end = body_length(status, head.headers).map(|length| start.saturating_add(length));
            self.body = Some(Body { start, end });
            return None;
        }
    }

    /// Looks for the text in the body, of which what is before `before` was looked at already.
    fn look_for_text(&self, before: usize) -> Option<Result<(), Cause>> {
        let (Some(body), Some(text)) = (&self.body, &self.request.body_contains) else { return Some(Ok(())) };
        let from = before.saturating_sub(text.len()).max(body.start);
        let to = body.end.unwrap_or(usize::MAX).min(self.bytes.len());
        if self.bytes[from.min(to)..to].windows(text.len().max(1)).any(|window| window == text.as_bytes()) {
            return Some(Ok(()));
        }
        let is_whole = body.end.is_some_and(|end| self.bytes.len() >= end);
        (is_whole || self.room() == 0).then_some(Err(Cause::BodyLacksText))
    }
}

/// The length of an answer's body, where the head tells it (RFC 9112, section 6.3).
fn body_length(status: u16, headers: &[httparse::Header<'_>]) -> Option<usize> {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|it| it.value);
    if matches!(status, 204 | 304) {
        return Some(0);
    }
    if value("transfer-encoding").is_some() {
        return None;
    }
    std::str::from_utf8(value("content-length")?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: web\r\nContent-Length: 12\r\n\r\nit is ready\n";

    fn answer(body_contains: Option<&str>) -> Answer {
        let text = |text: &str| text.to_owned();
        Answer::new(Arc::new(CheckRequest {
            tls: false,
            server_name: None,
            host: text("10.1.0.10:80"),
            path: text("/"),
            matcher: "200-399".parse().expect("a matcher"),
            body_contains: body_contains.map(text),
        }))
    }

    fn verdict(text: Option<&str>, bytes: &[u8]) -> Option<Result<(), Cause>> {
        let whole = answer(text).push(bytes);
        let mut slow = answer(text);
        let by_bytes = bytes.chunks(1).find_map(|byte| slow.push(byte));
        assert!(by_bytes == whole || by_bytes.is_none() && whole.is_some_and(|verdict| verdict.is_err()));
        whole
    }

    /// req: HC-08
    #[test]
    fn the_head_is_enough() {
        assert_eq!(verdict(None, GOOD), Some(Ok(())));
        let head = GOOD.len() - 12;
        assert_eq!(verdict(None, &GOOD[..head]), Some(Ok(())));
        assert_eq!(verdict(None, &GOOD[..head - 1]), None);
        assert_eq!(verdict(None, b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n"), Some(Ok(())), "not followed");
        assert_eq!(verdict(None, b"HTTP/1.1 503 No\r\n\r\n"), Some(Err(Cause::Status(503))));
        assert_eq!(
            verdict(None, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n"),
            Some(Err(Cause::Status(404)))
        );
        assert_eq!(verdict(None, b"HTTP/1.1 101 Other\r\n\r\n"), Some(Err(Cause::Status(101))));
        assert_eq!(answer(None).at_close(), Cause::ClosedEarly);
        assert_eq!(answer(None).at_timeout(), Cause::Timeout);
    }

    #[test]
    fn a_text_is_looked_for_in_the_body_alone() {
        assert_eq!(verdict(Some("ready"), GOOD), Some(Ok(())));
        assert_eq!(
            verdict(Some("web"), GOOD),
            Some(Err(Cause::BodyLacksText)),
            "the body is whole, and the head does not count"
        );
        let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert_eq!(verdict(Some("ready"), endless), None);
        let mut waiting = answer(Some("ready"));
        assert_eq!(waiting.push(endless), None);
        assert_eq!((waiting.at_close(), waiting.at_timeout()), (Cause::BodyLacksText, Cause::BodyLacksText));
        assert_eq!(waiting.push(b"re"), None);
        assert_eq!(waiting.push(b"ady"), Some(Ok(())));
        assert_eq!(verdict(Some("x"), b"HTTP/1.1 204 No\r\n\r\n"), Some(Err(Cause::BodyLacksText)));
    }

    /// Whatever comes, a few KiB are read and kept.
    ///
    /// req: R24
    #[test]
    fn endless_answers_end() {
        let header = b"x: ".iter().chain([b'y'; 200].iter()).chain(b"\r\n").copied().collect::<Vec<u8>>();
        let good = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (begin, more, expected) in [
            (&good, &header[..], Cause::HeadTooLarge),
            (&good, b"a:b\r\n", Cause::HeadTooLarge),
            (&good, b"x", Cause::HeadTooLarge),
            (&b"HTTP/1.1 200 ".to_vec(), b"x", Cause::HeadTooLarge),
            (&Vec::new(), b"HTTP/1.1 100 Wait\r\n\r\n", Cause::HeadTooLarge),
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n".to_vec(), b"x", Cause::BodyLacksText),
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec(),
                b"x",
                Cause::BodyLacksText,
            ),
        ] {
            let mut answer = answer(Some("ready"));
            assert_eq!(answer.push(begin), None);
            let end = (0..=BYTES_MAX).find_map(|_| answer.push(more));
            assert_eq!(end, Some(Err(expected)));
            assert!(answer.bytes.capacity() <= 2 * BYTES_MAX);
        }
    }

    /// Every prefix and every change of one byte: a defined answer.
    ///
    /// req: R24
    #[test]
    fn changed_answers_are_judged() {
        for text in [None, Some("ready")] {
            for end in 0..GOOD.len() {
                let known = verdict(text, &GOOD[..end]);
                assert!(matches!(known, None | Some(Ok(()))), "{end}");
            }
            let mut causes = std::collections::BTreeSet::new();
            for at in 0..GOOD.len() {
                for value in 0..=255 {
                    let mut changed = GOOD.to_vec();
                    changed[at] = value;
                    causes.insert(format!("{:?}", verdict(text, &changed)));
                }
            }
            assert!(causes.contains("Some(Err(NotHttp))") && causes.contains("Some(Ok(()))"), "{causes:?}");
        }
    }
}
