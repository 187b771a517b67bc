//! Uses a capability as the URL's parameters say.

use gojinn::{http, Request, Response};
use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    gojinn::serve(|request| match request.query("do") {
        Some("fetch") => Ok(fetch(request)),
        Some("kv") => kv(request),
        Some(kind @ ("tcp" | "tls")) => stream(kind, request),
        _ => Err("what is to be done?".into()),
    })
}

fn fetch(r: &Request) -> Response {
    let mut request = http::Request::new(r.query("method").unwrap_or("GET"), r.query("url").unwrap_or(""));
    for (_, field) in r.queries.iter().filter(|(name, _)| name == "field") {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        request = request.header(name, value);
    }
    match http::fetch(&request.body(r.body.clone())) {
        Ok(answer) => Response::new(answer.status)
            .header("X-Header", answer.header("x-ONE").unwrap_or("none"))
            .header("X-Headers", answer.headers.len().to_string())
            .body(answer.body),
        Err(e) => Response::new(500).header("X-Failure", e.failure).body(e.reason),
    }
}

fn kv(r: &Request) -> Result<Response, Box<dyn Error>> {
    let namespace = gojinn::kv::open(r.query("namespace").unwrap_or("test"));
    let key = r.query("key").unwrap_or("");
    let done = match r.query("op").unwrap_or("") {
        "get" => namespace.get(key).map(|value| value.unwrap_or_else(|| b"none".to_vec())),
        "put" => namespace.put(key, &r.body).map(|()| b"done".to_vec()),
        "create" => namespace.create(key, &r.body).map(yes),
        "delete" => namespace.delete(key).map(yes),
        "incr" => namespace.incr(key, r.query("by").unwrap_or("").parse()?).map(|n| n.to_string().into_bytes()),
        "list" => namespace.list(key).map(|keys| keys.join(&b'\n')),
        _ => return Err("which operation?".into()),
    };
    Ok(match done {
        Ok(body) => Response::new(200).body(body),
        Err(e) => Response::new(500).body(e.to_string()),
    })
}

/// Says something and takes what comes back.
fn stream(kind: &str, r: &Request) -> Result<Response, Box<dyn Error>> {
    let address = r.query("address").unwrap_or("");
    let opened = if kind == "tcp" { gojinn::tcp::open(address) } else { gojinn::tls::open(address) };
    let mut file = match opened {
        Ok(file) => file,
        Err(e) => return Ok(Response::new(500).body(e.to_string())),
    };
    file.write_all(&r.body)?;
    let mut heard = Vec::new();
    file.read_to_end(&mut heard)?;
    Ok(Response::new(200).body(heard))
}

fn yes(done: bool) -> Vec<u8> {
    if done { "yes" } else { "no" }.into()
}
