//! A contact form's endpoint: parses a JSON or form body, validates it and answers
//! 201, or 422 with an error for each field. With an argument, the folder it names
//! keeps every accepted message as <request id>.json.
//!
//! The four versions of this function answer alike: ../contact/testdata/cases.json.

const std = @import("std");
const form = @import("form.zig");
const gojinn = @import("gojinn/gojinn.zig");
const json = gojinn.json;
const wasi = gojinn.wasi;
const Allocator = std.mem.Allocator;
const Pair = gojinn.Pair;

const max_id = 64;

pub fn main() u8 {
    return gojinn.serve(handle);
}

fn handle(allocator: Allocator, request: *const gojinn.Request, response: *gojinn.Response) !void {
    try response.header("Content-Type", "application/json");
    if (!std.mem.eql(u8, request.method, "POST")) {
        try response.header("Allow", "POST");
        return refuse(response, 405, "method not allowed");
    }
    const media_type = try mediaType(allocator, request.header("Content-Type") orelse "");
    const is_json = std.mem.eql(u8, media_type, "application/json");
    if (!is_json and !std.mem.eql(u8, media_type, "application/x-www-form-urlencoded")) {
        return refuse(response, 415, "content type must be application/json or application/x-www-form-urlencoded");
    }
    if (!std.unicode.utf8ValidateSlice(request.body)) return refuse(response, 400, "body is not valid UTF-8");
    const parsed = if (is_json) form.parseJSON(allocator, request.body) else form.parseURLEncoded(allocator, request.body);
    var f = parsed catch |e| return switch (e) {
        error.NotJSON => refuse(response, 400, "body is not valid JSON"),
        error.NotObject => refuse(response, 400, "body must be a JSON object"),
        error.NotForm => refuse(response, 400, "body is not a valid form"),
        error.OutOfMemory => error.OutOfMemory,
    };

    var room: [3]Pair = undefined;
    const errors = f.validate(&room);
    if (errors.len > 0) {
        response.status = 422;
        response.body = try std.mem.concat(allocator, u8, &.{ "{\"errors\":", try json.object(allocator, errors), "}" });
        return;
    }

    const message = try messageJSON(allocator, request.id, f);
    const args = try std.process.argsAlloc(allocator);
    if (args.len > 1) keep(allocator, args[1], request.id, message) catch {
        gojinn.log(allocator, "error", "the message could not be kept");
        return refuse(response, 500, "the message could not be kept");
    };
    response.status = 201;
    response.body = message;
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
    return json.object(allocator, with_name[0..if (f.name.text.len > 0) 4 else 3]);
}

/// Writes message to a new file in folder.
fn keep(allocator: Allocator, folder: []const u8, id: []const u8, message: []const u8) !void {
    if (id.len == 0 or id.len > max_id) return error.NotName;
    for (id) |c| {
        if (!std.ascii.isAlphanumeric(c) and c != '-') return error.NotName;
    }
    const path = try std.fmt.allocPrint(allocator, "{s}/{s}.json", .{ folder, id });
    const file = try wasi.open(path, .create);
    errdefer wasi.unlink(path) catch {}; // half a message is worse than none
    const written = wasi.writeAll(file, message);
    try wasi.close(file);
    try written;
}

fn refuse(response: *gojinn.Response, status: u16, message: []const u8) !void {
    response.status = status;
    response.body = try json.object(response.allocator, &.{.{ .name = "error", .value = message }});
}
