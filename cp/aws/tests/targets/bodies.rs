//! The bodies of the fuzz targets: what must hold for every input.

use std::time::{Duration, UNIX_EPOCH};

use leat_aws::{Params, form, sigv4};

use super::signer::{SECRET, Sent, sign};

/// The targets.
pub const TARGETS: [&str; 2] = ["form", "signature"];

/// Runs a target.
pub fn run(target: &str, data: &[u8]) {
    match target {
        "form" => form_target(data),
        "signature" => signature_target(data),
        other => panic!("no target {other}"),
    }
}

/// A form is decoded or refused; what was decoded and is written anew decodes to the same, and its parameters can be read in every way.
fn form_target(data: &[u8]) {
    let Ok(pairs) = form::decode(data) else { return };
    assert!(pairs.len() <= form::PAIRS_MAX);
    let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let anew: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    assert_eq!(form::decode(anew.join("&").as_bytes()).as_ref(), Ok(&pairs));
    let params = Params::new(pairs.clone());
    let json = params.to_json();
    assert!(json.is_object());
    for (name, _) in pairs.iter().take(50) {
        let start = name.split('.').next().unwrap_or_default();
        assert!(params.get(name).is_some());
        let _ = (params.number(name), params.switch(name), params.required(name));
        let _ = (params.list(start), params.structures(start), params.flat_list(start), params.flat_structures(start));
        if let Some(part) = params.structure(start) {
            let _ = (part.list(""), part.to_json());
        }
    }
}

/// Takes the input apart: a request that is made of it and signed, then changes of it. Unchanged in meaning it is accepted, changed it is
/// refused.
fn signature_target(data: &[u8]) {
    let mut input = Input(data);
    as_it_is(&mut input);
    let date = 1_767_225_600_000 + u64::from(input.byte()) * 1000;
    let mut sent = Sent {
        method: ["GET", "POST", "PATCH", "DELETE"][usize::from(input.byte() % 4)].into(),
        path: "/".into(),
        query: String::new(),
        headers: vec![("host".into(), b"127.0.0.1:9321".to_vec())],
        body: Vec::new(),
    };
    for _ in 0..input.byte() % 3 {
        let segment = escaped(input.text());
        if !matches!(segment.as_str(), "" | "." | "..") {
            sent.path = format!("{}/{segment}", sent.path.trim_end_matches('/'));
        }
    }
    for _ in 0..input.byte() % 4 {
        let (name, value) = (escaped(input.text()), escaped(input.text()));
        if !name.is_empty() && !name.starts_with("X-Amz") {
            let and = if sent.query.is_empty() { "" } else { "&" };
            sent.query.push_str(&format!("{and}{name}={value}"));
        }
    }
    sent.body = input.text().to_vec();
    let in_query = input.byte() % 2 == 1;
    sign(&mut sent, UNIX_EPOCH + Duration::from_millis(date), in_query);
    sent.check(SECRET, date).expect("signed as it should be");

    let mut changed = sent.clone();
    for _ in 0..1 + input.byte() % 4 {
        change(&mut changed, &mut input);
    }
    let same = changed.meaning() == sent.meaning();
    match changed.check(SECRET, date) {
        Ok(()) => assert!(same, "accepted: {changed:?}\nsigned: {sent:?}"),
        Err(error) => {
            assert!(!same || changed.headers != sent.headers || changed.query != sent.query, "{error}: {changed:?}")
        }
    }
}

/// Whatever stands in a request: no panic, and never accepted.
fn as_it_is(input: &mut Input<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let sent = Sent {
        method: "POST".into(),
        path: text(input.text()),
        query: text(input.text()),
        headers: vec![
            ("host".into(), b"h".to_vec()),
            ("x-amz-date".into(), input.text().to_vec()),
            ("authorization".into(), [b"AWS4-HMAC-SHA256 ", input.text()].concat()),
        ],
        body: input.text().to_vec(),
    };
    assert!(sent.check("a secret that nobody has", 1_767_225_600_000).is_err());
    let headers = sent.borrowed();
    let _ = sigv4::claim(&sent.request(&headers));
}

fn change(sent: &mut Sent, input: &mut Input<'_>) {
    let (kind, value) = (input.byte(), input.byte());
    let at = |length: usize| usize::from(value) % length.max(1);
    match kind % 9 {
        0 => sent.method = ["GET", "POST", "PATCH", "DELETE"][usize::from(value % 4)].into(),
        1 => sent.path = edited(&sent.path, at(sent.path.len()), input.byte()),
        2 => sent.query = edited(&sent.query, at(sent.query.len()), input.byte()),
        3 => sent.body.insert(at(sent.body.len()), input.byte()),
        4 if !sent.body.is_empty() => drop(sent.body.remove(at(sent.body.len()))),
        5 => {
            let (index, byte) = (at(sent.headers.len()), input.byte());
            let header = &mut sent.headers[index].1;
            let place = usize::from(byte) % header.len().max(1);
            if let Some(byte) = header.get_mut(place) {
                *byte ^= 1 << (value % 8);
            }
        }
        6 => {
            let added = sent.headers[at(sent.headers.len())].clone();
            sent.headers.push(added);
        }
        7 => sent.headers.push((format!("x-amz-{}", value % 16), input.text().to_vec())),
        8 => {
            let mut pairs: Vec<&str> = sent.query.split('&').collect();
            let count = pairs.len();
            pairs.rotate_left(usize::from(value) % count);
            sent.query = pairs.join("&");
        }
        _ => {}
    }
}

fn edited(text: &str, at: usize, byte: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    match byte % 3 {
        0 => bytes.insert(at, b'!' + byte % 90),
        1 if !bytes.is_empty() => drop(bytes.remove(at.min(bytes.len() - 1))),
        _ => {
            if let Some(place) = bytes.get_mut(at) {
                *place = b'!' + byte % 90;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    String::from_utf8_lossy(bytes).bytes().map(escape).collect()
}

/// What is left of the input; when nothing is left, zeros.
struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// Up to 255 bytes, as a byte before them says.
    fn text(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }
}
