//! Byte streams to other servers.

/// Byte streams over TCP: `allow tcp <host:port>`.
pub mod tcp {
    use std::fs::File;
    use std::io;

    /// Connects to `address`, a `host:port` as it was granted. Reading and writing the
    /// file is receiving and sending, closing it hangs up.
    pub fn open(address: &str) -> io::Result<File> {
        super::open("/net/tcp/", address)
    }
}

/// Byte streams over TLS: `allow tls <host:port>`. The server encrypts, and has verified
/// the other side's certificate before anything is sent.
pub mod tls {
    use std::fs::File;
    use std::io;

    /// Connects to `address`, a `host:port` as it was granted. Reading and writing the
    /// file is receiving and sending, closing it hangs up.
    pub fn open(address: &str) -> io::Result<File> {
        super::open("/net/tls/", address)
    }
}

fn open(folder: &str, address: &str) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open(folder.to_owned() + address)
}
