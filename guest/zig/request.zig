//! The request, as the server hands it to a function.

const std = @import("std");
const json = @import("json.zig");
const Allocator = std.mem.Allocator;
const Pair = json.Pair;

/// An HTTP request. Members that the server leaves out are empty.
pub const Request = struct {
    /// The server's id of this request, as in its logs.
    id: []const u8 = "",
    method: []const u8 = "",
    /// Path and query after the server's rewrites, percent-encoded.
    uri: []const u8 = "",
    /// The same as the client sent it.
    original_uri: []const u8 = "",
    /// http or https.
    scheme: []const u8 = "",
    /// With its port, if it has one.
    host: []const u8 = "",
    /// HTTP/1.1, HTTP/2.0, …
    proto: []const u8 = "",
    /// The path of uri, decoded.
    path: []const u8 = "",
    /// The route that matched, where files are mapped to routes.
    route: []const u8 = "",
    /// The client's IP address.
    remote_addr: []const u8 = "",
    /// The W3C trace context of this call.
    traceparent: []const u8 = "",
    /// Header fields in the usual capitals (Content-Type), one pair for each value.
    headers: []const Pair = &[_]Pair{},
    /// The URL's decoded parameters, one pair for each value.
    queries: []const Pair = &[_]Pair{},
    /// What the placeholders of the route matched, decoded.
    params: []const Pair = &[_]Pair{},
    /// Any bytes.
    body: []const u8 = "",

    /// The first header field of that name, in whatever capitals.
    pub fn header(self: *const Request, name: []const u8) ?[]const u8 {
        return if (json.find(self.headers, name)) |i| self.headers[i].value else null;
    }

    /// The first parameter of that name in the URL.
    pub fn query(self: *const Request, name: []const u8) ?[]const u8 {
        return first(self.queries, name);
    }

    /// What the placeholder of that name in the route matched.
    pub fn param(self: *const Request, name: []const u8) ?[]const u8 {
        return first(self.params, name);
    }

    /// Reads a request from the server's JSON. Members of other names are skipped: a
    /// later server may write more of them. A member twice is a mistake.
    pub fn parse(allocator: Allocator, text: []const u8) json.Error!Request {
        var request = Request{};
        var seen = std.StaticBitSet(members.len + 1).initEmpty();
        var name = json.Buffer{};
        var j = try json.Reader.init(text);
        j.strict = true;
        try j.object();
        while (try j.member(allocator, &name)) {
            const i = try request.readMember(allocator, &j, name.items) orelse continue;
            if (seen.isSet(i)) return error.Unexpected;
            seen.set(i);
        }
        try j.end();
        return request;
    }

    /// Reads the value of a member, and returns which one it is of those that may be
    /// there once. null: it is none of ours, and skipped.
    fn readMember(self: *Request, allocator: Allocator, j: *json.Reader, name: []const u8) json.Error!?usize {
        inline for (members, 0..) |member, i| {
            if (std.mem.eql(u8, name, member.name)) {
                @field(self, member.field) = switch (member.kind) {
                    .text => try j.newString(allocator),
                    .strings => try j.strings(allocator),
                    .lists => try j.lists(allocator),
                    .base64 => try j.base64(allocator),
                };
                return if (member.kind == .base64) i - 1 else i; // body
            }
        }
        try j.skip();
        return null;
    }
};

const Member = struct { name: []const u8, field: []const u8, kind: enum { text, base64, strings, lists } };

fn textMember(name: []const u8) Member {
    return .{ .name = name, .field = name, .kind = .text };
}

const members = [_]Member{
    textMember("id"),
    textMember("method"),
    textMember("uri"),
    textMember("original_uri"),
    textMember("scheme"),
    textMember("host"),
    textMember("proto"),
    textMember("path"),
    textMember("route"),
    textMember("remote_addr"),
    textMember("traceparent"),
    .{ .name = "headers", .field = "headers", .kind = .lists },
    .{ .name = "query", .field = "queries", .kind = .lists },
    .{ .name = "params", .field = "params", .kind = .strings },
    textMember("body"),
    .{ .name = "body_base64", .field = "body", .kind = .base64 },
};

fn first(pairs: []const Pair, name: []const u8) ?[]const u8 {
    for (pairs) |pair| {
        if (std.mem.eql(u8, pair.name, name)) return pair.value;
    }
    return null;
}
