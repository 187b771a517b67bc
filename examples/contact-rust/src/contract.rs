//! The contract between server and function: the request is one JSON object on
//! stdin, the response is one on stdout.

use crate::json::{self, Reader, Unexpected};
use std::io::{self, Read, Write};

#[derive(Default)]
pub struct Request {
    pub id: String,
    pub method: String,
    pub path: String,
    /// Decoded parameters of the URL, in order of their names.
    pub query: Vec<(String, String)>,
    /// Header fields, names in canonical form: Content-Type.
    pub headers: Vec<(String, String)>,
    /// Any bytes.
    pub body: Vec<u8>,
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// Returns the first value of that name.
pub fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

impl Request {
    /// Reads the request from stdin.
    pub fn read() -> io::Result<Request> {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        let (mut request, base64) = parse(&text)
            .map_err(|e| invalid(format!("the request on stdin is not what the contract says, byte {}", e.offset)))?;
        if let Some(base64) = base64 {
            request.body =
                decode_base64(base64.as_bytes()).ok_or_else(|| invalid("body_base64 is not base64".to_string()))?;
        }
        Ok(request)
    }
}

impl Response {
    /// Writes the response to stdout.
    pub fn write(&self) -> io::Result<()> {
        let mut out = format!("{{\"status\":{},\"headers\":{{", self.status);
        for (i, (name, value)) in self.headers.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            json::write_string(&mut out, name);
            out.push(':');
            json::write_string(&mut out, value);
        }
        out.push_str("},\"body\":");
        json::write_string(&mut out, &self.body);
        out.push_str("}\n");
        io::stdout().lock().write_all(out.as_bytes())
    }
}

/// Writes a line to the server's log.
pub fn log_error(message: &str) {
    let mut line = String::from("{\"level\":\"error\",\"msg\":");
    json::write_string(&mut line, message);
    line.push_str("}\n");
    let _ = io::stderr().write_all(line.as_bytes()); // there is nobody else to tell
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn parse(text: &str) -> Result<(Request, Option<String>), Unexpected> {
    let (mut request, mut base64) = (Request::default(), None);
    let mut j = Reader::new(text);
    j.object()?;
    while let Some(name) = j.member()? {
        match name.as_str() {
            "id" => request.id = j.string()?,
            "method" => request.method = j.string()?,
            "path" => request.path = j.string()?,
            "query" => request.query = parse_pairs(&mut j)?,
            "headers" => request.headers = parse_pairs(&mut j)?,
            "body" => request.body = j.string()?.into_bytes(),
            "body_base64" => base64 = Some(j.string()?),
            _ => j.skip()?,
        }
    }
    j.end()?;
    Ok((request, base64))
}

/// Reads an object whose members are lists of strings.
fn parse_pairs(j: &mut Reader) -> Result<Vec<(String, String)>, Unexpected> {
    let mut pairs = Vec::new();
    j.object()?;
    while let Some(name) = j.member()? {
        j.array()?;
        while j.element()? {
            pairs.push((name.clone(), j.string()?));
        }
    }
    Ok(pairs)
}

/// Decodes padded base64 (RFC 4648, section 4).
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 != 0 {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&c| c == b'=').count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n) = (0u32, 0);
    for &c in &text[..text.len() - padding] {
        bits = bits << 6 | base64_digit(c)?;
        n += 6;
        if n >= 8 {
            n -= 8;
            bytes.push((bits >> n) as u8);
        }
    }
    Some(bytes)
}

fn base64_digit(c: u8) -> Option<u32> {
    let digit = match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(digit as u32)
}
