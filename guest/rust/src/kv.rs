//! Key-value namespaces: `allow kv <namespace>`.
//!
//! A namespace is a folder, `/kv/<namespace>`, a key the name of a file in it. Keys
//! are 1 to 255 bytes of any kind. Errors are those of the file system; where the
//! namespace was not granted, opening a file finds none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::wasi::io::IntoRawFd;

/// A namespace that was granted.
#[derive(Debug, Clone)]
pub struct Namespace {
    folder: String,
}

/// The namespace of that name, where grants put it. A name that begins with `/` is
/// the folder itself, for grants that name one. Nothing is looked up yet.
pub fn open(namespace: &str) -> Namespace {
    let folder = if namespace.starts_with('/') { namespace.to_string() } else { "/kv/".to_string() + namespace };
    Namespace { folder }
}

impl Namespace {
    /// The value of a key, `None` when there is none.
    pub fn get(&self, key: impl AsRef<[u8]>) -> io::Result<Option<Vec<u8>>> {
        absent(fs::read(self.path(key.as_ref())).map(Some), None)
    }

    /// Sets the value of a key, all of it at once.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> io::Result<()> {
        write(File::create(self.path(key.as_ref()))?, value.as_ref())
    }

    /// Sets the value of a key that has none. False: it has one, and keeps it.
    pub fn create(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path(key.as_ref()));
        match file.and_then(|file| write(file, value.as_ref())) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Deletes a key. False: there was none.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> io::Result<bool> {
        absent(fs::remove_file(self.path(key.as_ref())).map(|()| true), false)
    }

    fn path(&self, key: &[u8]) -> String {
        let mut path = self.folder.clone();
        path.push('/');
        escape(&mut path, key);
        path
    }
}

/// Takes what is not there as a result of its own.
fn absent<T>(result: io::Result<T>, none: T) -> io::Result<T> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(none),
        result => result,
    }
}

/// Writes a value. It is the closing of the file that makes it so, or fails.
fn write(mut file: File, value: &[u8]) -> io::Result<()> {
    extern "C" {
        fn close(fd: i32) -> i32;
    }
    file.write_all(value)?;
    // A File that is dropped would not tell whether it could be closed.
    match unsafe { close(file.into_raw_fd() as i32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Appends a key as the name of a file: letters, digits and `-._~` are themselves,
/// every other byte is `%XX`, and so is the first dot of the names that mean
/// something else.
fn escape(path: &mut String, key: &[u8]) {
    let reserved = matches!(key, b"." | b".." | b".do");
    for &c in key {
        let plain = c.is_ascii_alphanumeric() || b"-_~".contains(&c) || c == b'.' && !reserved;
        if plain {
            path.push(c as char);
        } else {
            path.push('%');
            path.push(HEX[c as usize >> 4] as char);
            path.push(HEX[c as usize & 15] as char);
        }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
