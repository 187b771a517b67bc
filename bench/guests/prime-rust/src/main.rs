//! Prime answers with the n-th prime number. The request's body is n, and the
//! last member of the request object; a quotation mark inside a string is
//! escaped, so the last place of the text searched for is where it begins.

use std::io::{self, Error, ErrorKind, Read, Write};

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let invalid = |what| Error::new(ErrorKind::InvalidData, what);
    let (_, body) = text
        .rsplit_once(",\"body\":\"")
        .ok_or_else(|| invalid("the request has no body"))?;
    let (body, _) = body
        .split_once('"')
        .ok_or_else(|| invalid("the request has no end"))?;
    match body.parse::<u16>() {
        Ok(n) if n > 0 => io::stdout().write_all(format!("{{\"body\":\"{}\"}}", nth_prime(n.into())).as_bytes()),
        _ => Err(invalid("the body is no number from 1 to 65535")),
    }
}

/// Tries one number after the other, and every odd divisor of each: it is here
/// to keep a processor busy. The same in all languages, in 32 bits.
fn nth_prime(mut n: u32) -> u32 {
    let mut p = 2;
    let mut candidate: u32 = 3;
    while n > 1 {
        let mut prime = true;
        let mut d: u32 = 3;
        while d * d <= candidate {
            if candidate % d == 0 {
                prime = false;
                break;
            }
            d += 2;
        }
        if prime {
            p = candidate;
            n -= 1;
        }
        candidate += 2;
    }
    p
}
