//! Answers to health checks, as targets may send them. An input's first byte says how: whether a text is looked for, and in which pieces
//! the rest, which is the answer, comes in.

#[allow(dead_code, reason = "the prober needs more of it")]
#[path = "../../src/prober/answer.rs"]
mod answer;

use std::sync::Arc;

use answer::{Answer, BYTES_MAX};
use leat_model::health::CheckRequest;

/// An answer is judged alike however it is cut, and no more is read than is allowed.
pub fn run(_target: &str, input: &[u8]) {
    let Some((how, sent)) = input.split_first() else { return };
    let request = Arc::new(CheckRequest {
        tls: false,
        server_name: None,
        host: "10.1.0.10:80".into(),
        path: "/".into(),
        matcher: "200-299,404".parse().expect("a matcher"),
        body_contains: (how & 1 == 1).then(|| "ready".into()),
    });
    let whole = Answer::new(request.clone()).push(sent);
    let (mut cut, mut rest) = (Answer::new(request), sent);
    let mut piece = usize::from(how >> 1);
    let mut verdict = None;
    while verdict.is_none() && !rest.is_empty() {
        assert!((1..=BYTES_MAX).contains(&cut.room()));
        piece = (piece * 5 + 3) % 251 + 1;
        let (next, after) = rest.split_at(piece.min(rest.len()).min(cut.room()));
        (verdict, rest) = (cut.push(next), after);
    }
    match (whole, verdict) {
        // What is no head is known at the next line's end, if it comes in pieces.
        (Some(Err(_)), None) => {}
        (whole, verdict) => assert_eq!(whole, verdict, "{input:?}"),
    }
    let _ = (cut.at_close(), cut.at_timeout());
}
