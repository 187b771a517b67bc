// Ask makes each request that it reads, a line each, and writes the answers.
use std::fs::OpenOptions;
use std::io::{stdin, stdout, BufRead, Read, Result, Write};

fn main() -> Result<()> {
    let mut f = OpenOptions::new().read(true).write(true).open("/net/http")?;
    for line in stdin().lock().lines() {
        // In pieces, the newline among them.
        writeln!(f, "{}", line?)?;
        let mut answer = Vec::new();
        f.read_to_end(&mut answer)?;
        stdout().write_all(&answer)?;
    }
    Ok(())
}
