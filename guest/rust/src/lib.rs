//! Functions for [Gojinn](https://github.com/gojinn/gojinn): a program that answers
//! one HTTP request. It reads the request as one JSON object from stdin and writes
//! the response as one to stdout; [`serve`] does both.
//!
//! ```no_run
//! use gojinn::{Request, Response};
//! use std::{io, process::ExitCode};
//!
//! fn main() -> ExitCode {
//!     gojinn::serve(hello)
//! }
//!
//! fn hello(request: &Request) -> io::Result<Response> {
//!     let name = request.query("name").unwrap_or("world");
//!     Ok(Response::new(200).body(format!("Hello, {name}!\n")))
//! }
//! ```
//!
//! With `contract stream` bodies are read and written as they come: see [`stream`].
//!
//! What the operator has granted with `allow` lies in the file system: folders and
//! `/dev/urandom` under `std::fs`, key-value namespaces under [`kv`], outbound HTTP
//! under [`http`], byte streams under [`tcp`] and [`tls`].

mod base64;
mod exchange;
pub mod http;
pub mod json;
pub mod kv;
mod request;
mod response;
mod socket;
pub mod stream;

pub use request::Request;
pub use response::Response;
pub use socket::{tcp, tls};

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// What a request and a response take as a rule, in bytes.
const ROOM: usize = 16 << 10;

/// Answers the one request this program was started for, and returns its exit code.
///
/// The sandbox waits at the first read, often for long and many times over: what
/// `main` has done before it calls `serve`, no request waits for. When reading or the
/// handler fails, the error goes to the log, nothing to the client but a 502.
pub fn serve<E: Display>(handler: impl FnOnce(&Request) -> Result<Response, E>) -> ExitCode {
    end(answer(handler))
}

fn answer<E: Display>(handler: impl FnOnce(&Request) -> Result<Response, E>) -> Result<(), String> {
    let (mut text, mut out) = (String::with_capacity(ROOM), String::with_capacity(ROOM));
    io::stdin().lock().read_to_string(&mut text).map_err(|e| e.to_string())?;
    let request = Request::parse(&text).map_err(|e| format!("the request: {e}"))?;
    handler(&request).map_err(|e| e.to_string())?.write(&mut out);
    out.push('\n');
    io::stdout().lock().write_all(out.as_bytes()).map_err(|e| e.to_string())
}

/// Logs why there is no answer, if so, and returns the exit code.
fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log("error", &message);
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the server's log. Levels are `debug`, `info`, `warn` and `error`.
pub fn log(level: &str, message: &str) {
    let mut line = json::object(&[("level", level), ("msg", message)]);
    line.push('\n');
    let _ = io::stderr().write_all(line.as_bytes()); // there is nobody else to tell
}
