//! Bodies as they come: functions with `contract stream`.
//!
//! ```no_run
//! use gojinn::stream::{Body, Reply, Writer};
//! use gojinn::{Request, Response};
//! use std::io::{self, BufRead, Write};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     gojinn::stream::serve(number)
//! }
//!
//! /// Numbers the lines of the request while it is being sent.
//! fn number(_: &Request, body: Body, reply: Reply) -> io::Result<Writer> {
//!     let mut out = reply.begin(Response::new(200).header("Content-Type", "text/plain; charset=utf-8"));
//!     for (n, line) in body.lines().enumerate() {
//!         writeln!(out, "{} {}", n + 1, line?)?;
//!         out.flush()?;
//!     }
//!     Ok(out)
//! }
//! ```
//!
//! Reading and writing may take turns in any way. A [`Reply`] is begun once, with the
//! status and the header fields, and what is written behind them is the body: after
//! the first byte there is no way to another status. Standard output is the answer's;
//! what is printed there would be a part of it.
//!
//! When the client leaves, the program is ended, wherever it is.

use crate::{end, Request, Response, ROOM};
use std::fmt::Display;
use std::io::{self, BufRead, Chain, Cursor, Read, StdinLock, StdoutLock, Write};
use std::process::ExitCode;

/// How much of a body is sent at once, in bytes, unless it is flushed.
const PIECE: usize = 32 << 10;

/// Answers the one request this program was started for, and returns its exit code.
///
/// The handler returns what it has begun, and all that is written by then is sent. When
/// reading or the handler fails, the error goes to the log; the client gets a 502, or
/// a body that breaks off if a part of it has been sent before.
///
/// As with [`serve`](crate::serve), what `main` has done before no request waits for.
/// With `contract json` the same program works: both bodies are held in memory then.
pub fn serve<E: Display>(handler: impl FnOnce(&Request, Body, Reply) -> Result<Writer, E>) -> ExitCode {
    end(answer(handler))
}

fn answer<E: Display>(handler: impl FnOnce(&Request, Body, Reply) -> Result<Writer, E>) -> Result<(), String> {
    let (request, body, reply) = receive(io::stdin().lock())?;
    let writer = handler(&request, body, reply).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())
}

/// Reads the line that the request is. The contract json shows in a body that is a
/// member of it, or in a line end that is missing.
fn receive(mut input: StdinLock<'static>) -> Result<(Request, Body, Reply), String> {
    let mut line = String::with_capacity(ROOM);
    input.read_line(&mut line).map_err(|e| e.to_string())?;
    let (mut request, held) = Request::parse_any(&line).map_err(|e| format!("the request: {e}"))?;
    let whole = held || !line.ends_with('\n');
    if held {
        let mut rest = String::new();
        input.read_to_string(&mut rest).map_err(|e| e.to_string())?;
        if !rest.trim().is_empty() {
            return Err("the request: it has a body, and more behind it".to_string());
        }
    }
    let body = Cursor::new(std::mem::take(&mut request.body));
    Ok((request, Body(body.chain(input)), Reply { whole }))
}

/// The request's body. A read waits for the client to send something, and returns what
/// there is then; the end comes only if the client has sent everything.
///
/// `read_line`, `lines` and `read_to_end` hold as much as the client sends; where that may
/// be large, `take` bounds it.
pub struct Body(Chain<Cursor<Vec<u8>>, StdinLock<'static>>);

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.0.consume(n)
    }
}

/// A response that has not begun.
pub struct Reply {
    whole: bool,
}

impl Reply {
    /// Takes the status and the header fields, of at most 2 MiB as JSON, and what there is
    /// of a body yet. They are sent with the first bytes of the body, or when the
    /// [`Writer`] is flushed; until then an error is still a 502.
    pub fn begin(self, response: Response) -> Writer {
        let output = io::stdout().lock();
        if self.whole {
            return Writer { output, pending: Vec::new(), whole: Some(response) };
        }
        let mut head = String::with_capacity(ROOM);
        response.write_head(&mut head);
        head.push_str("}\n");
        let mut pending = head.into_bytes();
        pending.extend_from_slice(&response.body);
        Writer { output, pending, whole: None }
    }
}

/// The body of a response that has begun. What is written is sent in pieces, `flush` sends
/// it now. A client that takes its time has the program wait; that it has left is
/// nothing the program gets to see.
pub struct Writer {
    output: StdoutLock<'static>,
    pending: Vec<u8>,
    whole: Option<Response>, // with the contract json, which has no pieces
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        self.output.write_all(&self.pending)?;
        self.pending.clear();
        self.output.flush()
    }

    fn finish(mut self) -> io::Result<()> {
        if let Some(response) = self.whole.take() {
            let mut out = String::with_capacity(ROOM);
            response.write(&mut out);
            out.push('\n');
            self.pending = out.into_bytes();
        }
        self.send()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(response) = &mut self.whole {
            response.body.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.pending.len() + bytes.len() > PIECE {
            self.send()?;
        }
        if bytes.len() < PIECE {
            self.pending.extend_from_slice(bytes);
        } else {
            self.output.write_all(bytes)?; // the buffer would only copy it
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.whole {
            Some(_) => Ok(()),
            None => self.send(),
        }
    }
}
