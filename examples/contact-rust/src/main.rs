//! A contact form's endpoint: parses a JSON or form body, validates it and answers
//! 201, or 422 with an error for each field. With an argument, the folder it names
//! keeps every accepted message as `<request id>.json`.
//!
//! The four versions of this function answer alike: ../contact/testdata/cases.json.

mod form;

use form::Form;
use gojinn::json::object;
use gojinn::{log, Request, Response};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const MAX_ID: usize = 64;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1);
    gojinn::serve(|request| io::Result::Ok(handle(request, folder.as_ref().map(Path::new))))
}

fn handle(request: &Request, folder: Option<&Path>) -> Response {
    if request.method != "POST" {
        return refuse(405, "method not allowed").header("Allow", "POST");
    }
    let content_type = request.header("Content-Type").unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim_matches(form::SPACE).to_ascii_lowercase();
    let parse = match media_type.as_str() {
        "application/json" => form::parse_json,
        "application/x-www-form-urlencoded" => form::parse_urlencoded,
        _ => return refuse(415, "content type must be application/json or application/x-www-form-urlencoded"),
    };
    let parsed = std::str::from_utf8(&request.body).map_err(|_| "body is not valid UTF-8").and_then(parse);
    let mut form = match parsed {
        Ok(form) => form,
        Err(mistake) => return refuse(400, mistake),
    };
    let errors = form.validate();
    if !errors.is_empty() {
        return respond(422, format!("{{\"errors\":{}}}", object(&errors)));
    }
    let message = message(&request.id, &form);
    if let Some(Err(e)) = folder.map(|folder| keep(folder, &request.id, &message)) {
        log("error", &format!("the message could not be kept: {}", e));
        return refuse(500, "the message could not be kept");
    }
    respond(201, message)
}

fn message(id: &str, form: &Form) -> String {
    let mut members = vec![("id", id), ("email", form.email.text.as_str())];
    if !form.name.text.is_empty() {
        members.push(("name", &form.name.text));
    }
    members.push(("message", &form.message.text));
    object(&members)
}

/// Writes message to a new file in folder.
fn keep(folder: &Path, id: &str, message: &str) -> io::Result<()> {
    let is_name = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if !is_name {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request's id cannot name a file"));
    }
    let path = folder.join(id.to_owned() + ".json");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all(message.as_bytes()).map_err(|e| {
        let _ = fs::remove_file(&path); // half a message is worse than none
        e
    })
}

fn respond(status: u16, body: String) -> Response {
    Response::new(status).header("Content-Type", "application/json").body(body)
}

fn refuse(status: u16, message: &str) -> Response {
    respond(status, object(&[("error", message)]))
}
