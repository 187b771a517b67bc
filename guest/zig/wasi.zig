//! The few functions of WASI preview 1 that a function needs, by their own names:
//! the standard library's wrappers change with every release of Zig.

const std = @import("std");
const Allocator = std.mem.Allocator;

/// The errors worth telling apart; InputOutput is all others.
pub const Error = error{ NotFound, AlreadyExists, AccessDenied, InvalidName, NoSpace, FileTooBig, InputOutput };

fn check(errno: u16) Error!void {
    return switch (errno) { // typenames.witx, $errno
        0 => {},
        2, 63, 69, 76 => error.AccessDenied, // acces, perm, rofs, notcapable
        20 => error.AlreadyExists,
        22 => error.FileTooBig,
        28, 37 => error.InvalidName, // inval, nametoolong
        44 => error.NotFound,
        19, 51 => error.NoSpace, // dquot, nospc
        else => error.InputOutput,
    };
}

const Const = extern struct { base: [*]const u8, len: usize };
const Mutable = extern struct { base: [*]u8, len: usize };
const Prestat = extern struct { tag: u8, name_len: usize };

extern "wasi_snapshot_preview1" fn fd_read(fd: u32, to: *const Mutable, count: usize, read_len: *usize) u16;
extern "wasi_snapshot_preview1" fn fd_write(fd: u32, from: *const Const, count: usize, written: *usize) u16;
extern "wasi_snapshot_preview1" fn fd_close(fd: u32) u16;
extern "wasi_snapshot_preview1" fn fd_prestat_get(fd: u32, prestat: *Prestat) u16;
extern "wasi_snapshot_preview1" fn fd_prestat_dir_name(fd: u32, name: [*]u8, len: usize) u16;
extern "wasi_snapshot_preview1" fn path_open(dir: u32, lookup: u32, path: [*]const u8, path_len: usize, open: u16, rights: u64, inheriting: u64, flags: u16, fd: *u32) u16;
extern "wasi_snapshot_preview1" fn path_unlink_file(dir: u32, path: [*]const u8, path_len: usize) u16;

/// Returns 0 at the end of the file.
pub fn read(fd: u32, to: []u8) Error!usize {
    const iovec = Mutable{ .base = to.ptr, .len = to.len };
    var len: usize = 0;
    try check(fd_read(fd, &iovec, 1, &len));
    return len;
}

/// Appends what there is to be read until the end of the file.
pub fn readAll(fd: u32, allocator: Allocator, to: *std.ArrayListUnmanaged(u8)) (Error || Allocator.Error)!void {
    while (true) {
        try to.ensureUnusedCapacity(allocator, 4096);
        const n = try read(fd, to.unusedCapacitySlice());
        if (n == 0) return;
        to.items.len += n;
    }
}

pub fn writeAll(fd: u32, from: []const u8) Error!void {
    var rest = from;
    while (rest.len > 0) {
        const iovec = Const{ .base = rest.ptr, .len = rest.len };
        var len: usize = 0;
        try check(fd_write(fd, &iovec, 1, &len));
        if (len == 0) return error.InputOutput;
        rest = rest[len..];
    }
}

/// What a file is opened for.
pub const Mode = enum {
    /// Reading what is there.
    read,
    /// Writing all of it anew.
    write,
    /// Writing what must not be there yet.
    create,
    /// Writing and reading, for devices and sockets.
    exchange,
};

/// Opens the file at an absolute path.
pub fn open(path: []const u8, mode: Mode) Error!u32 {
    const creat = 1;
    const excl = 4;
    const trunc = 8;
    const oflags: u16 = switch (mode) {
        .read, .exchange => 0,
        .write => creat | trunc,
        .create => creat | excl,
    };
    const fd_read_right = 1 << 1;
    const fd_write_right = 1 << 6;
    const rights: u64 = switch (mode) {
        .read => fd_read_right,
        .write, .create => fd_write_right,
        .exchange => fd_read_right | fd_write_right,
    };
    const place = find(path) orelse return error.NotFound;
    var fd: u32 = undefined;
    try check(path_open(place.dir, 1, place.path.ptr, place.path.len, oflags, rights, 0, 0, &fd));
    return fd;
}

pub fn close(fd: u32) Error!void {
    return check(fd_close(fd));
}

/// Removes the file at an absolute path.
pub fn unlink(path: []const u8) Error!void {
    const place = find(path) orelse return error.NotFound;
    return check(path_unlink_file(place.dir, place.path.ptr, place.path.len));
}

/// Reads the whole file at an absolute path.
pub fn readFile(allocator: Allocator, path: []const u8) (Error || Allocator.Error)![]const u8 {
    const fd = try open(path, .read);
    defer close(fd) catch {}; // it has been read
    var content = std.ArrayListUnmanaged(u8){};
    try readAll(fd, allocator, &content);
    return content.items;
}

/// Writes the whole file at an absolute path, with mode write or create.
pub fn writeFile(path: []const u8, content: []const u8, mode: Mode) Error!void {
    const fd = try open(path, mode);
    const written = writeAll(fd, content);
    const closed = close(fd);
    try written;
    return closed;
}

/// Writes a line, which has no newline inside, to the file at an absolute path and returns
/// all that comes back.
pub fn ask(allocator: Allocator, path: []const u8, line: *std.ArrayListUnmanaged(u8)) (Error || Allocator.Error)![]const u8 {
    const fd = try open(path, .exchange);
    defer close(fd) catch {}; // it has been read
    try line.append(allocator, '\n');
    try writeAll(fd, line.items);
    var answer = std.ArrayListUnmanaged(u8){};
    try readAll(fd, allocator, &answer);
    return answer.items;
}

const Place = struct { dir: u32, path: []const u8 };

/// Finds the innermost folder handed to this program that holds path.
fn find(path: []const u8) ?Place {
    var found: ?Place = null;
    var longest: usize = 0;
    var fd: u32 = 3;
    var prestat: Prestat = undefined;
    while (fd_prestat_get(fd, &prestat) == 0) : (fd += 1) {
        var room: [256]u8 = undefined;
        if (prestat.name_len > room.len or fd_prestat_dir_name(fd, &room, prestat.name_len) != 0) continue;
        const name = std.mem.trimRight(u8, room[0..prestat.name_len], "/\x00"); // some runtimes count a final NUL
        if (!std.mem.startsWith(u8, path, name) or path.len == name.len or path[name.len] != '/') continue;
        if (found != null and name.len < longest) continue;
        longest = name.len;
        found = Place{ .dir = fd, .path = std.mem.trimLeft(u8, path[name.len..], "/") };
    }
    return found;
}
