//! Shows what the crate makes of a request, and makes what it is told to of a response.

use gojinn::json::{self, Reader};
use gojinn::{Request, Response};
use std::process::ExitCode;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    gojinn::serve(|request| match what.as_str() {
        "members" => Ok(Response::new(200).body(members(request))),
        "lookups" => Ok(Response::new(200).body(lookups(request))),
        "respond" => Ok(respond(request)),
        "integer" => Ok(Response::new(200).body(integer(request))),
        "boolean" => Ok(Response::new(200).body(boolean(request))),
        _ => Err("an argument is missing"),
    })
}

/// The members that are text, then one object for each pair.
fn members(r: &Request) -> String {
    let mut out = json::object(&[
        ("id", &r.id),
        ("method", &r.method),
        ("uri", &r.uri),
        ("original_uri", &r.original_uri),
        ("scheme", &r.scheme),
        ("host", &r.host),
        ("proto", &r.proto),
        ("path", &r.path),
        ("route", &r.route),
        ("remote_addr", &r.remote_addr),
        ("traceparent", &r.traceparent),
    ]);
    for (member, pairs) in [("headers", &r.headers), ("query", &r.queries), ("params", &r.params)] {
        for (name, value) in pairs {
            json::write_object(&mut out, &[("member", member), ("name", name), ("value", value)]);
        }
    }
    out
}

fn lookups(r: &Request) -> String {
    json::object(&[
        ("header", r.header("x-ONE").unwrap_or("none")),
        ("query", r.query("one").unwrap_or("none")),
        ("param", r.param("one").unwrap_or("none")),
    ])
}

fn respond(r: &Request) -> Response {
    let mut response = Response::new(r.query("status").unwrap_or("").parse().unwrap_or(0));
    for (_, field) in r.queries.iter().filter(|(name, _)| name == "field") {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        response = response.header(name, value);
    }
    response.body(r.body.clone())
}

fn integer(r: &Request) -> String {
    let text = std::str::from_utf8(&r.body).unwrap_or("");
    let mut j = Reader::new(text);
    match j.integer().and_then(|value| j.end().map(|()| value)) {
        Ok(value) => value.to_string(),
        Err(_) => "bad".to_string(),
    }
}

fn boolean(r: &Request) -> &'static str {
    let mut j = Reader::new(std::str::from_utf8(&r.body).unwrap_or(""));
    match j.boolean().and_then(|value| j.end().map(|()| value)) {
        Ok(true) => "true",
        Ok(false) => "false",
        Err(_) => "bad",
    }
}
