//! Reads and writes bodies as they come, in the way that the path says.

use gojinn::stream::{serve, Body, Reply, Writer};
use gojinn::{Request, Response};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(|request, body, reply| match request.path.as_str() {
        "/members" => members(request, body, reply),
        "/lines" => lines(body, reply),
        "/copy" => copy(body, reply),
        "/count" => count(body, reply),
        "/pieces" => pieces(request, reply),
        "/whole" => Ok(reply.begin(Response::new(404).header("A", "1").header("a", "2\n").body("x\u{e9}\n"))),
        "/head" => begun(reply, "", false),
        "/before" => fails(begun(reply, "part", false)?),
        "/after" => fails(begun(reply, "part", true)?),
        _ => fails(()),
    })
}

fn fails<T, U>(_: T) -> io::Result<U> {
    Err(io::Error::new(io::ErrorKind::Other, "told to"))
}

/// What the request is, and what is in its own body.
fn members(r: &Request, mut body: Body, reply: Reply) -> io::Result<Writer> {
    let mut text = Vec::new();
    body.read_to_end(&mut text)?;
    let field = r.header("x-one").unwrap_or("none");
    let mut out = reply.begin(Response::new(200));
    write!(out, "{} {} {} {} ", r.method, field, r.query("q").unwrap_or("none"), r.body.len())?;
    out.write_all(&text)?;
    Ok(out)
}

fn lines(body: Body, reply: Reply) -> io::Result<Writer> {
    let mut out = reply.begin(Response::new(200));
    for line in body.lines() {
        write!(out, "<{}>", line?)?;
        out.flush()?;
    }
    Ok(out)
}

fn copy(mut body: Body, reply: Reply) -> io::Result<Writer> {
    let mut out = reply.begin(Response::new(200));
    io::copy(&mut body, &mut out)?;
    Ok(out)
}

fn count(mut body: Body, reply: Reply) -> io::Result<Writer> {
    let n = io::copy(&mut body, &mut io::sink())?;
    Ok(reply.begin(Response::new(200).body(n.to_string())))
}

/// Writes pieces of these lengths, each of other bytes, and flushes where there is an f.
fn pieces(r: &Request, reply: Reply) -> io::Result<Writer> {
    let mut out = reply.begin(Response::new(200));
    let sizes = r.query("sizes").unwrap_or("").split(',');
    for (i, size) in sizes.enumerate() {
        match size.parse() {
            Ok(size) => out.write_all(&vec![i as u8; size])?,
            Err(_) => out.flush()?,
        }
    }
    Ok(out)
}

fn begun(reply: Reply, text: &str, flush: bool) -> io::Result<Writer> {
    let mut out = reply.begin(Response::new(200).header("X-Y", "z"));
    out.write_all(text.as_bytes())?;
    if flush {
        out.flush()?;
    }
    Ok(out)
}
