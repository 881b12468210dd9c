//! What is said on the connection of a probe once it is established: a PROXY header where one is expected, then, of checks by HTTP
//! and HTTPS, a request and its answer (S16.7). Nothing waits: each call goes as far as the socket lets it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use leat_model::health::{Cause, CheckRequest};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::answer::Answer;
use super::connect::classify;
use super::{Check, ProbeFailure};

/// A PROXY protocol v2 header of a connection that is the proxy's own: version 2, command LOCAL, no addresses (PP2-05).
const PROXY_LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
/// What is read at once.
const READ_BYTES: usize = 4096;
/// What is read of a connection of TLS, with handshake and certificates.
const TLS_BYTES_MAX: usize = 64 * 1024;

/// The conversation of a probe.
pub struct Exchange {
    /// What has to go out before anything else.
    unsent: Vec<u8>,
    /// None: that is all.
    talk: Option<Talk>,
}

struct Talk {
    answer: Answer,
    tls: Option<Box<Tls>>,
}

struct Tls {
    connection: ClientConnection,
    read: usize,
}

impl Exchange {
    /// The conversation of a check whose connection is established.
    pub fn new(check: &Check, tls: &Arc<ClientConfig>) -> Result<Self, ProbeFailure> {
        let mut unsent = if check.proxy_protocol { PROXY_LOCAL.to_vec() } else { Vec::new() };
        let Some(request) = &check.request else { return Ok(Self { unsent, talk: None }) };
        let mut talk = Talk { answer: Answer::new(request.clone()), tls: None };
        if request.tls {
            let name = request.server_name.as_ref().and_then(|name| ServerName::try_from(name.clone()).ok());
            // Of an address there is no name in the handshake.
            let name = name.unwrap_or_else(|| ServerName::from(check.target.ip()));
            let connection = ClientConnection::new(tls.clone(), name);
            let mut connection = connection.map_err(|_| ProbeFailure::Local(io::ErrorKind::Other))?;
            // It goes out when the handshake is done.
            let sent = connection.writer().write_all(text(request).as_bytes());
            sent.map_err(|error| ProbeFailure::Local(error.kind()))?;
            talk.tls = Some(Box::new(Tls { connection, read: 0 }));
        } else {
            unsent.extend_from_slice(text(request).as_bytes());
        }
        Ok(Self { unsent, talk: Some(talk) })
    }

    /// Goes on; the verdict, once there is one. None: the socket has to be readable or writable first.
    pub fn advance(&mut self, stream: &mut (impl Read + Write)) -> Option<Result<(), ProbeFailure>> {
        match self.step(stream) {
            Ok(is_over) => is_over.then_some(Ok(())),
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Why the check fails whose time is over.
    pub fn at_timeout(&self) -> Cause {
        self.talk.as_ref().map_or(Cause::Timeout, |talk| talk.answer.at_timeout())
    }

    /// Says that nothing more comes, before the connection is closed.
    pub fn finish(&mut self, stream: &mut impl Write) {
        if let Some(tls) = self.talk.as_mut().and_then(|talk| talk.tls.as_mut()) {
            tls.connection.send_close_notify();
            // The verdict is known; what does not fit into the send buffer is not worth waiting for.
            let _ = tls.send(stream);
        }
    }

    fn step(&mut self, stream: &mut (impl Read + Write)) -> Result<bool, ProbeFailure> {
        let Some(talk) = &mut self.talk else {
            // Fits into the empty send buffer, or the target has hung up and does not want it.
            let _ = stream.write_all(&self.unsent);
            return Ok(true);
        };
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // It may have answered before it closed: reading tells.
                Err(_) => self.unsent.clear(),
            }
        }
        match &mut talk.tls {
            None => receive(stream, &mut talk.answer),
            Some(tls) => tls.receive(stream, &mut talk.answer),
        }
    }
}

impl Tls {
    fn receive(&mut self, stream: &mut (impl Read + Write), answer: &mut Answer) -> Result<bool, ProbeFailure> {
        loop {
            // What was written before the target hung up is of no interest: reading tells.
            let _ = self.send(stream);
            match self.connection.read_tls(stream) {
                Ok(0) => return Err(ProbeFailure::Target(answer.at_close())),
                Ok(read) => self.read += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(lost(&error, answer)),
            }
            let processed = self.connection.process_new_packets();
            // What came before an error counts.
            if receive(&mut self.connection.reader(), answer)? {
                return Ok(true);
            }
            if let Err(error) = processed {
                let _ = self.send(stream);
                return Err(ProbeFailure::Target(match error {
                    rustls::Error::AlertReceived(alert) => Cause::TlsAlert(alert.into()),
                    _ => Cause::TlsFailed,
                }));
            }
            if self.read >= TLS_BYTES_MAX {
                return Err(ProbeFailure::Target(Cause::HeadTooLarge));
            }
        }
    }

    fn send(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(stream)?;
        }
        Ok(())
    }
}

/// Reads an answer until there is a verdict; false: no more has come yet.
fn receive(stream: &mut impl Read, answer: &mut Answer) -> Result<bool, ProbeFailure> {
    let mut buffer = [0; READ_BYTES];
    loop {
        let room = answer.room().min(READ_BYTES);
        match stream.read(&mut buffer[..room]) {
            Ok(0) => return Err(ProbeFailure::Target(answer.at_close())),
            Ok(read) => {
                if let Some(verdict) = answer.push(&buffer[..read]) {
                    return verdict.map(|()| true).map_err(ProbeFailure::Target);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(lost(&error, answer)),
        }
    }
}

/// What the loss of an established connection means.
fn lost(error: &io::Error, answer: &Answer) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            ProbeFailure::Target(answer.at_close())
        }
        _ => classify(error),
    }
}

fn text(request: &CheckRequest) -> String {
    let CheckRequest { path, host, .. } = request;
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n")
}
