//! Key-value namespaces: `allow kv <namespace>`.
//!
//! A namespace is a folder, /kv/<namespace>, a key the name of a file in it. Keys are
//! 1 to 255 bytes of any kind. Where the namespace was not granted, error.NotFound.

const std = @import("std");
const json = @import("json.zig");
const wasi = @import("wasi.zig");
const Allocator = std.mem.Allocator;

pub const Error = wasi.Error || json.Error;

/// The namespace of that name, where grants put it. A name that begins with / is the
/// folder itself, for grants that name one. Nothing is looked up yet.
pub fn open(allocator: Allocator, namespace: []const u8) Allocator.Error!Namespace {
    const at = if (namespace.len > 0 and namespace[0] == '/') "" else "/kv/";
    return Namespace{ .allocator = allocator, .folder = try std.mem.concat(allocator, u8, &[_][]const u8{ at, namespace }) };
}

/// A namespace that was granted.
pub const Namespace = struct {
    allocator: Allocator,
    folder: []const u8,

    /// The value of a key, null when there is none.
    pub fn get(self: Namespace, key: []const u8) Error!?[]const u8 {
        return wasi.readFile(self.allocator, try self.path(key)) catch |e| if (e == error.NotFound) null else e;
    }

    /// Sets the value of a key, all of it at once.
    pub fn put(self: Namespace, key: []const u8, value: []const u8) Error!void {
        try wasi.writeFile(try self.path(key), value, .write);
    }

    /// Sets the value of a key that has none. False: it has one, and keeps it.
    pub fn create(self: Namespace, key: []const u8, value: []const u8) Error!bool {
        wasi.writeFile(try self.path(key), value, .create) catch |e| return if (e == error.AlreadyExists) false else e;
        return true;
    }

    /// Deletes a key. False: there was none.
    pub fn delete(self: Namespace, key: []const u8) Error!bool {
        wasi.unlink(try self.path(key)) catch |e| return if (e == error.NotFound) false else e;
        return true;
    }

    /// The path of a key's file. Letters, digits and -._~ are themselves, every other
    /// byte is %XX, and so are the dots of the names that mean something else.
    fn path(self: Namespace, key: []const u8) Allocator.Error![]const u8 {
        const hex = "0123456789ABCDEF";
        const reserved = for ([_][]const u8{ ".", "..", ".do" }) |name| {
            if (std.mem.eql(u8, key, name)) break true;
        } else false;
        var name = json.Buffer{};
        try name.appendSlice(self.allocator, self.folder);
        try name.append(self.allocator, '/');
        for (key) |c| {
            const plain = std.ascii.isAlphanumeric(c) or c == '-' or c == '_' or c == '~' or (c == '.' and !reserved);
            try name.appendSlice(self.allocator, if (plain) &[_]u8{c} else &[_]u8{ '%', hex[c >> 4], hex[c & 15] });
        }
        return name.items;
    }
};
