//! A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects
//! to it and counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
//!
//! The versions of this function answer alike.

const std = @import("std");
const gojinn = @import("gojinn/gojinn.zig");
const json = gojinn.json;
const Allocator = std.mem.Allocator;
const Request = gojinn.Request;
const Response = gojinn.Response;
const Namespace = gojinn.kv.Namespace;
const eql = std.mem.eql;

const max_url = 2000;
const key_len = 8; // characters, of 6 bits each
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub fn main() u8 {
    return gojinn.serve(handle);
}

fn handle(allocator: Allocator, request: *const Request, response: *Response) !void {
    const links = try gojinn.kv.open(allocator, "links");
    if (eql(u8, request.path, "/shorten")) return shorten(allocator, request, response, links);
    const rest = if (std.mem.startsWith(u8, request.path, "/s/")) request.path["/s/".len..] else "";
    const hits = std.mem.endsWith(u8, rest, "/hits");
    const key = if (hits) rest[0 .. rest.len - "/hits".len] else rest;
    const is_get = eql(u8, request.method, "GET");
    if (!is_get and !eql(u8, request.method, "HEAD")) {
        try response.header("Allow", "GET, HEAD");
        return refuse(response, 405, "method not allowed");
    }
    if (!isKey(key)) return refuse(response, 404, "no such link");
    const url = try links.get(key) orelse return refuse(response, 404, "no such link");
    const count = try std.mem.concat(allocator, u8, &.{ "hits/", key });
    if (hits) {
        const n = try links.get(count) orelse "0";
        return respond(response, 200, try std.mem.concat(allocator, u8, &.{ "{\"hits\":", n, "}" }));
    }
    if (is_get) _ = try links.incr(count, 1);
    response.status = 302;
    try response.header("Location", url);
    try response.header("Cache-Control", "no-store");
}

fn shorten(allocator: Allocator, request: *const Request, response: *Response, links: Namespace) !void {
    if (!eql(u8, request.method, "POST")) {
        try response.header("Allow", "POST");
        return refuse(response, 405, "method not allowed");
    }
    const url = parse(allocator, request.body) catch |e| switch (e) {
        error.Unexpected => return refuse(response, 400, "the body must be a JSON object with a url"),
        error.OutOfMemory => return e,
    };
    if (!isURL(url)) return refuse(response, 422, "url must be an http or https URL of at most 2000 characters");
    var key = try newKey();
    while (!try links.create(&key, url)) key = try newKey(); // somebody has it already
    const short = try std.mem.concat(allocator, u8, &.{ request.scheme, "://", request.host, "/s/", &key });
    return respond(response, 201, try json.object(allocator, &.{ .{ .name = "key", .value = &key }, .{ .name = "short", .value = short } }));
}

fn parse(allocator: Allocator, body: []const u8) json.Error![]const u8 {
    var url: []const u8 = "";
    var name = json.Buffer{};
    var j = try json.Reader.init(body);
    try j.object();
    while (try j.member(allocator, &name)) {
        if (eql(u8, name.items, "url")) {
            url = try j.newString(allocator);
        } else {
            try j.skip();
        }
    }
    try j.end();
    return url;
}

/// Takes what can be a Location as it is: ASCII without white space.
fn isURL(url: []const u8) bool {
    const rest = for ([_][]const u8{ "https://", "http://" }) |scheme| {
        if (std.mem.startsWith(u8, url, scheme)) break url[scheme.len..];
    } else "";
    if (rest.len == 0 or url.len > max_url) return false;
    for (url) |c| {
        if (c <= ' ' or c > '~') return false;
    }
    return true;
}

fn isKey(key: []const u8) bool {
    if (key.len != key_len) return false;
    for (key) |c| {
        if (std.mem.indexOfScalar(u8, alphabet, c) == null) return false;
    }
    return true;
}

fn newKey() ![key_len]u8 {
    var key: [key_len]u8 = undefined;
    const random = try gojinn.wasi.open("/dev/urandom", .read);
    if (try gojinn.wasi.read(random, &key) != key.len) return error.NoRandomness;
    try gojinn.wasi.close(random);
    for (&key) |*c| c.* = alphabet[c.* & 63];
    return key;
}

fn respond(response: *Response, status: u16, body: []const u8) !void {
    response.status = status;
    try response.header("Content-Type", "application/json");
    response.body = body;
}

fn refuse(response: *Response, status: u16, message: []const u8) !void {
    return respond(response, status, try json.object(response.allocator, &.{.{ .name = "error", .value = message }}));
}
