//! The few functions of WASI preview 1 that a function needs, by their own names:
//! the standard library's wrappers change with every release of Zig.

const std = @import("std");

pub const Error = error{InputOutput};

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

const create_exclusive = 0b0101; // oflags creat and excl
const right_to_write = 1 << 6; // rights fd_write

/// Returns 0 at the end of the file.
pub fn read(fd: u32, to: []u8) Error!usize {
    const iovec = Mutable{ .base = to.ptr, .len = to.len };
    var len: usize = 0;
    if (fd_read(fd, &iovec, 1, &len) != 0) return error.InputOutput;
    return len;
}

pub fn writeAll(fd: u32, from: []const u8) Error!void {
    var rest = from;
    while (rest.len > 0) {
        const iovec = Const{ .base = rest.ptr, .len = rest.len };
        var len: usize = 0;
        if (fd_write(fd, &iovec, 1, &len) != 0 or len == 0) return error.InputOutput;
        rest = rest[len..];
    }
}

/// Writes a file that must not exist yet, or nothing. The path is absolute.
pub fn writeNewFile(path: []const u8, text: []const u8) Error!void {
    const place = find(path) orelse return error.InputOutput;
    var fd: u32 = undefined;
    if (path_open(place.dir, 0, place.path.ptr, place.path.len, create_exclusive, right_to_write, 0, 0, &fd) != 0) return error.InputOutput;
    const written = writeAll(fd, text);
    const closed = fd_close(fd);
    written catch |e| {
        _ = path_unlink_file(place.dir, place.path.ptr, place.path.len);
        return e;
    };
    if (closed != 0) return error.InputOutput;
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
