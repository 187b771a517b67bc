//! Misbehaves in the way its first argument names; ../README.md has the list.

use std::io::{self, Read, Write};
use std::{env, fs, mem, process, ptr, thread, time};

/// Returns x in a way that the compiler cannot see through.
fn black_box<T>(x: T) -> T {
    // Sound: the original is forgotten, so there is one owner still.
    let same = unsafe { ptr::read_volatile(&x) };
    mem::forget(x);
    same
}

fn fib(n: u64) -> u64 {
    if n < 2 {
        n
    } else {
        fib(black_box(n - 1)) + fib(black_box(n - 2))
    }
}

fn deep(n: u64) -> u64 {
    let frame = black_box([n; 16]);
    if n == u64::MAX {
        0
    } else {
        deep(n + 1) + black_box(frame)[3]
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("loop") => loop {
            black_box(0);
        },
        Some("fib60") => println!("{}", fib(60)),
        Some("recursion") => println!("{}", deep(0)),
        Some("panic") => panic!("a panic"),
        Some("index") => println!("{}", args[black_box(100)]),
        Some("unwrap") => println!("{}", black_box(None::<u32>).unwrap()),
        Some("abort") => process::abort(),
        Some("exit3") => process::exit(3),
        Some("memory") => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1u8; 1 << 20]);
            }
        }
        Some("stdout-flood") => loop {
            let _ = io::stdout().write_all(&[b'x'; 65536]);
        },
        Some("stderr-flood") => loop {
            let _ = io::stderr().write_all(&[b'x'; 65536]);
        },
        Some("sleep-hour") => thread::sleep(time::Duration::from_secs(3600)),
        Some("read-forever") => loop {
            let _ = black_box(io::stdin().read(&mut [0; 4096]));
        },
        Some("thread") => {
            // There are none: the error must be an ordinary one.
            match thread::Builder::new().spawn(|| ()) {
                Ok(_) => println!("a thread"),
                Err(e) => println!("{:?}", e.kind()),
            }
        }
        Some("passwd") => match fs::read_to_string("/etc/passwd") {
            Ok(text) => print!("{}", text),
            Err(e) => println!("{:?}", e.kind()),
        },
        Some("silent") => (),
        Some("list") => {
            for name in [
                "loop",
                "fib60",
                "recursion",
                "panic",
                "index",
                "unwrap",
                "abort",
                "exit3",
                "memory",
                "stdout-flood",
                "stderr-flood",
                "sleep-hour",
                "read-forever",
                "thread",
                "passwd",
                "silent",
            ] {
                println!("{}", name);
            }
        }
        name => {
            eprintln!("no way is called {:?}", name);
            process::exit(99);
        }
    }
}
