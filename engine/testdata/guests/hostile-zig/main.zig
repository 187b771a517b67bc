//! Misbehaves in the way its first argument names; ../README.md has the list.

const std = @import("std");
const eql = std.mem.eql;

extern "wasi_snapshot_preview1" fn fd_write(fd: u32, from: *const extern struct { base: [*]const u8, len: usize }, count: usize, written: *usize) u16;
extern "wasi_snapshot_preview1" fn poll_oneoff(in: *const Subscription, out: *[32]u8, count: usize, events: *usize) u16;
extern "wasi_snapshot_preview1" fn proc_exit(code: u32) noreturn;

const Subscription = extern struct { userdata: u64 = 0, tag: u64 = 0, clock: u64 = 1, timeout: u64, precision: u64 = 0, flags: u64 = 0 };

fn write(fd: u32, text: []const u8) void {
    var n: usize = 0;
    _ = fd_write(fd, &.{ .base = text.ptr, .len = text.len }, 1, &n);
}

fn fib(n: usize) usize {
    return if (n < 2) n else @call(.never_inline, fib, .{n - 1}) + @call(.never_inline, fib, .{n - 2});
}

fn deep(n: usize) usize {
    var frame: [16]usize = undefined;
    const volatile_frame: *volatile [16]usize = &frame;
    volatile_frame[n % 16] = n;
    return @call(.never_inline, deep, .{n +% 1}) +% volatile_frame[(n +% 1) % 16];
}

const names = [_][]const u8{ "loop", "fib60", "recursion", "panic", "trap", "exit3", "memory", "stdout-flood", "stderr-flood", "sleep-hour", "silent" };

pub fn main() !void {
    const allocator = std.heap.page_allocator;
    const args = try std.process.argsAlloc(allocator);
    const name: []const u8 = if (args.len > 1) args[1] else "";
    var sink: usize = 0;
    const volatile_sink: *volatile usize = &sink;
    var block: [65536]u8 = undefined;
    @memset(&block, 'x');

    if (eql(u8, name, "loop")) {
        while (true) volatile_sink.* += 1;
    } else if (eql(u8, name, "fib60")) {
        volatile_sink.* = fib(60);
    } else if (eql(u8, name, "recursion")) {
        volatile_sink.* = deep(0);
    } else if (eql(u8, name, "panic")) {
        @panic("a panic");
    } else if (eql(u8, name, "trap")) {
        @trap();
    } else if (eql(u8, name, "exit3")) {
        proc_exit(3);
    } else if (eql(u8, name, "memory")) {
        while (true) {
            const more = try allocator.alloc(u8, 1 << 20);
            @memset(more, 1);
            volatile_sink.* += more[volatile_sink.* % more.len];
        }
    } else if (eql(u8, name, "stdout-flood")) {
        while (true) write(1, &block);
    } else if (eql(u8, name, "stderr-flood")) {
        while (true) write(2, &block);
    } else if (eql(u8, name, "sleep-hour")) {
        var event: [32]u8 = undefined;
        var n: usize = 0;
        _ = poll_oneoff(&.{ .timeout = 3600 * 1_000_000_000 }, &event, 1, &n);
    } else if (eql(u8, name, "silent")) {
        return;
    } else if (eql(u8, name, "list")) {
        for (names) |n| {
            write(1, n);
            write(1, "\n");
        }
    } else {
        write(2, "no way has that name\n");
        proc_exit(99);
    }
}
