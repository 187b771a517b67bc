//! Prime answers with the n-th prime number. The request's body is n, and the
//! last member of the request object; a quotation mark inside a string is
//! escaped, so the last place of the text searched for is where it begins.

const std = @import("std");

pub fn main() !void {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    const allocator = arena.allocator();
    const text = try std.io.getStdIn().readToEndAlloc(allocator, 64 << 20);
    const member = ",\"body\":\"";
    const place = std.mem.lastIndexOf(u8, text, member) orelse return error.NoBody;
    const body = text[place + member.len ..];
    const end = std.mem.indexOfScalar(u8, body, '"') orelse return error.NoEnd;
    const n = try std.fmt.parseInt(u16, body[0..end], 10);
    if (n == 0) return error.Zero;
    try std.io.getStdOut().writer().print("{{\"body\":\"{d}\"}}", .{nthPrime(n)});
}

/// Tries one number after the other, and every odd divisor of each: it is here
/// to keep a processor busy. The same in all languages, in 32 bits.
fn nthPrime(nth: u32) u32 {
    var n = nth;
    var p: u32 = 2;
    var candidate: u32 = 3;
    while (n > 1) : (candidate += 2) {
        var prime = true;
        var d: u32 = 3;
        while (d * d <= candidate) : (d += 2) {
            if (candidate % d == 0) {
                prime = false;
                break;
            }
        }
        if (prime) {
            p = candidate;
            n -= 1;
        }
    }
    return p;
}
