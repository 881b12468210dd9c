//! Signatures, version 4: checks of requests.
//!
//! A request is read as it came: path and query with their escapes. What is signed is derived from it as AWS's "Create a signed API
//! request" says for services other than S3: every byte of the path is escaped once more, the query is decoded, escaped in one way and
//! sorted, headers are folded, the body is hashed. Whoever signs says which headers count; `host` and every `x-amz-…` have to.
//!
//! Stricter than that page: the path is not normalised (`//` and `..` are signed as they are sent), the body is always signed
//! (`UNSIGNED-PAYLOAD` is refused), hexadecimal digits are small letters, and nothing may be said twice.

use hmac::{Hmac, KeyInit, Mac};
use leat_model::error::Shown;
use leat_model::{Code, Error};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::{Date, Month, Time, UtcDateTime};

use crate::form;
use crate::operation::Service;

/// How far a request's date may be from the clock, in milliseconds.
pub const SKEW_MS: u64 = 15 * 60 * 1000;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const END_OF_SCOPE: &str = "aws4_request";
const SIGNED_HEADERS_MAX: usize = 64;

/// A request, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Method.
    pub method: &'r str,
    /// Path, with its escapes.
    pub path: &'r str,
    /// What follows the question mark, with its escapes; empty if there is none.
    pub query: &'r str,
    /// Headers in their order, names in small letters.
    pub headers: &'r [(&'r str, &'r [u8])],
    /// Body.
    pub body: &'r [u8],
}

/// Who has signed a request, as it says; nothing of it is proven before [`Claim::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Access key id.
    pub access_key_id: String,
    /// When it was signed, in milliseconds since 1970.
    pub date_ms: u64,
    /// The signature.
    pub signature: [u8; 32],
    /// As the request has it, such as `20260131T123000Z`.
    date: String,
    /// `20260131/REGION/SERVICE/aws4_request`.
    scope: String,
    signed_headers: String,
    /// How long it counts after its date; it is in the query then.
    expires_ms: Option<u64>,
}

/// The parts of a signature as they stand in the request.
#[derive(Default)]
struct Parts {
    credential: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
    date: Option<String>,
    expires: Option<String>,
}

/// Reads the signature of a request; `None`: it has none.
///
/// # Errors
/// [`Code::IncompleteSignature`], [`Code::InvalidClientTokenId`] (a session token, of which there are none here),
/// [`Code::SignatureDoesNotMatch`] (the scope is another's).
pub fn claim(request: &Request<'_>) -> Result<Option<Claim>, Error> {
    let authorization = header(request, "authorization")?;
    let signed = authorization.is_some_and(|value| value.starts_with("AWS4-"));
    let query = query_parts(request)?;
    let in_query = query.is_some();
    let parts = match (signed, query) {
        (false, None) => return Ok(None),
        (true, None) => header_parts(request, authorization.unwrap_or_default())?,
        (false, Some(parts)) if authorization.is_none() => parts,
        _ => return Err(incomplete("Both the Authorization header and the query string authenticate the request.")),
    };
    if header(request, "x-amz-security-token")?.is_some() {
        return Err(unknown_key());
    }
    let missing = |name: &str| {
        let place = if in_query {
            "AWS query-string parameters must include 'X-Amz-"
        } else {
            "Authorization header requires '"
        };
        incomplete(format!(
            "{place}{name}{}",
            if in_query { "'. Re-examine the query-string parameters." } else { "' parameter." }
        ))
    };
    let credential = parts.credential.ok_or_else(|| missing("Credential"))?;
    let signed_headers = parts.signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
    let signature = parts.signature.ok_or_else(|| missing("Signature"))?;
    let date = parts.date.ok_or_else(|| incomplete("The request must contain 'X-Amz-Date'."))?;
    let date_ms = milliseconds(&date)
        .ok_or_else(|| incomplete(format!("Date must be in ISO-8601 'basic format'. Got {}.", Shown(&date))))?;
    let expires_ms = match (in_query, parts.expires) {
        (false, _) => None,
        (true, Some(text)) => {
            let seconds = text.parse::<u32>().ok().filter(|seconds| (1..=604_800).contains(seconds));
            Some(
                u64::from(seconds.ok_or_else(|| incomplete("X-Amz-Expires must be between 1 and 604800 seconds."))?)
                    * 1000,
            )
        }
        (true, None) => return Err(missing("Expires")),
    };
    let (access_key_id, scope) = read_credential(&credential, &date)?;
    Ok(Some(Claim {
        access_key_id,
        date_ms,
        signature: unhex(&signature)
            .ok_or_else(|| incomplete("'Signature' is not 64 hexadecimal digits in small letters."))?,
        date,
        scope,
        signed_headers,
        expires_ms,
    }))
}

/// Access key id and scope.
fn read_credential(credential: &str, date: &str) -> Result<(String, String), Error> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, day, region, service, end] = parts[..] else {
        return Err(incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
        ));
    };
    if key.is_empty() || region.is_empty() || end != END_OF_SCOPE {
        return Err(incomplete(format!(
            "Credential must be keyid/date/region/service/{END_OF_SCOPE}, and none of them empty."
        )));
    }
    if date.get(..8) != Some(day) {
        return Err(mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: {} != {}.",
            Shown(day),
            Shown(date)
        )));
    }
    if !Service::ALL.iter().any(|known| known.signing_name() == service) {
        let known = Service::ElbV2.signing_name();
        return Err(mismatch(format!("Credential should be scoped to correct service: '{known}'.")));
    }
    Ok((key.to_owned(), format!("{day}/{region}/{service}/{end}")))
}

impl Claim {
    /// Until when the signature counts, in milliseconds since 1970: [`SKEW_MS`] after its date, or less if it says so itself.
    pub fn until_ms(&self) -> u64 {
        self.date_ms.saturating_add(self.expires_ms.unwrap_or(SKEW_MS).min(SKEW_MS))
    }

    /// Checks that the owner of `secret` has signed this request, and that it was now.
    ///
    /// # Errors
    /// [`Code::SignatureDoesNotMatch`].
    pub fn check(&self, request: &Request<'_>, secret: &str, now_ms: u64) -> Result<(), Error> {
        self.check_date(now_ms)?;
        self.check_headers(request)?;
        let body_hash = hex(&Sha256::digest(request.body));
        if header(request, "x-amz-content-sha256")?.is_some_and(|said| said != body_hash) {
            return Err(mismatch(
                "The value of X-Amz-Content-Sha256 is not the SHA-256 of the body; bodies have to be signed here."
                    .into(),
            ));
        }
        let canonical = self.canonical_request(request, &body_hash)?;
        let to_sign =
            format!("{ALGORITHM}\n{}\n{}\n{}", self.date, self.scope, hex(&Sha256::digest(canonical.as_slice())));
        let key = format!("AWS4{secret}").into_bytes();
        let key = self.scope.split('/').fold(key, |key, part| hmac(&key, part.as_bytes()).to_vec());
        if bool::from(hmac(&key, to_sign.as_bytes()).ct_eq(&self.signature)) {
            return Ok(());
        }
        Err(mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
             signing method. Consult the service documentation for details."
                .into(),
        ))
    }

    fn check_date(&self, now_ms: u64) -> Result<(), Error> {
        let minutes = SKEW_MS / 60_000;
        if now_ms > self.until_ms() {
            let (first, now) = (basic(now_ms.saturating_sub(self.until_ms() - self.date_ms)), basic(now_ms));
            return Err(mismatch(format!(
                "Signature expired: {} is now earlier than {first} ({now} - {minutes} min.)",
                self.date
            )));
        }
        if self.date_ms > now_ms.saturating_add(SKEW_MS) {
            let (last, now) = (basic(now_ms.saturating_add(SKEW_MS)), basic(now_ms));
            return Err(mismatch(format!(
                "Signature not yet current: {} is still later than {last} ({now} + {minutes} min.)",
                self.date
            )));
        }
        Ok(())
    }

    /// Names in order, each once; `host` and all `x-amz-…` among them.
    fn check_headers(&self, request: &Request<'_>) -> Result<(), Error> {
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
        if !sorted || names.len() > SIGNED_HEADERS_MAX {
            return Err(incomplete("'SignedHeaders' must be sorted, each name once, in small letters."));
        }
        if !names.contains(&"host") {
            return Err(mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.".into()));
        }
        let must = |name: &str| name == "host" || name.starts_with("x-amz-");
        let unsigned = request.headers.iter().find(|(name, _)| must(name) && !names.contains(name));
        if let Some((name, _)) = unsigned {
            return Err(mismatch(format!(
                "There were headers present in the request which were not signed: {}",
                Shown(name)
            )));
        }
        Ok(())
    }

    fn canonical_request(&self, request: &Request<'_>, body_hash: &str) -> Result<Vec<u8>, Error> {
        let mut out = String::with_capacity(1024);
        out.push_str(request.method);
        out.push('\n');
        let path = if request.path.is_empty() { "/" } else { request.path };
        escape(path.as_bytes(), true, &mut out);
        out.push('\n');
        canonical_query(request, self.expires_ms.is_some(), &mut out)?;
        out.push('\n');
        let mut out = out.into_bytes();
        for name in self.signed_headers.split(';') {
            let mut values =
                request.headers.iter().filter(|(other, _)| other == &name).map(|(_, value)| fold(value)).peekable();
            if values.peek().is_none() {
                return Err(mismatch(format!("The signed header {} is not in the request.", Shown(name))));
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            for (number, value) in values.enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&value);
            }
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(body_hash.as_bytes());
        Ok(out)
    }
}

/// The error of an access key or token that nobody has: the same for all of them.
pub fn unknown_key() -> Error {
    Error::new(Code::InvalidClientTokenId, "The security token included in the request is invalid.")
}

/// Whether a parameter of a query belongs to a signature.
pub fn is_parameter(name: &str) -> bool {
    matches!(
        name,
        "X-Amz-Algorithm"
            | "X-Amz-Credential"
            | "X-Amz-SignedHeaders"
            | "X-Amz-Signature"
            | "X-Amz-Date"
            | "X-Amz-Expires"
    )
}

fn header_parts(request: &Request<'_>, authorization: &str) -> Result<Parts, Error> {
    let (algorithm, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if algorithm != ALGORITHM {
        return Err(incomplete(format!("Unsupported AWS 'algorithm': {}. It must be {ALGORITHM}.", Shown(algorithm))));
    }
    let mut parts = Parts { date: header(request, "x-amz-date")?.map(str::to_owned), ..Parts::default() };
    for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) =
            part.split_once('=').ok_or_else(|| incomplete("Authorization header has a parameter without value."))?;
        let place = match name {
            "Credential" => &mut parts.credential,
            "SignedHeaders" => &mut parts.signed_headers,
            "Signature" => &mut parts.signature,
            _ => return Err(incomplete(format!("Authorization header has the unknown parameter {}.", Shown(name)))),
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(incomplete(format!("Authorization header has the parameter {name} twice.")));
        }
    }
    Ok(parts)
}

/// `None`: no signature is in the query.
fn query_parts(request: &Request<'_>) -> Result<Option<Parts>, Error> {
    if !request.query.contains("X-Amz-") && !request.query.contains('%') {
        return Ok(None);
    }
    let Ok(pairs) = form::decode(request.query.as_bytes()) else { return Ok(None) };
    let (mut parts, mut algorithm) = (Parts::default(), None);
    for (name, value) in pairs {
        let place = match name.as_str() {
            "X-Amz-Algorithm" => &mut algorithm,
            "X-Amz-Credential" => &mut parts.credential,
            "X-Amz-SignedHeaders" => &mut parts.signed_headers,
            "X-Amz-Signature" => &mut parts.signature,
            "X-Amz-Date" => &mut parts.date,
            "X-Amz-Expires" => &mut parts.expires,
            "X-Amz-Security-Token" => return Err(unknown_key()),
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(incomplete(format!("The query has the parameter {name} twice.")));
        }
    }
    match algorithm {
        Some(algorithm) if algorithm == ALGORITHM => Ok(Some(parts)),
        Some(other) => {
            Err(incomplete(format!("Unsupported AWS 'algorithm': {}. It must be {ALGORITHM}.", Shown(&other))))
        }
        None if parts.signature.is_some() || parts.credential.is_some() => Err(incomplete(
            "AWS query-string parameters must include 'X-Amz-Algorithm'. Re-examine the query-string parameters.",
        )),
        None => Ok(None),
    }
}

fn canonical_query(request: &Request<'_>, without_signature: bool, out: &mut String) -> Result<(), Error> {
    let wrong =
        |error: form::FormError| Error::new(Code::ValidationError, format!("the query cannot be read: {error}"));
    let pairs = form::decode(request.query.as_bytes()).map_err(wrong)?;
    let escaped = |text: &str| {
        let mut out = String::with_capacity(text.len());
        escape(text.as_bytes(), false, &mut out);
        out
    };
    let pairs = pairs.iter().filter(|(name, _)| !(without_signature && name == "X-Amz-Signature"));
    let mut pairs: Vec<(String, String)> = pairs.map(|(name, value)| (escaped(name), escaped(value))).collect();
    pairs.sort();
    for (number, (name, value)) in pairs.iter().enumerate() {
        out.extend([if number > 0 { "&" } else { "" }, name, "=", value]);
    }
    Ok(())
}

/// The only value of a header.
fn header<'r>(request: &Request<'r>, name: &str) -> Result<Option<&'r str>, Error> {
    let mut values = request.headers.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete(format!("The request has the header {name} twice.")));
    }
    let text = |value| std::str::from_utf8(value).map_err(|_| incomplete(format!("The header {name} is not UTF-8.")));
    first.map(text).transpose()
}

/// RFC 3986: everything but unreserved characters.
fn escape(text: &[u8], keep_slash: bool, out: &mut String) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || keep_slash && *byte == b'/' {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)].to_ascii_uppercase()));
            out.push(char::from(HEX[usize::from(byte & 15)].to_ascii_uppercase()));
        }
    }
}

/// Without spaces at the ends, and one where there are several.
fn fold(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Hexadecimal digits, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]).map(char::from).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| HEX.iter().position(|known| *known == byte);
    let (text, mut out) = (text.as_bytes(), [0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (out, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *out = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(out)
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // Keys of HMAC may have any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// `20260131T123000Z` in milliseconds since 1970.
pub fn milliseconds(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u16>().ok()).flatten()
    };
    let small = |from: usize| u8::try_from(number(from, from + 2)?).ok();
    let month = Month::try_from(small(4)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0, 4)?), month, small(6)?).ok()?;
    let time = Time::from_hms(small(9)?, small(11)?, small(13)?).ok()?;
    u64::try_from(UtcDateTime::new(date, time).unix_timestamp()).ok().map(|seconds| seconds * 1000)
}

/// The reverse of [`milliseconds`].
pub fn basic(ms: u64) -> String {
    let time = UtcDateTime::from_unix_timestamp(i64::try_from(ms / 1000).unwrap_or(i64::MAX))
        .unwrap_or(UtcDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

fn incomplete(message: impl Into<String>) -> Error {
    Error::new(Code::IncompleteSignature, message)
}

fn mismatch(message: String) -> Error {
    Error::new(Code::SignatureDoesNotMatch, message)
}
