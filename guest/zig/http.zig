//! Outbound HTTP: `allow http <origin>`.
//!
//!     const answer = try gojinn.http.fetch(allocator, .{ .url = "https://api.example.com/rates" });

const json = @import("json.zig");
const wasi = @import("wasi.zig");
const std = @import("std");
const Allocator = std.mem.Allocator;

pub const Error = wasi.Error || json.Error;

/// A request to another server.
pub const Request = struct {
    method: []const u8 = "GET",
    /// Absolute, with http or https.
    url: []const u8,
    /// One pair for each value.
    headers: []const json.Pair = &[_]json.Pair{},
    /// Any bytes, at most some MiB.
    body: []const u8 = "",

    fn write(self: Request, allocator: Allocator, out: *json.Buffer) Allocator.Error!void {
        try out.appendSlice(allocator, "{\"method\":");
        try json.writeString(allocator, out, self.method);
        try out.appendSlice(allocator, ",\"url\":");
        try json.writeString(allocator, out, self.url);
        try out.appendSlice(allocator, ",\"headers\":");
        try json.writeHeaders(allocator, out, self.headers);
        if (self.body.len > 0) {
            try out.append(allocator, ',');
            try json.writeBytes(allocator, out, "body", self.body);
        }
        try out.append(allocator, '}');
    }
};

/// What another server has answered, or why there is no answer.
pub const Response = struct {
    /// 0: there is no answer.
    status: u16 = 0,
    /// In the usual capitals (Content-Type), one pair for each value.
    headers: []const json.Pair = &[_]json.Pair{},
    /// Any bytes.
    body: []const u8 = "",
    /// Why there is no answer: refused if no grant allows it, invalid, dns, connect, tls,
    /// timeout, too_large, protocol, overloaded, …
    failure: []const u8 = "",
    /// The same for people.
    reason: []const u8 = "",

    /// The first header field of that name, in whatever capitals.
    pub fn header(self: Response, name: []const u8) ?[]const u8 {
        return if (json.find(self.headers, name)) |i| self.headers[i].value else null;
    }

    fn parse(allocator: Allocator, text: []const u8) json.Error!Response {
        var response = Response{};
        var name = json.Buffer{};
        var j = try json.Reader.init(text);
        j.strict = true;
        try j.object();
        while (try j.member(allocator, &name)) {
            if (std.mem.eql(u8, name.items, "status")) {
                response.status = std.math.cast(u16, try j.integer()) orelse return error.Unexpected;
            } else if (std.mem.eql(u8, name.items, "headers")) {
                response.headers = try j.lists(allocator);
            } else if (std.mem.eql(u8, name.items, "body")) {
                response.body = try j.newString(allocator);
            } else if (std.mem.eql(u8, name.items, "body_base64")) {
                response.body = try j.base64(allocator);
            } else if (std.mem.eql(u8, name.items, "error")) {
                response.failure = try j.newString(allocator);
            } else if (std.mem.eql(u8, name.items, "reason")) {
                response.reason = try j.newString(allocator);
            } else {
                try j.skip();
            }
        }
        try j.end();
        if (response.status == 0 and response.failure.len == 0) return error.Unexpected;
        return response;
    }
};

/// Sends a request and waits for all of the answer. The error is that /net/http can't be
/// used: error.NotFound where there is no grant at all.
pub fn fetch(allocator: Allocator, request: Request) Error!Response {
    var line = json.Buffer{};
    try request.write(allocator, &line);
    return Response.parse(allocator, try wasi.ask(allocator, "/net/http", &line));
}
