//! Sends the time, once a second or as often as the query's every says, as server-sent events: ?count=10
//! ends after ten. What is posted to it comes back line by line, in capitals, while it is still being
//! sent. It needs `contract stream`.

use gojinn::stream::{self, Body, Reply, Writer};
use gojinn::{Request, Response};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer lines come back in pieces, in bytes.
const MAX_LINE: u64 = 64 << 10;

fn main() -> ExitCode {
    stream::serve(|request, body, reply| match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/events") => events(request, reply),
        ("POST", "/events") => shout(body, reply),
        (_, "/events") => Ok(reply.begin(Response::new(405).header("Allow", "GET, HEAD, POST"))),
        _ => Ok(reply.begin(Response::new(404))),
    })
}

/// Sends the time until the client leaves, which ends the program.
fn events(request: &Request, reply: Reply) -> io::Result<Writer> {
    let every = request.query("every").and_then(duration).unwrap_or(Duration::from_secs(1));
    let count: Option<u64> = request.query("count").and_then(|count| count.parse().ok());
    let head = Response::new(200).header("Content-Type", "text/event-stream").header("Cache-Control", "no-store");
    let mut out = reply.begin(head);
    for n in 1..=count.unwrap_or(u64::MAX) {
        write!(out, "id: {}\nevent: time\ndata: {}\n\n", n, now())?;
        out.flush()?;
        if Some(n) != count {
            sleep(every);
        }
    }
    Ok(out)
}

/// Answers every line as soon as it has come.
fn shout(mut body: Body, reply: Reply) -> io::Result<Writer> {
    let mut out = reply.begin(Response::new(200).header("Content-Type", "text/plain; charset=utf-8"));
    let mut line = Vec::new();
    while body.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        line.make_ascii_uppercase();
        out.write_all(&line)?;
        out.flush()?;
        line.clear();
    }
    Ok(out)
}

/// Reads a whole number of ms, s or m, from 1 ms to a day.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=86_400_000).contains(&milliseconds).then(|| Duration::from_millis(milliseconds))
}

/// The time as RFC 3339 writes it, UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// The date that many days after the first of January 1970. It counts in years that begin in March, so that
/// a leap day is the last of its year, and in eras of 400 years, which are of one length.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since the first of March of the year 0
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
