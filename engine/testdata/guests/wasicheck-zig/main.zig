//! wasicheck exercises one area of WASI preview 1 through Zig's standard library
//! and prints "ok" or what differs. What it needs to find is in ../README.md.

const std = @import("std");
const fs = std.fs;
const expect = std.testing.expect;
const eql = std.mem.eql;
const allocator = std.heap.page_allocator;

fn equal(got: []const u8, want: []const u8) !void {
    if (eql(u8, got, want)) return;
    std.debug.print("got \"{s}\", want \"{s}\"\n", .{ got, want });
    return error.Differs;
}

/// The operation must fail, in any way.
fn fails(result: anytype) !void {
    if (result) |_| return error.Succeeds else |_| {}
}

fn checkArgs() !void {
    const want = [_][]const u8{ "args", "a b", "", "ü€", "--x=y", "\"'\\", "last" };
    const args = try std.process.argsAlloc(allocator);
    try expect(args.len == want.len + 1);
    for (want, args[1..]) |w, got| try equal(got, w);
}

fn checkEnv() !void {
    const env = try std.process.getEnvMap(allocator);
    try expect(env.count() == 4);
    try equal(env.get("GREETING") orelse "", "hello world");
    try equal(env.get("EMPTY") orelse "nothing", "");
    try equal(env.get("EQUALS") orelse "", "a=b=c");
    try equal(env.get("UNICODE") orelse "", "ü€");
}

fn checkClock() !void {
    const now = std.time.timestamp();
    try expect(now > 1577836800 and now < 4102444800);
    var timer = try std.time.Timer.start();
    std.time.sleep(30 * std.time.ns_per_ms);
    try expect(timer.read() >= 30 * std.time.ns_per_ms);
}

fn checkRandom() !void {
    var a: [64]u8 = undefined;
    var b: [64]u8 = undefined;
    try std.os.getrandom(&a);
    try std.os.getrandom(&b);
    try expect(!eql(u8, &a, &b));
}

fn checkStdin() !void {
    const stdin = std.io.getStdIn();
    try equal(try stdin.readToEndAlloc(allocator, 1000), "hello stdin\n");
    var more: [8]u8 = undefined;
    try expect(try stdin.read(&more) == 0);
}

/// Opens the preopened folder that holds /data or /ro and returns a path in it.
/// The standard library takes no absolute paths here.
fn place(path: []const u8) !struct { dir: fs.Dir, path: []const u8 } {
    const preopens = try fs.wasi.preopensAlloc(allocator);
    for (preopens.names, 0..) |name, fd| {
        if (fd < 3 or !std.mem.startsWith(u8, path, name)) continue;
        const rest = std.mem.trimLeft(u8, path[name.len..], "/");
        return .{ .dir = .{ .fd = @intCast(fd) }, .path = if (rest.len == 0) "." else rest };
    }
    return error.NoPreopen;
}

fn open(path: []const u8) !fs.IterableDir {
    const p = try place(path);
    return p.dir.openIterableDir(p.path, .{});
}

fn checkFiles() !void {
    const dir = (try open("/data")).dir;
    try fails(dir.openFile("file", .{}));
    var f = try dir.createFile("file", .{ .read = true, .exclusive = true });
    try fails(dir.createFile("file", .{ .exclusive = true }));
    try f.writeAll("hello world\n");
    try expect((try f.stat()).size == 12);
    try expect((try f.stat()).kind == .file);
    try f.seekTo(6);
    var text: [64]u8 = undefined;
    try equal(text[0..try f.readAll(&text)], "world\n");
    try f.setEndPos(5);
    try expect(try f.getEndPos() == 5);
    try f.pwriteAll("!", 7);
    try expect(try f.preadAll(&text, 0) == 8);
    try equal(text[0..8], "hello\x00\x00!");
    f.close();
    try dir.copyFile("file", dir, "copy", .{});
    try equal(try dir.readFileAlloc(allocator, "copy", 100), "hello\x00\x00!");
    try dir.writeFile("file", "short");
    try equal(try dir.readFileAlloc(allocator, "file", 100), "short");
    try dir.rename("file", "renamed");
    try fails(dir.access("file", .{}));
    try dir.deleteFile("renamed");
    try fails(dir.deleteFile("renamed"));
}

fn checkDirectories() !void {
    const root = try open("/data");
    try root.dir.makePath("a/b/c");
    try fails(root.dir.makeDir("a"));
    for (0..300) |i| {
        var name: [16]u8 = undefined;
        try root.dir.writeFile(try std.fmt.bufPrint(&name, "a/n{d}", .{i}), "");
    }
    var dir = try root.dir.openIterableDir("a", .{});
    var it = dir.iterate();
    var seen = [_]u8{0} ** 300;
    var folders: usize = 0;
    while (try it.next()) |entry| {
        if (entry.kind == .directory) {
            folders += 1;
        } else {
            seen[try std.fmt.parseInt(usize, entry.name[1..], 10)] += 1;
        }
    }
    try expect(folders == 1);
    for (seen) |n| try expect(n == 1);
    dir.close();
    try fails(root.dir.deleteDir("a"));
    try root.dir.deleteTree("a");
    try fails(root.dir.access("a", .{}));
}

fn checkReadOnly() !void {
    const ro = (try open("/ro")).dir;
    try equal(try ro.readFileAlloc(allocator, "hello.txt", 100), "hello\n");
    try fails(ro.writeFile("hello.txt", "x"));
    try fails(ro.writeFile("new", "x"));
    try fails(ro.makeDir("new"));
    try fails(ro.deleteFile("hello.txt"));
    try fails(ro.deleteDir("sub"));
    try fails(ro.rename("hello.txt", "x"));
    try equal(try ro.readFileAlloc(allocator, "hello.txt", 100), "hello\n");
}

fn checkEscape() !void {
    const data = (try open("/data")).dir;
    for ([_][]const u8{ "../etc/passwd", "../../../../etc/passwd", "/etc/passwd", "x/../../etc/passwd" }) |path| {
        try fails(data.openFile(path, .{}));
        try fails(data.createFile(path, .{}));
    }
}

const checks = .{
    .{ "args", checkArgs },
    .{ "env", checkEnv },
    .{ "clock", checkClock },
    .{ "random", checkRandom },
    .{ "stdin", checkStdin },
    .{ "files", checkFiles },
    .{ "directories", checkDirectories },
    .{ "read-only", checkReadOnly },
    .{ "escape", checkEscape },
};

pub fn main() !void {
    const args = try std.process.argsAlloc(allocator);
    const name: []const u8 = if (args.len > 1) args[1] else "";
    const stdout = std.io.getStdOut().writer();
    const stderr = std.io.getStdErr().writer();
    inline for (checks) |check| {
        if (eql(u8, name, "list")) {
            try stdout.print("{s}\n", .{check[0]});
        } else if (eql(u8, name, check[0])) {
            check[1]() catch |e| {
                try stderr.print("{s}: {s}\n", .{ name, @errorName(e) });
                std.process.exit(1);
            };
            return stdout.writeAll("ok\n");
        }
    }
    if (!eql(u8, name, "list")) {
        try stderr.print("no check is called \"{s}\"\n", .{name});
        std.process.exit(1);
    }
}
