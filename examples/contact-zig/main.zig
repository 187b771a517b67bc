//! A contact form's endpoint: parses a JSON or form body, validates it and answers
//! 201, or 422 with an error for each field. With an argument, the folder it names
//! keeps every accepted message as <request id>.json.
//!
//! The four versions of this function answer alike: ../contact/testdata/cases.json.

const std = @import("std");
const contract = @import("contract.zig");
const form = @import("form.zig");
const json = @import("json.zig");
const wasi = @import("wasi.zig");
const Allocator = std.mem.Allocator;
const Pair = contract.Pair;

const max_id = 64;
const json_type = Pair{ .name = "Content-Type", .value = "application/json" };

pub fn main() u8 {
    // One request, one process: everything is freed at the end.
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    run(arena.allocator()) catch |e| {
        contract.logError(arena.allocator(), @errorName(e));
        return 1; // the server answers 502
    };
    return 0;
}

fn run(allocator: Allocator) !void {
    const args = try std.process.argsAlloc(allocator);
    const request = try contract.Request.read(allocator);
    const response = try handle(allocator, request, if (args.len > 1) args[1] else null);
    try response.write(allocator);
}

fn handle(allocator: Allocator, request: contract.Request, folder: ?[]const u8) Allocator.Error!contract.Response {
    if (!std.mem.eql(u8, request.method, "POST")) {
        return refuse(allocator, 405, "method not allowed");
    }
    const media_type = try mediaType(allocator, contract.first(request.headers, "Content-Type") orelse "");
    const is_json = std.mem.eql(u8, media_type, "application/json");
    if (!is_json and !std.mem.eql(u8, media_type, "application/x-www-form-urlencoded")) {
        return refuse(allocator, 415, "content type must be application/json or application/x-www-form-urlencoded");
    }
    if (!std.unicode.utf8ValidateSlice(request.body)) return refuse(allocator, 400, "body is not valid UTF-8");
    const parsed = if (is_json) form.parseJSON(allocator, request.body) else form.parseURLEncoded(allocator, request.body);
    var f = parsed catch |e| return switch (e) {
        error.NotJSON => refuse(allocator, 400, "body is not valid JSON"),
        error.NotObject => refuse(allocator, 400, "body must be a JSON object"),
        error.NotForm => refuse(allocator, 400, "body is not a valid form"),
        error.OutOfMemory => error.OutOfMemory,
    };

    var room: [3]Pair = undefined;
    const errors = f.validate(&room);
    if (errors.len > 0) {
        var body = json.Buffer{};
        try body.appendSlice(allocator, "{\"errors\":");
        try contract.writeObject(allocator, &body, errors);
        try body.append(allocator, '}');
        return respond(422, body.items);
    }

    const message = try messageJSON(allocator, request.id, f);
    if (folder) |path| {
        keep(allocator, path, request.id, message) catch {
            contract.logError(allocator, "the message could not be kept");
            return refuse(allocator, 500, "the message could not be kept");
        };
    }
    return respond(201, message);
}

/// Returns a content type without its parameters, in lower case.
fn mediaType(allocator: Allocator, content_type: []const u8) Allocator.Error![]const u8 {
    const end = std.mem.indexOfScalar(u8, content_type, ';') orelse content_type.len;
    return std.ascii.allocLowerString(allocator, std.mem.trim(u8, content_type[0..end], form.space));
}

fn messageJSON(allocator: Allocator, id: []const u8, f: form.Form) Allocator.Error![]const u8 {
    const with_name = [_]Pair{
        .{ .name = "id", .value = id },
        .{ .name = "email", .value = f.email.text },
        .{ .name = "message", .value = f.message.text },
        .{ .name = "name", .value = f.name.text },
    };
    var out = json.Buffer{};
    try contract.writeObject(allocator, &out, with_name[0..if (f.name.text.len > 0) 4 else 3]);
    return out.items;
}

/// Writes message to a new file in folder.
fn keep(allocator: Allocator, folder: []const u8, id: []const u8, message: []const u8) !void {
    if (id.len == 0 or id.len > max_id) return error.NotName;
    for (id) |c| {
        if (!std.ascii.isAlphanumeric(c) and c != '-') return error.NotName;
    }
    try wasi.writeNewFile(try std.fmt.allocPrint(allocator, "{s}/{s}.json", .{ folder, id }), message);
}

fn respond(status: u16, body: []const u8) contract.Response {
    return .{ .status = status, .headers = &[_]Pair{json_type}, .body = body };
}

fn refuse(allocator: Allocator, status: u16, message: []const u8) Allocator.Error!contract.Response {
    var body = json.Buffer{};
    try contract.writeObject(allocator, &body, &[_]Pair{.{ .name = "error", .value = message }});
    var response = respond(status, body.items);
    if (status == 405) response.headers = &[_]Pair{ json_type, .{ .name = "Allow", .value = "POST" } };
    return response;
}
