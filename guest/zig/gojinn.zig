//! Functions for Gojinn (https://github.com/gojinn/gojinn): a program that answers one
//! HTTP request. It reads the request as one JSON object from stdin and writes the
//! response as one to stdout; serve() does both.
//!
//! What the operator has granted with `allow` lies in the file system: key-value
//! namespaces under kv, outbound HTTP under http, byte streams under tcp and tls, files
//! under wasi. Memory is never freed: one request, one process.

const std = @import("std");
const Allocator = std.mem.Allocator;

pub const http = @import("http.zig");
pub const json = @import("json.zig");
pub const kv = @import("kv.zig");
pub const tcp = @import("socket.zig").tcp;
pub const tls = @import("socket.zig").tls;
pub const wasi = @import("wasi.zig");

pub const Pair = json.Pair;
pub const Request = @import("request.zig").Request;
pub const Response = @import("response.zig").Response;

/// What a request and a response take as a rule, in bytes.
const room = 16 << 10;

/// Answers the one request this program was started for, and returns its exit code.
/// The handler is a
///
///     fn (allocator: Allocator, request: *const Request, response: *Response) !void
///
/// The sandbox waits at the first read, often for long and many times over: what main()
/// has done before it calls serve(), no request waits for. When reading or the handler
/// fails, the error goes to the log, nothing to the client but a 502.
pub fn serve(comptime handler: anytype) u8 {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    answer(arena.allocator(), handler) catch |e| {
        log(arena.allocator(), "error", @errorName(e));
        return 1;
    };
    return 0;
}

fn answer(allocator: Allocator, comptime handler: anytype) !void {
    var text = json.Buffer{};
    var out = json.Buffer{};
    try out.ensureUnusedCapacity(allocator, room);
    try text.ensureUnusedCapacity(allocator, room); // last, so that it can grow where it is
    try wasi.readAll(0, allocator, &text);
    const request = try Request.parse(allocator, text.items);
    var response = Response{ .allocator = allocator };
    try handler(allocator, &request, &response);
    try response.write(&out);
    try out.append(allocator, '\n');
    try wasi.writeAll(1, out.items);
}

/// Writes a line to the server's log. Levels are debug, info, warn and error.
pub fn log(allocator: Allocator, level: []const u8, message: []const u8) void {
    var line = json.Buffer{};
    // When even this does not work there is nobody else to tell.
    json.writeObject(allocator, &line, &[_]Pair{ .{ .name = "level", .value = level }, .{ .name = "msg", .value = message } }) catch return;
    line.append(allocator, '\n') catch return;
    wasi.writeAll(2, line.items) catch return;
}
