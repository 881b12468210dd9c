//! Connections of probes: how they begin, and how their handshakes end.

use std::io;
use std::net::SocketAddr;

use leat_model::health::Cause;
use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::ProbeFailure;

/// Why no connection was begun.
pub enum ConnectError {
    /// This source port cannot be used now (held by someone else, or its connection to this target is in TIME_WAIT).
    PortBusy,
    /// It was, and failed at once, or could not be.
    Failed(ProbeFailure),
}

/// Begins a handshake without waiting for it.
pub fn connect(source: SocketAddr, target: SocketAddr) -> Result<TcpStream, ConnectError> {
    let local = |error: io::Error| ConnectError::Failed(ProbeFailure::Local(error.kind()));
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None).map_err(local)?;
    // Without it a port whose last connection, to whichever target, is in TIME_WAIT could not be bound.
    socket.set_reuse_address(true).map_err(local)?;
    match socket.bind(&source.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(ConnectError::PortBusy),
        result => result.map_err(local)?,
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {
            return Err(ConnectError::PortBusy);
        }
        Err(error) => return Err(ConnectError::Failed(classify(&error))),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// How a handshake of TCP ended; `None` while it is under way.
pub fn handshake(stream: &TcpStream) -> Option<Result<(), ProbeFailure>> {
    match stream.take_error() {
        // Only an established connection is reset; a refused one says ECONNREFUSED. A target that accepts and hangs up
        // passes a TCP check.
        Ok(Some(error)) if error.kind() == io::ErrorKind::ConnectionReset => Some(Ok(())),
        Ok(Some(error)) | Err(error) => Some(Err(classify(&error))),
        Ok(None) => match stream.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(classify(&error))),
        },
    }
}

/// What an error of a connection says about the target.
pub fn classify(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeFailure::Target(Cause::Refused),
        io::ErrorKind::TimedOut => ProbeFailure::Target(Cause::Timeout),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ProbeFailure::Target(Cause::Unreachable),
        kind => ProbeFailure::Local(kind),
    }
}
