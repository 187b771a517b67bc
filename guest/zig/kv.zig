//! Key-value namespaces: `allow kv <namespace>`.
//!
//! A namespace is a folder, /kv/<namespace>, a key the name of a file in it. Keys are
//! any bytes, at least one; percent-encoded, as they are in the name, at most 255. Where
//! the namespace was not granted, error.NotFound.

const std = @import("std");
const json = @import("json.zig");
const wasi = @import("wasi.zig");
const Allocator = std.mem.Allocator;

pub const Error = wasi.Error || json.Error || error{NotInteger};

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

    /// Adds to the integer that a key has, as text; without one it is 0. Returns the sum.
    pub fn incr(self: Namespace, key: []const u8, by: i64) Error!i64 {
        var line = json.Buffer{};
        try line.appendSlice(self.allocator, "{\"op\":\"incr\",");
        try json.writeBytes(self.allocator, &line, "key", key);
        try line.appendSlice(self.allocator, try std.fmt.allocPrint(self.allocator, ",\"by\":{d}}}", .{by}));
        const answer = try self.operate(&line);
        return std.fmt.parseInt(i64, answer.value, 10) catch error.Unexpected;
    }

    /// All keys that begin with prefix, in the order of their bytes.
    pub fn list(self: Namespace, prefix: []const u8) Error![]const []const u8 {
        var keys = std.ArrayListUnmanaged([]const u8){};
        var cursor: []const u8 = "";
        while (true) {
            var line = json.Buffer{};
            try line.appendSlice(self.allocator, "{\"op\":\"list\",\"limit\":1000,\"cursor\":");
            try json.writeString(self.allocator, &line, cursor);
            try line.append(self.allocator, ',');
            try json.writeBytes(self.allocator, &line, "prefix", prefix);
            try line.append(self.allocator, '}');
            const answer = try self.operate(&line);
            try keys.appendSlice(self.allocator, answer.keys.items);
            cursor = answer.cursor;
            if (cursor.len == 0) return keys.items;
        }
    }

    /// Has the host do what files can't.
    fn operate(self: Namespace, line: *json.Buffer) Error!Answer {
        const device = try std.mem.concat(self.allocator, u8, &[_][]const u8{ self.folder, "/.do" });
        const answer = try Answer.parse(self.allocator, try wasi.ask(self.allocator, device, line));
        if (answer.failure.len == 0) return answer;
        inline for (.{ "invalid", "not_integer", "read_only", "too_large", "full" }, .{ error.InvalidName, error.NotInteger, error.AccessDenied, error.FileTooBig, error.NoSpace }) |name, e| {
            if (std.mem.eql(u8, answer.failure, name)) return e;
        }
        return error.InputOutput;
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

/// What an operation has answered.
const Answer = struct {
    value: []const u8 = "",
    keys: std.ArrayListUnmanaged([]const u8) = .{},
    cursor: []const u8 = "",
    failure: []const u8 = "",

    fn parse(allocator: Allocator, text: []const u8) json.Error!Answer {
        var answer = Answer{};
        var name = json.Buffer{};
        var j = try json.Reader.init(text);
        j.strict = true;
        try j.object();
        while (try j.member(allocator, &name)) {
            if (std.mem.eql(u8, name.items, "value")) {
                answer.value = try j.newString(allocator);
            } else if (std.mem.eql(u8, name.items, "keys")) {
                try answer.readKeys(allocator, &j);
            } else if (std.mem.eql(u8, name.items, "cursor")) {
                answer.cursor = try j.newString(allocator);
            } else if (std.mem.eql(u8, name.items, "error")) {
                answer.failure = try j.newString(allocator);
            } else {
                try j.skip();
            }
        }
        try j.end();
        return answer;
    }

    fn readKeys(self: *Answer, allocator: Allocator, j: *json.Reader) json.Error!void {
        var name = json.Buffer{};
        try j.array();
        while (try j.element()) {
            try j.object();
            while (try j.member(allocator, &name)) {
                if (std.mem.eql(u8, name.items, "key")) {
                    try self.keys.append(allocator, try j.newString(allocator));
                } else if (std.mem.eql(u8, name.items, "key_base64")) {
                    try self.keys.append(allocator, try j.base64(allocator));
                } else {
                    try j.skip();
                }
            }
        }
    }
};
