//! The form: how it is parsed from a body and what its fields must be.

const std = @import("std");
const gojinn = @import("gojinn/gojinn.zig");
const json = gojinn.json;
const Pair = gojinn.Pair;
const Allocator = std.mem.Allocator;

const max_name = 100; // characters
const max_message = 5000;
const max_email = 254; // bytes, as SMTP has it
const max_local_part = 64;

/// What is trimmed from both ends of a field.
pub const space = " \t\r\n";

pub const Field = struct {
    text: []const u8 = "",
    mistyped: bool = false, // JSON had something else than a string here
};

/// What is wrong with a body as a whole.
pub const Mistake = error{ NotJSON, NotObject, NotForm, OutOfMemory };

/// What the client sent. A field given twice has its last value.
pub const Form = struct {
    email: Field = .{},
    message: Field = .{},
    name: Field = .{},

    fn field(self: *Form, name: []const u8) ?*Field {
        if (std.mem.eql(u8, name, "email")) return &self.email;
        if (std.mem.eql(u8, name, "message")) return &self.message;
        if (std.mem.eql(u8, name, "name")) return &self.name;
        return null;
    }

    /// Trims the fields and puts what is wrong with each into errors, by name.
    pub fn validate(self: *Form, errors: *[3]Pair) []const Pair {
        var n: usize = 0;
        inline for (.{ "email", "message", "name" }, .{ checkEmail, checkMessage, checkName }) |name, check| {
            const f = &@field(self, name);
            f.text = std.mem.trim(u8, f.text, space);
            const problem: ?[]const u8 = if (f.mistyped) "must be a string" else check(f.text);
            if (problem) |value| {
                errors[n] = .{ .name = name, .value = value };
                n += 1;
            }
        }
        return errors[0..n];
    }
};

pub fn parseJSON(allocator: Allocator, body: []const u8) Mistake!Form {
    return readJSON(allocator, body) catch |e| switch (e) {
        error.Unexpected => error.NotJSON,
        error.NotObject => error.NotObject,
        error.OutOfMemory => error.OutOfMemory,
    };
}

fn readJSON(allocator: Allocator, body: []const u8) (json.Error || error{NotObject})!Form {
    var form = Form{};
    var j = try json.Reader.init(body);
    const is_object = j.peek() == @as(?u8, '{');
    if (is_object) {
        try readObject(allocator, &j, &form);
    } else {
        try j.skip();
    }
    try j.end();
    return if (is_object) form else error.NotObject;
}

fn readObject(allocator: Allocator, j: *json.Reader, form: *Form) json.Error!void {
    var name = json.Buffer{};
    try j.object();
    while (try j.member(allocator, &name)) {
        const kind = j.peek();
        const field = form.field(name.items) orelse {
            try j.skip();
            continue;
        };
        if (kind == @as(?u8, '"')) {
            var text = json.Buffer{};
            try j.string(allocator, &text);
            field.* = .{ .text = text.items };
        } else {
            try j.skip();
            field.* = .{ .mistyped = kind != @as(?u8, 'n') }; // null is as good as absent
        }
    }
}

/// Parses application/x-www-form-urlencoded.
pub fn parseURLEncoded(allocator: Allocator, body: []const u8) Mistake!Form {
    var form = Form{};
    var rest = body;
    while (rest.len > 0) {
        const end = std.mem.indexOfScalar(u8, rest, '&') orelse rest.len;
        const pair = rest[0..end];
        rest = rest[@min(end + 1, rest.len)..];
        const equals = std.mem.indexOfScalar(u8, pair, '=') orelse pair.len;
        const name = try percentDecode(allocator, pair[0..equals]);
        const value = try percentDecode(allocator, pair[@min(equals + 1, pair.len)..]);
        if (form.field(name)) |field| field.text = value;
    }
    return form;
}

fn percentDecode(allocator: Allocator, text: []const u8) Mistake![]const u8 {
    var out = try allocator.alloc(u8, text.len);
    var n: usize = 0;
    var i: usize = 0;
    while (i < text.len) : (i += 1) {
        out[n] = switch (text[i]) {
            '+' => ' ',
            '%' => blk: {
                if (text.len - i < 3) return error.NotForm;
                i += 2;
                break :blk try hexDigit(text[i - 1]) << 4 | try hexDigit(text[i]);
            },
            else => text[i],
        };
        n += 1;
    }
    return if (std.unicode.utf8ValidateSlice(out[0..n])) out[0..n] else error.NotForm;
}

fn hexDigit(c: u8) Mistake!u8 {
    return std.fmt.charToDigit(c, 16) catch error.NotForm;
}

fn checkEmail(text: []const u8) ?[]const u8 {
    if (text.len == 0) return "is required";
    return if (isEmail(text)) null else "must be an email address";
}

fn checkMessage(text: []const u8) ?[]const u8 {
    if (text.len == 0) return "is required";
    if (characters(text) > max_message) return "must be at most 5000 characters";
    return if (hasControl(text, "\t\r\n")) "must not contain control characters" else null;
}

fn checkName(text: []const u8) ?[]const u8 {
    if (characters(text) > max_name) return "must be at most 100 characters";
    return if (hasControl(text, "")) "must not contain control characters" else null;
}

/// Counts Unicode code points.
fn characters(text: []const u8) usize {
    var n: usize = 0;
    for (text) |c| n += @intFromBool(c & 0xC0 != 0x80);
    return n;
}

/// Tells whether text holds a control character other than those allowed.
fn hasControl(text: []const u8, allowed: []const u8) bool {
    for (text) |c| {
        if ((c < 0x20 or c == 0x7F) and std.mem.indexOfScalar(u8, allowed, c) == null) return true;
    }
    return false;
}

/// Takes an address as HTML's <input type=email> does, with SMTP's limits on its length.
fn isEmail(text: []const u8) bool {
    const at = std.mem.indexOfScalar(u8, text, '@') orelse return false;
    if (at == 0 or at > max_local_part or text.len > max_email) return false;
    for (text[0..at]) |c| {
        if (!std.ascii.isAlphanumeric(c) and std.mem.indexOfScalar(u8, ".!#$%&'*+/=?^_`{|}~-", c) == null) return false;
    }
    var rest = text[at + 1 ..];
    while (std.mem.indexOfScalar(u8, rest, '.')) |dot| : (rest = rest[dot + 1 ..]) {
        if (!isLabel(rest[0..dot])) return false;
    }
    return isLabel(rest);
}

/// Takes a label of a domain name: 1 to 63 letters, digits and inner hyphens.
fn isLabel(label: []const u8) bool {
    if (label.len == 0 or label.len > 63 or label[0] == '-' or label[label.len - 1] == '-') return false;
    for (label) |c| {
        if (!std.ascii.isAlphanumeric(c) and c != '-') return false;
    }
    return true;
}
