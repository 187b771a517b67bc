//! wasicheck exercises one area of WASI preview 1 through Rust's standard library
//! and prints "ok" or what differs. What it needs to find is in ../README.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Ends the check when an expression is not true.
macro_rules! check {
    ($e:expr) => {
        if !$e {
            return Err(format!("line {}: not true: {}", line!(), stringify!($e)).into());
        }
    };
}

/// Ends the check when two values differ.
macro_rules! equal {
    ($got:expr, $want:expr) => {{
        let (got, want) = ($got, $want);
        if got != want {
            return Err(format!("line {}: {}: got {:?}, want {:?}", line!(), stringify!($got), got, want).into());
        }
    }};
}

/// Ends the check when an operation does not fail in one of the ways.
macro_rules! fails {
    ($e:expr, $($kind:pat_param)|+) => {
        match $e {
            Err(e) if matches!(e.kind(), $($kind)|+) => (),
            Err(e) => return Err(format!("line {}: {}: got {:?}", line!(), stringify!($e), e).into()),
            Ok(_) => return Err(format!("line {}: {}: succeeds", line!(), stringify!($e)).into()),
        }
    };
}

fn args() -> Outcome {
    let args: Vec<String> = env::args().skip(1).collect();
    equal!(args, ["args", "a b", "", "ü€", "--x=y", "\"'\\", "last"]);
    Ok(())
}

fn environment() -> Outcome {
    let got: BTreeMap<String, String> = env::vars().collect();
    let want = [("GREETING", "hello world"), ("EMPTY", ""), ("EQUALS", "a=b=c"), ("UNICODE", "ü€")];
    equal!(got, want.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    Ok(())
}

fn clock() -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    check!(now.as_secs() > 1_577_836_800 && now.as_secs() < 4_102_444_800);
    let first = Instant::now();
    let mut last = first;
    for _ in 0..1000 {
        let t = Instant::now();
        check!(t >= last);
        last = t;
    }
    check!(last > first);
    Ok(())
}

fn sleep() -> Outcome {
    let before = Instant::now();
    thread::sleep(Duration::from_millis(30));
    check!(before.elapsed() >= Duration::from_millis(30));
    thread::sleep(Duration::ZERO);
    thread::yield_now();
    Ok(())
}

/// The seeds of hash maps are the standard library's random numbers.
fn random() -> Outcome {
    let order = || (0..100).map(|i| (i, ())).collect::<HashMap<i32, ()>>().into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    check!(order() != order());
    Ok(())
}

fn stdin() -> Outcome {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    equal!(text, "hello stdin\n");
    equal!(io::stdin().read(&mut [0; 8])?, 0);
    Ok(())
}

fn files() -> Outcome {
    let path = "/data/file";
    fails!(File::open(path), ErrorKind::NotFound);
    let mut f = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    fails!(OpenOptions::new().write(true).create_new(true).open(path), ErrorKind::AlreadyExists);
    f.write_all(b"hello world\n")?;
    f.flush()?;
    f.sync_all()?;
    f.sync_data()?;
    equal!(f.metadata()?.len(), 12);
    check!(f.metadata()?.is_file());
    equal!(f.seek(SeekFrom::Start(6))?, 6);
    let mut text = String::new();
    f.read_to_string(&mut text)?;
    equal!(text, "world\n");
    equal!(f.seek(SeekFrom::End(-1))?, 11);
    fails!(f.seek(SeekFrom::Current(-100)), ErrorKind::InvalidInput);
    f.set_len(5)?;
    f.seek(SeekFrom::Start(7))?;
    f.write_all(b"!")?;
    drop(f);
    equal!(fs::read(path)?, b"hello\0\0!");

    let mut f = OpenOptions::new().append(true).open(path)?;
    f.write_all(b" more")?;
    drop(f);
    equal!(fs::read(path)?, b"hello\0\0! more");
    equal!(fs::copy(path, "/data/copy")?, 13);
    equal!(fs::read("/data/copy")?, fs::read(path)?);
    fs::write(path, "short")?;
    equal!(fs::read_to_string(path)?, "short");
    check!(File::open(path)?.write(b"x").is_err());
    check!(OpenOptions::new().write(true).open(path)?.read(&mut [0; 1]).is_err());
    let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?).unwrap_or_default();
    check!(age < Duration::from_secs(100));
    fs::remove_file(path)?;
    fails!(fs::remove_file(path), ErrorKind::NotFound);
    Ok(())
}

fn names(dir: &str) -> io::Result<BTreeSet<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn directories() -> Outcome {
    fs::create_dir_all("/data/a/b/c")?;
    fails!(fs::create_dir("/data/a"), ErrorKind::AlreadyExists);
    fails!(fs::create_dir("/data/x/y"), ErrorKind::NotFound);
    check!(fs::metadata("/data/a")?.is_dir());
    let mut want = BTreeSet::new();
    for i in 0..300 {
        let name = format!("n{} é", i);
        fs::write(format!("/data/a/{}", name), "")?;
        want.insert(name);
    }
    want.insert("b".to_string());
    equal!(names("/data/a")?, want);
    for entry in fs::read_dir("/data/a")? {
        let entry = entry?;
        equal!(entry.file_type()?.is_dir(), entry.file_name() == "b");
    }
    check!(fs::remove_dir("/data/a").is_err());
    fs::remove_dir_all("/data/a")?;
    equal!(names("/data")?, BTreeSet::new());
    equal!(names("/ro")?, ["hello.txt", "sub"].iter().map(|s| s.to_string()).collect());
    equal!(names("/ro/sub")?, ["a", "b", "c"].iter().map(|s| s.to_string()).collect());
    Ok(())
}

fn rename() -> Outcome {
    fs::write("/data/from", "from")?;
    fs::write("/data/to", "to")?;
    fs::rename("/data/from", "/data/to")?;
    equal!(fs::read_to_string("/data/to")?, "from");
    fails!(fs::rename("/data/from", "/data/x"), ErrorKind::NotFound);
    fs::hard_link("/data/to", "/data/second")?;
    fs::write("/data/second", "both")?;
    equal!(fs::read_to_string("/data/to")?, "both");
    check!(fs::rename("/data/to", "/ro/to").is_err());
    check!(fs::hard_link("/ro/hello.txt", "/data/hello.txt").is_err());
    Ok(())
}

fn read_only() -> Outcome {
    equal!(fs::read_to_string("/ro/hello.txt")?, "hello\n");
    check!(fs::write("/ro/hello.txt", "x").is_err());
    check!(fs::write("/ro/new", "x").is_err());
    check!(OpenOptions::new().append(true).open("/ro/hello.txt").is_err());
    check!(fs::create_dir("/ro/new").is_err());
    check!(fs::remove_file("/ro/hello.txt").is_err());
    check!(fs::remove_dir("/ro/sub").is_err());
    check!(fs::rename("/ro/hello.txt", "/ro/x").is_err());
    equal!(fs::read_to_string("/ro/hello.txt")?, "hello\n");
    Ok(())
}

fn escape() -> Outcome {
    for path in ["/etc/passwd", "/data/../etc/passwd", "/data/../../../../etc/passwd", "../etc/passwd", "/ro/sub/../../../etc/passwd"] {
        check!(fs::read(path).is_err());
        check!(fs::write(path, "x").is_err());
    }
    check!(fs::write("/escaped", "x").is_err());
    check!(fs::create_dir("/escaped").is_err());
    Ok(())
}

fn devices() -> Outcome {
    let mut bytes = [0; 64];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut other = [0; 64];
    File::open("/dev/urandom")?.read_exact(&mut other)?;
    check!(bytes != other);
    equal!(File::open("/dev/null")?.read(&mut bytes)?, 0);
    equal!(OpenOptions::new().write(true).open("/dev/null")?.write(b"gone")?, 4);
    Ok(())
}

fn main() {
    let checks: [(&str, fn() -> Outcome); 12] = [
        ("args", args),
        ("env", environment),
        ("clock", clock),
        ("sleep", sleep),
        ("random", random),
        ("stdin", stdin),
        ("files", files),
        ("directories", directories),
        ("rename", rename),
        ("read-only", read_only),
        ("escape", escape),
        ("devices", devices),
    ];
    let name = env::args().nth(1).unwrap_or_default();
    if name == "list" {
        checks.iter().for_each(|(name, _)| println!("{}", name));
        return;
    }
    match checks.iter().find(|(n, _)| *n == name) {
        None => {
            eprintln!("no check is called {:?}", name);
            process::exit(1);
        }
        Some((_, check)) => match check() {
            Ok(()) => println!("ok"),
            Err(e) => {
                eprintln!("{}", e);
                process::exit(1);
            }
        },
    }
}
