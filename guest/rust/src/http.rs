//! Outbound HTTP: `allow http <origin>`.
//!
//! ```no_run
//! # fn f() -> Result<(), gojinn::http::Error> {
//! use gojinn::http::{fetch, Request};
//! let answer = fetch(&Request::new("GET", "https://api.example.com/rates").header("Accept", "application/json"))?;
//! # Ok(())
//! # }
//! ```

use crate::exchange::ask;
use crate::json::{self, Reader, Unexpected};
use std::{error, fmt};

/// A request to another server.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    /// Absolute, with `http` or `https`.
    pub url: String,
    /// One pair for each value.
    pub headers: Vec<(String, String)>,
    /// Any bytes, at most some MiB.
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Request {
        Request { method: method.into(), url: url.into(), ..Request::default() }
    }

    /// Adds a header field. A name given several times has several values.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    fn line(&self) -> String {
        let mut out = String::from("{\"method\":");
        json::write_string(&mut out, &self.method);
        out.push_str(",\"url\":");
        json::write_string(&mut out, &self.url);
        out.push_str(",\"headers\":");
        json::write_headers(&mut out, &self.headers);
        if !self.body.is_empty() {
            out.push(',');
            json::write_bytes(&mut out, "body", &self.body);
        }
        out.push('}');
        out
    }
}

/// What another server has answered, whatever its status.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    /// In the usual capitals (`Content-Type`), one pair for each value.
    pub headers: Vec<(String, String)>,
    /// Any bytes.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header field of that name, in whatever capitals.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Debug, Default)]
pub struct Error {
    /// `refused` if no grant allows it, `invalid`, `dns`, `connect`, `tls`, `timeout`,
    /// `too_large`, `protocol`, `overloaded`, …, or `file` if `/net/http` can't be used:
    /// where there is no grant at all.
    pub failure: String,
    /// The same for people.
    pub reason: String,
}

impl Error {
    fn file(e: impl fmt::Display) -> Error {
        Error { failure: "file".to_string(), reason: e.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.failure, ": ", &self.reason] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

impl error::Error for Error {}

/// Sends a request and waits for all of the answer.
pub fn fetch(request: &Request) -> Result<Response, Error> {
    let text = ask("/net/http", request.line()).map_err(Error::file)?;
    let (response, error) = parse(&text).map_err(Error::file)?;
    match error.failure.as_str() {
        "" => Ok(response),
        _ => Err(error),
    }
}

fn parse(text: &str) -> Result<(Response, Error), Unexpected> {
    let (mut response, mut error) = (Response::default(), Error::default());
    let mut j = Reader::strict(text);
    j.object()?;
    while let Some(name) = j.member()? {
        match name.as_str() {
            "status" => response.status = u16::try_from(j.integer()?).or_else(|_| j.unexpected())?,
            "headers" => response.headers = j.lists()?,
            "body" => response.body = j.string()?.into_bytes(),
            "body_base64" => response.body = j.base64()?,
            "error" => error.failure = j.string()?,
            "reason" => error.reason = j.string()?,
            _ => j.skip()?,
        }
    }
    j.end()?;
    if response.status == 0 && error.failure.is_empty() {
        return j.unexpected();
    }
    Ok((response, error))
}
