//! Requests that AWS's own signer signs.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as aws_sign};
use aws_sigv4::sign::v4::SigningParams;
use leat_aws::{form, sigv4};
use leat_model::Error;

/// The user's secret.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The id of the user's key: a signature does not cover it, it tells whose secret is to be taken.
pub const KEY_ID: &str = "LEATEXAMPLE";

/// A request as it is on the wire; names of headers in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// What a request says, however it is written.
pub type Meaning = (String, String, Option<Vec<(String, String)>>, Vec<(String, Vec<u8>)>, Vec<u8>);

impl Sent {
    pub fn borrowed(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
    }

    pub fn request<'r>(&'r self, headers: &'r [(&'r str, &'r [u8])]) -> sigv4::Request<'r> {
        sigv4::Request { method: &self.method, path: &self.path, query: &self.query, headers, body: &self.body }
    }

    /// Whether it is signed with the secret; an unsigned one is an error too.
    pub fn check(&self, secret: &str, now_ms: u64) -> Result<(), Error> {
        let headers = self.borrowed();
        let request = self.request(&headers);
        match sigv4::claim(&request)? {
            Some(claim) if claim.access_key_id == KEY_ID => claim.check(&request, secret, now_ms),
            _ => Err(sigv4::unknown_key()),
        }
    }

    /// The names that the signature covers.
    fn signed_headers(&self) -> Vec<String> {
        let header = self.headers.iter().find(|(name, _)| name == "authorization");
        let text = match header {
            Some((_, value)) => String::from_utf8_lossy(value).into_owned(),
            None => {
                let pairs = form::decode(self.query.as_bytes()).unwrap_or_default();
                let value = pairs.into_iter().find(|(name, _)| name == "X-Amz-SignedHeaders").map(|(_, value)| value);
                format!("SignedHeaders={}", value.unwrap_or_default())
            }
        };
        let list = text.split("SignedHeaders=").nth(1).unwrap_or_default();
        list.split(',').next().unwrap_or_default().split(';').map(str::to_owned).collect()
    }

    /// Everything that a signature covers, without the freedom that writing has: order of parameters, case of escapes, spaces in
    /// headers.
    pub fn meaning(&self) -> Meaning {
        let signed = self.signed_headers();
        let fold = |value: &[u8]| {
            let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(&b' ')
        };
        let counts = |name: &String| signed.contains(name) || name == "authorization" || name.starts_with("x-amz-");
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| counts(name))
            .map(|(name, value)| (name.clone(), fold(value)))
            .collect();
        headers.sort();
        // Commas and spaces between the parts of the header are free too.
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "authorization") {
            let text = String::from_utf8_lossy(value).into_owned();
            let mut parts: Vec<&str> = text.splitn(2, ' ').flat_map(|part| part.split(',')).map(str::trim).collect();
            parts.retain(|part| !part.is_empty());
            parts.sort_unstable();
            *value = parts.join(",").into_bytes();
        }
        let query = form::decode(self.query.as_bytes()).ok().map(|mut pairs| {
            pairs.sort();
            pairs
        });
        let path = if self.path.is_empty() { "/" } else { &self.path };
        (self.method.clone(), path.to_owned(), query, headers, self.body.clone())
    }

    /// One bit changed: of path, query, a header's value or the body. `None` if it is no request any more.
    pub fn flipped(&self, place: proptest::sample::Index, bit: u8) -> Option<Self> {
        let mut other = self.clone();
        let total = self.path.len()
            + self.query.len()
            + self.body.len()
            + self.headers.iter().map(|(_, v)| v.len()).sum::<usize>();
        let mut at = place.index(total);
        let flip = |text: &mut String, at: usize| {
            let mut bytes = std::mem::take(text).into_bytes();
            bytes[at] ^= 1 << bit;
            *text = String::from_utf8(bytes).ok()?;
            (!text.contains(['#', '?', ' ']) && !text.chars().any(char::is_control)).then_some(())
        };
        if at < other.path.len() {
            flip(&mut other.path, at)?;
            return Some(other);
        }
        at -= other.path.len();
        if at < other.query.len() {
            flip(&mut other.query, at)?;
            return Some(other);
        }
        at -= other.query.len();
        if at < other.body.len() {
            other.body[at] ^= 1 << bit;
            return Some(other);
        }
        at -= other.body.len();
        for (_, value) in &mut other.headers {
            if at < value.len() {
                value[at] ^= 1 << bit;
                return Some(other);
            }
            at -= value.len();
        }
        None
    }
}

/// Signs with AWS's signer, in the header or in the query.
pub fn sign(sent: &mut Sent, time: SystemTime, in_query: bool) {
    let mut settings = SigningSettings::default();
    if in_query {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(std::time::Duration::from_secs(900));
    }
    let identity = Credentials::new(KEY_ID, SECRET, None, None, "tests").into();
    let params = SigningParams::builder().identity(&identity).region("on-prem-1").name("elasticloadbalancing");
    let params = params.time(time).settings(settings).build().expect("all parts").into();
    let question = if sent.query.is_empty() { "" } else { "?" };
    let uri = format!("http://127.0.0.1:9321{}{question}{}", sent.path, sent.query);
    let headers: Vec<(String, String)> = sent
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8(value.clone()).expect("text")))
        .collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let signable =
        SignableRequest::new(&sent.method, uri, headers, SignableBody::Bytes(&sent.body)).expect("a request");
    let (instructions, _) = aws_sign(signable, &params).expect("signed").into_parts();
    let added: Vec<(String, Vec<u8>)> =
        instructions.headers().map(|(name, value)| (name.to_lowercase(), value.as_bytes().to_vec())).collect();
    let pairs: Vec<(&str, Cow<'_, str>)> = instructions.params().to_vec();
    for (name, value) in pairs {
        let escape = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let value: String = value.bytes().map(escape).collect();
        let and = if sent.query.is_empty() { "" } else { "&" };
        sent.query.push_str(&format!("{and}{name}={value}"));
    }
    sent.headers.extend(added);
}
