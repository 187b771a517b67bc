//! Uses a capability as the URL's parameters say.

const std = @import("std");
const gojinn = @import("gojinn/gojinn.zig");
const Allocator = std.mem.Allocator;

pub fn main() u8 {
    return gojinn.serve(handle);
}

fn handle(allocator: Allocator, request: *const gojinn.Request, response: *gojinn.Response) !void {
    const what = request.query("do") orelse "";
    if (std.mem.eql(u8, what, "fetch")) return fetch(allocator, request, response);
    if (std.mem.eql(u8, what, "kv")) {
        response.body = kv(allocator, request) catch |e| {
            response.status = 500;
            response.body = @errorName(e);
            return;
        };
        return;
    }
    if (std.mem.eql(u8, what, "tcp") or std.mem.eql(u8, what, "tls")) {
        response.body = stream(allocator, what, request) catch |e| {
            response.status = 500;
            response.body = @errorName(e);
            return;
        };
        return;
    }
    return error.WhatIsToBeDone;
}

/// Says something and takes what comes back.
fn stream(allocator: Allocator, kind: []const u8, request: *const gojinn.Request) ![]const u8 {
    const address = request.query("address") orelse "";
    const fd = try if (std.mem.eql(u8, kind, "tcp")) gojinn.tcp.open(allocator, address) else gojinn.tls.open(allocator, address);
    try gojinn.wasi.writeAll(fd, request.body);
    var heard = gojinn.json.Buffer{};
    try gojinn.wasi.readAll(fd, allocator, &heard);
    try gojinn.wasi.close(fd);
    return heard.items;
}

fn kv(allocator: Allocator, request: *const gojinn.Request) ![]const u8 {
    const namespace = try gojinn.kv.open(allocator, request.query("namespace") orelse "test");
    const key = request.query("key") orelse "";
    const op = request.query("op") orelse "";
    if (std.mem.eql(u8, op, "get")) return try namespace.get(key) orelse "none";
    if (std.mem.eql(u8, op, "put")) {
        try namespace.put(key, request.body);
        return "done";
    }
    if (std.mem.eql(u8, op, "create")) return if (try namespace.create(key, request.body)) "yes" else "no";
    if (std.mem.eql(u8, op, "delete")) return if (try namespace.delete(key)) "yes" else "no";
    if (std.mem.eql(u8, op, "incr")) {
        const by = try std.fmt.parseInt(i64, request.query("by") orelse "", 10);
        return std.fmt.allocPrint(allocator, "{d}", .{try namespace.incr(key, by)});
    }
    if (std.mem.eql(u8, op, "list")) return std.mem.join(allocator, "\n", try namespace.list(key));
    return error.WhichOperation;
}

fn fetch(allocator: Allocator, request: *const gojinn.Request, response: *gojinn.Response) !void {
    var headers = std.ArrayListUnmanaged(gojinn.Pair){};
    for (request.queries) |pair| {
        if (!std.mem.eql(u8, pair.name, "field")) continue;
        const colon = std.mem.indexOfScalar(u8, pair.value, ':') orelse pair.value.len;
        try headers.append(allocator, .{ .name = pair.value[0..colon], .value = pair.value[@min(colon + 1, pair.value.len)..] });
    }
    const answer = gojinn.http.fetch(allocator, .{
        .method = request.query("method") orelse "GET",
        .url = request.query("url") orelse "",
        .headers = headers.items,
        .body = request.body,
    }) catch |e| gojinn.http.Response{ .failure = "file", .reason = @errorName(e) };
    if (answer.status == 0) {
        response.status = 500;
        try response.header("X-Failure", answer.failure);
        response.body = answer.reason;
        return;
    }
    response.status = answer.status;
    try response.header("X-Header", answer.header("x-ONE") orelse "none");
    try response.header("X-Headers", try std.fmt.allocPrint(allocator, "{d}", .{answer.headers.len}));
    response.body = answer.body;
}
