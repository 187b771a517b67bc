//! Key-value namespaces: `allow kv <namespace>`.
//!
//! A namespace is a folder, `/kv/<namespace>`, a key the name of a file in it. Keys are
//! any bytes, at least one; percent-encoded, as they are in the name, at most 255. Errors
//! are those of the file system; `NotFound` is where the namespace was not granted.

use crate::exchange::ask;
use crate::json::{self, Reader, Unexpected};
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

    /// Adds to the integer that a key has, as text; without one it is 0. Returns the sum.
    pub fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> io::Result<i64> {
        let mut line = String::from("{\"op\":\"incr\",");
        json::write_bytes(&mut line, "key", key.as_ref());
        line.push_str(",\"by\":");
        line.push_str(&by.to_string());
        line.push('}');
        let sum = self.operate(line)?.value;
        sum.parse().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
    }

    /// All keys that begin with `prefix`, in the order of their bytes.
    pub fn list(&self, prefix: impl AsRef<[u8]>) -> io::Result<Vec<Vec<u8>>> {
        let (mut keys, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut line = String::from("{\"op\":\"list\",\"limit\":1000,\"cursor\":");
            json::write_string(&mut line, &cursor);
            line.push(',');
            json::write_bytes(&mut line, "prefix", prefix.as_ref());
            line.push('}');
            let answer = self.operate(line)?;
            keys.extend(answer.keys);
            cursor = answer.cursor;
            if cursor.is_empty() {
                return Ok(keys);
            }
        }
    }

    /// Has the host do what files can't.
    fn operate(&self, line: String) -> io::Result<Answer> {
        let text = ask(&(self.folder.clone() + "/.do"), line)?;
        let answer = Answer::parse(&text).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        let kind = match answer.error.as_str() {
            "" => return Ok(answer),
            "invalid" => ErrorKind::InvalidInput,
            "not_integer" => ErrorKind::InvalidData,
            "read_only" => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        Err(io::Error::new(kind, answer.message))
    }

    fn path(&self, key: &[u8]) -> String {
        let mut path = self.folder.clone();
        path.push('/');
        escape(&mut path, key);
        path
    }
}

/// What an operation has answered.
#[derive(Default)]
struct Answer {
    value: String,
    keys: Vec<Vec<u8>>,
    cursor: String,
    error: String,
    message: String,
}

impl Answer {
    fn parse(text: &str) -> Result<Answer, Unexpected> {
        let mut answer = Answer::default();
        let mut j = Reader::strict(text);
        j.object()?;
        while let Some(name) = j.member()? {
            match name.as_str() {
                "value" => answer.value = j.string()?,
                "keys" => answer.keys = read_keys(&mut j)?,
                "cursor" => answer.cursor = j.string()?,
                "error" => answer.error = j.string()?,
                "message" => answer.message = j.string()?,
                _ => j.skip()?,
            }
        }
        j.end()?;
        Ok(answer)
    }
}

fn read_keys(j: &mut Reader) -> Result<Vec<Vec<u8>>, Unexpected> {
    let mut keys = Vec::new();
    j.array()?;
    while j.element()? {
        j.object()?;
        while let Some(name) = j.member()? {
            match name.as_str() {
                "key" => keys.push(j.string()?.into_bytes()),
                "key_base64" => keys.push(j.base64()?),
                _ => j.skip()?,
            }
        }
    }
    Ok(keys)
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
/// every other byte is `%XX`, and so are the dots that begin the names that mean
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
