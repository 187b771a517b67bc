//! Files that are asked: one line is the question, what can be read then the answer.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};

/// Writes a line, which has no newline inside, to the file at `path` and returns all
/// that comes back.
pub fn ask(path: &str, mut line: String) -> io::Result<String> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    line.push('\n');
    file.write_all(line.as_bytes())?;
    let mut answer = line; // its memory will do
    answer.clear();
    file.read_to_string(&mut answer)?;
    Ok(answer)
}
