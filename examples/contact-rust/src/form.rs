//! The form: how it is parsed from a body and what its fields must be.

use gojinn::json::{Reader, Unexpected};

const MAX_NAME: usize = 100; // characters
const MAX_MESSAGE: usize = 5000;
const MAX_EMAIL: usize = 254; // bytes, as SMTP has it
const MAX_LOCAL_PART: usize = 64;

/// What is trimmed from both ends of a field.
pub const SPACE: &[char] = &[' ', '\t', '\r', '\n'];

#[derive(Default)]
pub struct Field {
    pub text: String,
    mistyped: bool, // JSON had something else than a string here
}

/// What the client sent. A field given twice has its last value.
#[derive(Default)]
pub struct Form {
    pub email: Field,
    pub message: Field,
    pub name: Field,
}

pub fn parse_json(body: &str) -> Result<Form, &'static str> {
    let mut j = Reader::new(body);
    let object = j.peek() == Some(b'{');
    let parsed = if object { parse_object(&mut j) } else { j.skip().map(|()| Form::default()) };
    let form = parsed.and_then(|form| j.end().map(|()| form)).map_err(|_| "body is not valid JSON")?;
    if object {
        Ok(form)
    } else {
        Err("body must be a JSON object")
    }
}

fn parse_object(j: &mut Reader) -> Result<Form, Unexpected> {
    let mut form = Form::default();
    j.object()?;
    while let Some(name) = j.member()? {
        let kind = j.peek();
        match (form.field(&name), kind) {
            (Some(field), Some(b'"')) => *field = Field { text: j.string()?, mistyped: false },
            (Some(field), _) => {
                j.skip()?;
                // null is as good as absent
                *field = Field { text: String::new(), mistyped: kind != Some(b'n') };
            }
            (None, _) => j.skip()?,
        }
    }
    Ok(form)
}

/// Parses application/x-www-form-urlencoded.
pub fn parse_urlencoded(body: &str) -> Result<Form, &'static str> {
    let mut form = Form::default();
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mistake = "body is not a valid form";
        let name = percent_decode(name).ok_or(mistake)?;
        let value = percent_decode(value).ok_or(mistake)?;
        if let Some(field) = form.field(&name) {
            field.text = value;
        }
    }
    Ok(form)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(c) = rest.next() {
        bytes.push(match c {
            b'+' => b' ',
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            _ => c,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(c: u8) -> Option<u8> {
    (c as char).to_digit(16).map(|digit| digit as u8)
}

impl Form {
    fn field(&mut self, name: &str) -> Option<&mut Field> {
        match name {
            "email" => Some(&mut self.email),
            "message" => Some(&mut self.message),
            "name" => Some(&mut self.name),
            _ => None,
        }
    }

    /// Trims the fields and returns what is wrong with each, by name.
    pub fn validate(&mut self) -> Vec<(&'static str, &'static str)> {
        let mut errors = Vec::new();
        let mut check = |name, field: &mut Field, problem: fn(&str) -> Option<&'static str>| {
            field.text = field.text.trim_matches(SPACE).to_string();
            let problem = if field.mistyped { Some("must be a string") } else { problem(&field.text) };
            errors.extend(problem.map(|problem| (name, problem)));
        };
        check("email", &mut self.email, check_email);
        check("message", &mut self.message, check_message);
        check("name", &mut self.name, check_name);
        errors
    }
}

fn check_email(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is required"),
        _ if !is_email(text) => Some("must be an email address"),
        _ => None,
    }
}

fn check_message(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is required"),
        _ if text.chars().count() > MAX_MESSAGE => Some("must be at most 5000 characters"),
        _ if has_control(text, "\t\r\n") => Some("must not contain control characters"),
        _ => None,
    }
}

fn check_name(text: &str) -> Option<&'static str> {
    match text {
        _ if text.chars().count() > MAX_NAME => Some("must be at most 100 characters"),
        _ if has_control(text, "") => Some("must not contain control characters"),
        _ => None,
    }
}

/// Tells whether text holds a control character other than those allowed.
fn has_control(text: &str, allowed: &str) -> bool {
    text.chars().any(|c| c.is_ascii_control() && !allowed.contains(c))
}

/// Takes an address as HTML's `<input type=email>` does, with SMTP's limits on its length.
fn is_email(text: &str) -> bool {
    let (local, domain) = match text.split_once('@') {
        Some(parts) => parts,
        None => return false,
    };
    let is_local = |c: u8| c.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&c);
    !local.is_empty()
        && local.len() <= MAX_LOCAL_PART
        && text.len() <= MAX_EMAIL
        && local.bytes().all(is_local)
        && domain.split('.').all(is_label)
}

/// Takes a label of a domain name: 1 to 63 letters, digits and inner hyphens.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
