//! The API's sockets.

pub mod serve;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("--listen {0}: the port is in use; stop who uses it, or give another port")]
    PortTaken(SocketAddr),
    /// It is refused otherwise.
    #[error("--listen {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A living process has the socket.
    #[error("--socket {0}: another process is listening there; stop it, or give another path")]
    SocketTaken(PathBuf),
    /// The path is somebody else's file.
    #[error("--socket {0}: there is a file that is no socket; remove it, or give another path")]
    NotASocket(PathBuf),
    /// It is refused otherwise.
    #[error("--socket {path}: {source}; its directory must exist and be writable")]
    Unix {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Opens the TCP socket.
///
/// # Errors
/// The port is taken, or refused by the system.
pub async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortTaken(address),
        _ => ListenError::Tcp { address, source },
    })
}

/// Opens the Unix socket, for its user alone. One that a dead process has left is replaced.
///
/// # Errors
/// A living process has it, the path is another kind of file, or it is refused by the system.
pub fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let error = |source| ListenError::Unix { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(ListenError::SocketTaken(path.to_owned())),
            Err(_) => std::fs::remove_file(path).map_err(error)?,
        },
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(error(other)),
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = tcp("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = first.local_addr().expect("an address");
        let error = tcp(address).await.expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!("--listen {address}: the port is in use; stop who uses it, or give another port")
        );
    }

    #[tokio::test]
    async fn a_socket_is_taken_stale_or_somebody_elses_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let first = unix(&path).expect("a socket");
        assert!(matches!(unix(&path), Err(ListenError::SocketTaken(_))));
        drop(first);
        drop(unix(&path).expect("a stale socket is replaced"));
        let file = directory.path().join("file");
        std::fs::write(&file, "keep me").expect("a file");
        assert!(matches!(unix(&file), Err(ListenError::NotASocket(_))));
        assert!(matches!(unix(&directory.path().join("none/api.sock")), Err(ListenError::Unix { .. })));
    }
}
