//! Echo answers with the request's body. The body is the last member of the
//! request object; a quotation mark inside a string is escaped, so the last
//! place of the text searched for is where that member begins.

const std = @import("std");

pub fn main() !void {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    const allocator = arena.allocator();
    const text = try std.io.getStdIn().readToEndAlloc(allocator, 64 << 20);
    const body = std.mem.lastIndexOf(u8, text, ",\"body") orelse return error.NoBody;
    const out = try std.mem.concat(allocator, u8, &.{
        "{\"headers\":{\"Content-Type\":\"application/octet-stream\"}",
        text[body..],
    });
    try std.io.getStdOut().writeAll(out);
}
