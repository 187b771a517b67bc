//! The response, as a function hands it to the server.

use crate::json;
use std::fmt::Write;

/// An HTTP response. The server checks it when it is written: a status from 200 to
/// 599, names and values that HTTP allows.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    /// One pair for each value.
    pub headers: Vec<(String, String)>,
    /// Any bytes.
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16) -> Response {
        Response { status, ..Response::default() }
    }

    /// Adds a header field. A name given several times has several values.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body. Without a Content-Type the server says that it is JSON, if it
    /// is, else plain text.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    /// Appends the response's JSON without the body and what ends the object.
    pub(crate) fn write_head(&self, out: &mut String) {
        let _ = write!(out, "{{\"status\":{},\"headers\":", self.status); // a String takes everything
        json::write_headers(out, &self.headers);
    }

    /// Appends the response as JSON.
    pub(crate) fn write(&self, out: &mut String) {
        self.write_head(out);
        out.push(',');
        json::write_bytes(out, "body", &self.body);
        out.push('}');
    }
}
