//! The contract between server and function: the request is one JSON object on
//! stdin, the response is one on stdout.

const std = @import("std");
const json = @import("json.zig");
const wasi = @import("wasi.zig");
const Allocator = std.mem.Allocator;

pub const Pair = struct { name: []const u8, value: []const u8 };
const Pairs = std.ArrayListUnmanaged(Pair);

pub const Error = json.Error || wasi.Error;

pub const Request = struct {
    id: []const u8 = "",
    method: []const u8 = "",
    path: []const u8 = "",
    /// Decoded parameters of the URL.
    query: []const Pair = &[_]Pair{},
    /// Header fields, names in canonical form: Content-Type.
    headers: []const Pair = &[_]Pair{},
    /// Any bytes.
    body: []const u8 = "",

    /// Reads the request from stdin. The request lives as long as the allocator's memory.
    pub fn read(allocator: Allocator) Error!Request {
        var text = json.Buffer{};
        var chunk: [16384]u8 = undefined;
        while (true) {
            const n = try wasi.read(0, &chunk);
            if (n == 0) break;
            try text.appendSlice(allocator, chunk[0..n]);
        }
        return parse(allocator, text.items);
    }
};

pub const Response = struct {
    status: u16,
    headers: []const Pair,
    /// UTF-8.
    body: []const u8,

    /// Writes the response to stdout.
    pub fn write(self: Response, allocator: Allocator) Error!void {
        var out = json.Buffer{};
        var digits: [8]u8 = undefined;
        const status = std.fmt.bufPrint(&digits, "{d}", .{self.status}) catch unreachable;
        try out.appendSlice(allocator, "{\"status\":");
        try out.appendSlice(allocator, status);
        try out.appendSlice(allocator, ",\"headers\":");
        try writeObject(allocator, &out, self.headers);
        try out.appendSlice(allocator, ",\"body\":");
        try json.writeString(allocator, &out, self.body);
        try out.appendSlice(allocator, "}\n");
        try wasi.writeAll(1, out.items);
    }
};

/// Returns the first value of that name.
pub fn first(pairs: []const Pair, name: []const u8) ?[]const u8 {
    for (pairs) |pair| {
        if (std.mem.eql(u8, pair.name, name)) return pair.value;
    }
    return null;
}

/// Appends an object with the pairs as its members.
pub fn writeObject(allocator: Allocator, out: *json.Buffer, pairs: []const Pair) Allocator.Error!void {
    try out.append(allocator, '{');
    for (pairs, 0..) |pair, i| {
        if (i > 0) try out.append(allocator, ',');
        try json.writeString(allocator, out, pair.name);
        try out.append(allocator, ':');
        try json.writeString(allocator, out, pair.value);
    }
    try out.append(allocator, '}');
}

/// Writes a line to the server's log.
pub fn logError(allocator: Allocator, message: []const u8) void {
    var line = json.Buffer{};
    // When even this does not work there is nobody else to tell.
    writeObject(allocator, &line, &[_]Pair{ .{ .name = "level", .value = "error" }, .{ .name = "msg", .value = message } }) catch return;
    line.append(allocator, '\n') catch return;
    wasi.writeAll(2, line.items) catch return;
}

fn parse(allocator: Allocator, text: []const u8) json.Error!Request {
    var request = Request{};
    var j = try json.Reader.init(text);
    var name = json.Buffer{};
    try j.object();
    while (try j.member(allocator, &name)) {
        if (std.mem.eql(u8, name.items, "id")) {
            request.id = try readString(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "method")) {
            request.method = try readString(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "path")) {
            request.path = try readString(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "query")) {
            request.query = try readPairs(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "headers")) {
            request.headers = try readPairs(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "body")) {
            request.body = try readString(allocator, &j);
        } else if (std.mem.eql(u8, name.items, "body_base64")) {
            request.body = try decodeBase64(allocator, try readString(allocator, &j));
        } else {
            try j.skip();
        }
    }
    try j.end();
    return request;
}

fn readString(allocator: Allocator, j: *json.Reader) json.Error![]const u8 {
    var string = json.Buffer{};
    try j.string(allocator, &string);
    return string.items;
}

/// Reads an object whose members are lists of strings.
fn readPairs(allocator: Allocator, j: *json.Reader) json.Error![]const Pair {
    var pairs = Pairs{};
    try j.object();
    while (true) {
        var name = json.Buffer{}; // the pairs keep it
        if (!try j.member(allocator, &name)) return pairs.items;
        try j.array();
        while (try j.element()) {
            try pairs.append(allocator, .{ .name = name.items, .value = try readString(allocator, j) });
        }
    }
}

fn decodeBase64(allocator: Allocator, text: []const u8) json.Error![]const u8 {
    const decoder = std.base64.standard.Decoder;
    const len = decoder.calcSizeForSlice(text) catch return error.Unexpected;
    const bytes = try allocator.alloc(u8, len);
    decoder.decode(bytes, text) catch return error.Unexpected;
    return bytes;
}
