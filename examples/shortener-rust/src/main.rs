//! A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects
//! to it and counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
//!
//! The versions of this function answer alike.

use gojinn::json::{object, Reader, Unexpected};
use gojinn::{kv, Request, Response};
use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;

const MAX_URL: usize = 2000;
const KEY: usize = 8; // characters, of 6 bits each
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn main() -> ExitCode {
    gojinn::serve(handle)
}

fn handle(request: &Request) -> io::Result<Response> {
    let links = kv::open("links");
    if request.path == "/shorten" {
        return shorten(request, &links);
    }
    let rest = request.path.strip_prefix("/s/").unwrap_or("");
    let (key, hits) = match rest.strip_suffix("/hits") {
        Some(key) => (key, true),
        None => (rest, false),
    };
    if request.method != "GET" && request.method != "HEAD" {
        return Ok(refuse(405, "method not allowed").header("Allow", "GET, HEAD"));
    }
    let url = if is_key(key) { links.get(key)? } else { None };
    let url = match url.map(String::from_utf8) {
        Some(Ok(url)) => url,
        _ => return Ok(refuse(404, "no such link")),
    };
    let count = format!("hits/{key}");
    if hits {
        let n = links.get(count)?.and_then(|n| String::from_utf8(n).ok()).unwrap_or_else(|| "0".to_string());
        return Ok(respond(200, format!("{{\"hits\":{n}}}")));
    }
    if request.method == "GET" {
        links.incr(count, 1)?;
    }
    Ok(Response::new(302).header("Location", url).header("Cache-Control", "no-store"))
}

fn shorten(request: &Request, links: &kv::Namespace) -> io::Result<Response> {
    if request.method != "POST" {
        return Ok(refuse(405, "method not allowed").header("Allow", "POST"));
    }
    let url = match std::str::from_utf8(&request.body).ok().and_then(|body| parse(body).ok()) {
        Some(url) => url,
        None => return Ok(refuse(400, "the body must be a JSON object with a url")),
    };
    if !is_url(&url) {
        return Ok(refuse(422, "url must be an http or https URL of at most 2000 characters"));
    }
    let mut key = new_key()?;
    while !links.create(&key, &url)? {
        key = new_key()?; // somebody has it already
    }
    let short = format!("{}://{}/s/{}", request.scheme, request.host, key);
    Ok(respond(201, object(&[("key", &key), ("short", &short)])))
}

fn parse(body: &str) -> Result<String, Unexpected> {
    let mut url = String::new();
    let mut j = Reader::new(body);
    j.object()?;
    while let Some(name) = j.member()? {
        match name.as_str() {
            "url" => url = j.string()?,
            _ => j.skip()?,
        }
    }
    j.end()?;
    Ok(url)
}

/// Takes what can be a Location as it is: ASCII without white space.
fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or("");
    !rest.is_empty() && url.len() <= MAX_URL && url.bytes().all(|c| c.is_ascii_graphic())
}

fn is_key(key: &str) -> bool {
    key.len() == KEY && key.bytes().all(|c| ALPHABET.contains(&c))
}

fn new_key() -> io::Result<String> {
    let mut random = [0; KEY];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|c| ALPHABET[*c as usize & 63] as char).collect())
}

fn respond(status: u16, body: String) -> Response {
    Response::new(status).header("Content-Type", "application/json").body(body)
}

fn refuse(status: u16, message: &str) -> Response {
    respond(status, object(&[("error", message)]))
}
