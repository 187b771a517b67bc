//! The request, as the server hands it to a function.

use crate::json::{Reader, Unexpected};

/// An HTTP request. Members that the server leaves out are empty.
#[derive(Debug, Default)]
pub struct Request {
    /// The server's id of this request, as in its logs.
    pub id: String,
    pub method: String,
    /// Path and query after the server's rewrites, percent-encoded.
    pub uri: String,
    /// The same as the client sent it.
    pub original_uri: String,
    /// `http` or `https`.
    pub scheme: String,
    /// With its port, if it has one.
    pub host: String,
    /// `HTTP/1.1`, `HTTP/2.0`, …
    pub proto: String,
    /// The path of `uri`, decoded.
    pub path: String,
    /// The route that matched, where files are mapped to routes.
    pub route: String,
    /// The client's IP address.
    pub remote_addr: String,
    /// The W3C trace context of this call.
    pub traceparent: String,
    /// Header fields in the usual capitals (`Content-Type`), one pair for each value.
    pub headers: Vec<(String, String)>,
    /// The URL's decoded parameters, one pair for each value.
    pub queries: Vec<(String, String)>,
    /// What the placeholders of the route matched, decoded.
    pub params: Vec<(String, String)>,
    /// Any bytes. Empty where the body is read as it comes, see [`crate::stream`].
    pub body: Vec<u8>,
}

impl Request {
    /// The first header field of that name, in whatever capitals.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first parameter of that name in the URL.
    pub fn query(&self, name: &str) -> Option<&str> {
        first(&self.queries, name)
    }

    /// What the placeholder of that name in the route matched.
    pub fn param(&self, name: &str) -> Option<&str> {
        first(&self.params, name)
    }

    /// Reads a request from the server's JSON. Members of other names are skipped: a
    /// later server may write more of them. A member twice is a mistake.
    pub fn parse(text: &str) -> Result<Request, Unexpected> {
        Request::parse_any(text).map(|(request, _)| request)
    }

    /// Does the same, and tells whether there is a body among the members.
    pub(crate) fn parse_any(text: &str) -> Result<(Request, bool), Unexpected> {
        let mut request = Request::default();
        let mut seen = Vec::new();
        let mut j = Reader::strict(text);
        j.object()?;
        while let Some(name) = j.member()? {
            if !request.read_member(&name, &mut j)? {
                continue;
            }
            let name = if name == "body_base64" { "body".to_string() } else { name };
            if seen.contains(&name) {
                return j.unexpected();
            }
            seen.push(name);
        }
        j.end()?;
        Ok((request, seen.iter().any(|name| name == "body")))
    }

    /// Reads the value of a member. False: it is none of ours, and skipped.
    fn read_member(&mut self, name: &str, j: &mut Reader) -> Result<bool, Unexpected> {
        let text = match name {
            "id" => &mut self.id,
            "method" => &mut self.method,
            "uri" => &mut self.uri,
            "original_uri" => &mut self.original_uri,
            "scheme" => &mut self.scheme,
            "host" => &mut self.host,
            "proto" => &mut self.proto,
            "path" => &mut self.path,
            "route" => &mut self.route,
            "remote_addr" => &mut self.remote_addr,
            "traceparent" => &mut self.traceparent,
            _ => return self.read_other(name, j),
        };
        *text = j.string()?;
        Ok(true)
    }

    fn read_other(&mut self, name: &str, j: &mut Reader) -> Result<bool, Unexpected> {
        match name {
            "headers" => self.headers = j.lists()?,
            "query" => self.queries = j.lists()?,
            "params" => self.params = j.strings()?,
            "body" => self.body = j.string()?.into_bytes(),
            "body_base64" => self.body = j.base64()?,
            _ => {
                j.skip()?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}
