//! The response, as a function hands it to the server.

const std = @import("std");
const json = @import("json.zig");
const Allocator = std.mem.Allocator;

/// An HTTP response. The server checks it when it is written: a status from 200 to 599,
/// names and values that HTTP allows.
pub const Response = struct {
    allocator: Allocator,
    status: u16 = 200,
    /// One pair for each value.
    headers: std.ArrayListUnmanaged(json.Pair) = .{},
    /// Any bytes. Without a Content-Type the server says that they are JSON, if they
    /// are, else plain text.
    body: []const u8 = "",

    /// Adds a header field. A name given several times has several values.
    pub fn header(self: *Response, name: []const u8, value: []const u8) Allocator.Error!void {
        try self.headers.append(self.allocator, .{ .name = name, .value = value });
    }

    /// Appends the response as JSON.
    pub fn write(self: *const Response, out: *json.Buffer) Allocator.Error!void {
        var digits: [8]u8 = undefined;
        const status = std.fmt.bufPrint(&digits, "{d}", .{self.status}) catch unreachable;
        try out.appendSlice(self.allocator, "{\"status\":");
        try out.appendSlice(self.allocator, status);
        try out.appendSlice(self.allocator, ",\"headers\":");
        try json.writeHeaders(self.allocator, out, self.headers.items);
        try out.append(self.allocator, ',');
        try json.writeBytes(self.allocator, out, "body", self.body);
        try out.append(self.allocator, '}');
    }
};
