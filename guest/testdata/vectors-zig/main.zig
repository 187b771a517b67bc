//! Shows what the module makes of a request, and makes what it is told to of a response.

const std = @import("std");
const gojinn = @import("gojinn/gojinn.zig");
const json = gojinn.json;
const Allocator = std.mem.Allocator;
const Request = gojinn.Request;
const Response = gojinn.Response;

pub fn main() u8 {
    return gojinn.serve(handle);
}

fn handle(allocator: Allocator, request: *const Request, response: *Response) !void {
    const args = try std.process.argsAlloc(allocator);
    const what = if (args.len > 1) args[1] else "";
    if (std.mem.eql(u8, what, "members")) {
        response.body = try members(allocator, request);
    } else if (std.mem.eql(u8, what, "lookups")) {
        response.body = try json.object(allocator, &.{
            .{ .name = "header", .value = request.header("x-ONE") orelse "none" },
            .{ .name = "query", .value = request.query("one") orelse "none" },
            .{ .name = "param", .value = request.param("one") orelse "none" },
        });
    } else if (std.mem.eql(u8, what, "respond")) {
        try respond(request, response);
    } else if (std.mem.eql(u8, what, "integer")) {
        response.body = integer(allocator, request.body) catch "bad";
    } else if (std.mem.eql(u8, what, "boolean")) {
        response.body = boolean(request.body) catch "bad";
    } else {
        return error.ArgumentMissing;
    }
}

/// The members that are text, then one object for each pair.
fn members(allocator: Allocator, r: *const Request) ![]const u8 {
    var out = json.Buffer{};
    try json.writeObject(allocator, &out, &.{
        .{ .name = "id", .value = r.id },
        .{ .name = "method", .value = r.method },
        .{ .name = "uri", .value = r.uri },
        .{ .name = "original_uri", .value = r.original_uri },
        .{ .name = "scheme", .value = r.scheme },
        .{ .name = "host", .value = r.host },
        .{ .name = "proto", .value = r.proto },
        .{ .name = "path", .value = r.path },
        .{ .name = "route", .value = r.route },
        .{ .name = "remote_addr", .value = r.remote_addr },
        .{ .name = "traceparent", .value = r.traceparent },
    });
    inline for (.{ "headers", "query", "params" }, .{ r.headers, r.queries, r.params }) |member, pairs| {
        for (pairs) |pair| {
            try json.writeObject(allocator, &out, &.{
                .{ .name = "member", .value = member },
                .{ .name = "name", .value = pair.name },
                .{ .name = "value", .value = pair.value },
            });
        }
    }
    return out.items;
}

fn respond(r: *const Request, response: *Response) !void {
    response.status = std.fmt.parseInt(u16, r.query("status") orelse "", 10) catch 0;
    for (r.queries) |pair| {
        if (!std.mem.eql(u8, pair.name, "field")) continue;
        const colon = std.mem.indexOfScalar(u8, pair.value, ':') orelse pair.value.len;
        try response.header(pair.value[0..colon], pair.value[@min(colon + 1, pair.value.len)..]);
    }
    response.body = r.body;
}

fn integer(allocator: Allocator, text: []const u8) ![]const u8 {
    var j = try json.Reader.init(text);
    const value = try j.integer();
    try j.end();
    return std.fmt.allocPrint(allocator, "{d}", .{value});
}

fn boolean(text: []const u8) ![]const u8 {
    var j = try json.Reader.init(text);
    const value = try j.boolean();
    try j.end();
    return if (value) "true" else "false";
}
