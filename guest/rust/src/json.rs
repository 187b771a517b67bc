//! A reader of JSON texts (RFC 8259) and a writer of JSON strings.
//!
//! The reader pulls: the caller says what it expects next and skips the rest. It
//! never recurses, so no text can exhaust the stack.

use crate::base64;
use std::{error, fmt};

/// Arrays and objects may be nested this deep.
pub const MAX_DEPTH: usize = 10_000;

/// The text is not JSON, or not what the caller expected at this byte.
#[derive(Debug)]
pub struct Unexpected {
    pub offset: usize,
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the JSON that belongs here, byte ")?;
        fmt::Display::fmt(&self.offset, f)
    }
}

impl error::Error for Unexpected {}

/// Takes a text apart, from its begin to its end.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    first: bool, // no member or element of the innermost object or array has been read
    strict: bool,
}

impl<'a> Reader<'a> {
    /// Reads what browsers and others write: in strings half a surrogate pair
    /// (`\ud800`) becomes U+FFFD.
    pub fn new(text: &'a str) -> Self {
        Reader { text, at: 0, depth: 0, first: true, strict: false }
    }

    /// Reads what the server writes, where half a surrogate pair is a mistake.
    pub(crate) fn strict(text: &'a str) -> Self {
        Reader { strict: true, ..Reader::new(text) }
    }

    /// The first byte of the next value, `None` at the end of the text.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Enters an object; then `member` until it returns `None`.
    pub fn object(&mut self) -> Result<(), Unexpected> {
        self.enter(b'{')
    }

    /// Enters an array; then `element` until it returns false.
    pub fn array(&mut self) -> Result<(), Unexpected> {
        self.enter(b'[')
    }

    /// The name of the next member, whose value comes next; `None` after the last one.
    pub fn member(&mut self) -> Result<Option<String>, Unexpected> {
        if !self.next(b'}')? {
            return Ok(None);
        }
        let name = self.string()?;
        self.expect(b':')?;
        Ok(Some(name))
    }

    /// Whether there is a next element; it has to be read then.
    pub fn element(&mut self) -> Result<bool, Unexpected> {
        self.next(b']')
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<String, Unexpected> {
        let mut string = String::new();
        self.scan_string(Some(&mut string))?;
        Ok(string)
    }

    /// Reads a number that is whole and written without fraction and exponent.
    pub fn integer(&mut self) -> Result<i64, Unexpected> {
        self.peek();
        let start = self.at;
        self.skip_number()?;
        self.text[start..self.at].parse().or(Err(Unexpected { offset: start }))
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Unexpected> {
        let value = self.peek() == Some(b't');
        self.skip_word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a string of base64.
    pub fn base64(&mut self) -> Result<Vec<u8>, Unexpected> {
        self.peek();
        let offset = self.at;
        base64::decode(&self.string()?).ok_or(Unexpected { offset })
    }

    /// Reads an object whose members are strings.
    pub fn strings(&mut self) -> Result<Vec<(String, String)>, Unexpected> {
        let mut pairs = Vec::new();
        self.object()?;
        while let Some(name) = self.member()? {
            pairs.push((name, self.string()?));
        }
        Ok(pairs)
    }

    /// Reads an object whose members are lists of strings: one pair for each string.
    pub fn lists(&mut self) -> Result<Vec<(String, String)>, Unexpected> {
        let mut pairs = Vec::new();
        self.object()?;
        while let Some(name) = self.member()? {
            self.array()?;
            while self.element()? {
                pairs.push((name.clone(), self.string()?));
            }
        }
        Ok(pairs)
    }

    /// Skips any value.
    pub fn skip(&mut self) -> Result<(), Unexpected> {
        let outside = self.depth;
        let mut closes = Vec::new(); // what ends each level entered here
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.enter(b'{')?;
                    closes.push(b'}');
                }
                Some(b'[') => {
                    self.enter(b'[')?;
                    closes.push(b']');
                }
                _ => self.skip_scalar()?,
            }
            // Close what ends here, then step to the next value inside what is left.
            while let Some(&close) = closes.last() {
                if self.next(close)? {
                    if close == b'}' {
                        self.scan_string(None)?;
                        self.expect(b':')?;
                    }
                    break;
                }
                closes.pop();
            }
            if self.depth == outside {
                return Ok(());
            }
        }
    }

    /// Succeeds when the text was one value with nothing after it.
    pub fn end(&mut self) -> Result<(), Unexpected> {
        match self.peek() {
            None if self.depth == 0 => Ok(()),
            _ => self.unexpected(),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn unexpected<T>(&self) -> Result<T, Unexpected> {
        Err(Unexpected { offset: self.at })
    }

    fn accept(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += found as usize;
        found
    }

    fn expect(&mut self, c: u8) -> Result<(), Unexpected> {
        if self.accept(c) {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    fn enter(&mut self, open: u8) -> Result<(), Unexpected> {
        self.expect(open)?;
        if self.depth == MAX_DEPTH {
            return self.unexpected();
        }
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// Steps to the next member or element, or leaves when `close` comes instead.
    fn next(&mut self, close: u8) -> Result<bool, Unexpected> {
        if self.accept(close) {
            self.depth -= 1;
            self.first = false; // the value just left was one of its parent's
            return Ok(false);
        }
        if !self.first {
            self.expect(b',')?;
        }
        self.first = false;
        Ok(true)
    }

    /// Reads a string, and keeps it when the caller wants it.
    fn scan_string(&mut self, mut into: Option<&mut String>) -> Result<(), Unexpected> {
        self.expect(b'"')?;
        loop {
            let plain = self.at;
            while matches!(self.byte(), Some(c) if c >= 0x20 && c != b'"' && c != b'\\') {
                self.at += 1;
            }
            if let Some(string) = into.as_mut() {
                string.push_str(&self.text[plain..self.at]); // both ends are beside ASCII
            }
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    if let Some(string) = into.as_mut() {
                        string.push(c);
                    }
                }
                _ => return self.unexpected(), // a control character or the end
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, Unexpected> {
        let c = match self.byte() {
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return self.unexpected(),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads what follows the u of a \u escape; in half a surrogate pair nobody
    /// can see a character.
    fn unicode_escape(&mut self) -> Result<char, Unexpected> {
        let unit = self.code_unit()?;
        if (0xD800..0xDC00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.code_unit()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before; // not the other half: it stands for itself
        }
        match char::from_u32(unit) {
            None if self.strict => self.unexpected(),
            c => Ok(c.unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// Reads the four digits of a \u escape.
    fn code_unit(&mut self) -> Result<u32, Unexpected> {
        let mut unit = 0;
        for _ in 0..4 {
            match self.byte().and_then(|c| (c as char).to_digit(16)) {
                Some(digit) => unit = unit << 4 | digit,
                None => return self.unexpected(),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    fn skip_scalar(&mut self) -> Result<(), Unexpected> {
        match self.peek() {
            Some(b'"') => self.scan_string(None),
            Some(b't') => self.skip_word("true"),
            Some(b'f') => self.skip_word("false"),
            Some(b'n') => self.skip_word("null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => self.unexpected(),
        }
    }

    fn skip_word(&mut self, word: &str) -> Result<(), Unexpected> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.unexpected();
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), Unexpected> {
        self.skip_one_of(b"-");
        // After a leading 0 no digit may follow: the caller finds it where a comma belongs.
        if !self.skip_one_of(b"0") {
            self.skip_digits()?;
        }
        if self.skip_one_of(b".") {
            self.skip_digits()?;
        }
        if self.skip_one_of(b"eE") {
            self.skip_one_of(b"+-");
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_one_of(&mut self, set: &[u8]) -> bool {
        let found = matches!(self.byte(), Some(c) if set.contains(&c));
        self.at += found as usize;
        found
    }

    fn skip_digits(&mut self) -> Result<(), Unexpected> {
        if !self.skip_one_of(b"0123456789") {
            return self.unexpected();
        }
        while self.skip_one_of(b"0123456789") {}
        Ok(())
    }
}

/// Appends `text` to `out` as a JSON string, quotes included.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                out.push_str("\\u00");
                out.push(if c < '\u{10}' { '0' } else { '1' });
                out.extend(char::from_digit(c as u32 & 15, 16));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Appends an object whose members are strings.
pub fn write_object(out: &mut String, members: &[(&str, &str)]) {
    for (i, (name, value)) in members.iter().enumerate() {
        out.push(if i == 0 { '{' } else { ',' });
        write_string(out, name);
        out.push(':');
        write_string(out, value);
    }
    out.push_str(if members.is_empty() { "{}" } else { "}" });
}

/// Returns an object whose members are strings.
pub fn object(members: &[(&str, &str)]) -> String {
    let mut out = String::new();
    write_object(&mut out, members);
    out
}

/// Appends a member with any bytes: text as it is, other bytes in base64 and with
/// `_base64` behind the name.
pub fn write_bytes(out: &mut String, name: &str, bytes: &[u8]) {
    out.push('"');
    out.push_str(name);
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            out.push_str("\":");
            write_string(out, text);
        }
        Err(_) => {
            out.push_str("_base64\":\"");
            base64::encode(out, bytes);
            out.push('"');
        }
    }
}

/// Appends header fields as an object. The values of one name become one member.
pub(crate) fn write_headers(out: &mut String, headers: &[(String, String)]) {
    out.push('{');
    let mut more = false;
    for (i, (name, value)) in headers.iter().enumerate() {
        let same = |other: &&(String, String)| other.0.eq_ignore_ascii_case(name);
        if headers[..i].iter().any(|other| same(&other)) {
            continue; // written with the first of its name
        }
        if more {
            out.push(',');
        }
        more = true;
        write_string(out, name);
        out.push(':');
        let others = headers[i + 1..].iter().filter(same);
        let list = others.clone().next().is_some();
        if list {
            out.push('[');
        }
        write_string(out, value);
        for (_, value) in others {
            out.push(',');
            write_string(out, value);
        }
        if list {
            out.push(']');
        }
    }
    out.push('}');
}
