//! Byte streams to other servers.

const std = @import("std");
const wasi = @import("wasi.zig");
const Allocator = std.mem.Allocator;

/// Byte streams over TCP: `allow tcp <host:port>`.
pub const tcp = struct {
    /// Connects to address, a host:port as it was granted, and returns a descriptor:
    /// wasi.read() receives, wasi.writeAll() sends, wasi.close() hangs up.
    pub fn open(allocator: Allocator, address: []const u8) (wasi.Error || Allocator.Error)!u32 {
        return wasi.open(try std.mem.concat(allocator, u8, &[_][]const u8{ "/net/tcp/", address }), .exchange);
    }
};

/// Byte streams over TLS: `allow tls <host:port>`. The server encrypts, and has verified
/// the other side's certificate before anything is sent.
pub const tls = struct {
    /// Connects to address, a host:port as it was granted, and returns a descriptor:
    /// wasi.read() receives, wasi.writeAll() sends, wasi.close() hangs up.
    pub fn open(allocator: Allocator, address: []const u8) (wasi.Error || Allocator.Error)!u32 {
        return wasi.open(try std.mem.concat(allocator, u8, &[_][]const u8{ "/net/tls/", address }), .exchange);
    }
};
