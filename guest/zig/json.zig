//! A reader of JSON texts (RFC 8259) and a writer of JSON strings.
//!
//! The reader pulls: the caller says what it expects next and skips the rest. It
//! never recurses, so no text can exhaust the stack.

const std = @import("std");
const Allocator = std.mem.Allocator;

/// A growing run of bytes.
pub const Buffer = std.ArrayListUnmanaged(u8);

pub const Pair = struct { name: []const u8, value: []const u8 };

/// Arrays and objects may be nested this deep.
pub const max_depth = 10_000;

/// Unexpected: the text is not JSON, or not what the caller expected next.
pub const Error = error{ Unexpected, OutOfMemory };

/// Takes a text apart, from its begin to its end.
pub const Reader = struct {
    text: []const u8,
    at: usize = 0,
    depth: usize = 0,
    first: bool = true, // no member or element of the innermost object or array has been read
    /// Half a surrogate pair (\ud800) in a string is a mistake. If not, which is as
    /// others read what browsers send, it becomes U+FFFD.
    strict: bool = false,

    /// Reads text, which must stay where it is and be UTF-8.
    pub fn init(text: []const u8) error{Unexpected}!Reader {
        if (!std.unicode.utf8ValidateSlice(text)) return error.Unexpected;
        return Reader{ .text = text };
    }

    /// The first byte of the next value, null at the end of the text.
    pub fn peek(self: *Reader) ?u8 {
        while (self.byte()) |c| {
            if (c != ' ' and c != '\t' and c != '\n' and c != '\r') return c;
            self.at += 1;
        }
        return null;
    }

    /// Enters an object; then member() until it returns false.
    pub fn object(self: *Reader) Error!void {
        return self.enter('{');
    }

    /// Enters an array; then element() until it returns false.
    pub fn array(self: *Reader) Error!void {
        return self.enter('[');
    }

    /// True: name is the next member's, and its value comes next. False after the last one.
    pub fn member(self: *Reader, allocator: Allocator, name: *Buffer) Error!bool {
        if (!try self.next('}')) return false;
        try self.string(allocator, name);
        try self.expect(':');
        return true;
    }

    /// Whether there is a next element; it has to be read then.
    pub fn element(self: *Reader) Error!bool {
        return self.next(']');
    }

    /// Reads a string in place of what into held.
    pub fn string(self: *Reader, allocator: Allocator, into: *Buffer) Error!void {
        into.clearRetainingCapacity();
        try self.expect('"');
        while (true) {
            const plain = self.at;
            while (self.byte()) |c| : (self.at += 1) {
                if (c < 0x20 or c == '"' or c == '\\') break;
            }
            try into.appendSlice(allocator, self.text[plain..self.at]);
            const c = self.byte() orelse return error.Unexpected;
            self.at += 1;
            if (c == '"') return;
            if (c != '\\') return error.Unexpected; // a control character
            var utf8: [4]u8 = undefined;
            const n = std.unicode.utf8Encode(try self.escape(), &utf8) catch return error.Unexpected;
            try into.appendSlice(allocator, utf8[0..n]);
        }
    }

    /// Reads a string into memory of its own.
    pub fn newString(self: *Reader, allocator: Allocator) Error![]const u8 {
        var into = Buffer{};
        try self.string(allocator, &into);
        return into.items;
    }

    /// Reads a string of base64 (RFC 4648, section 4) into memory of its own.
    pub fn base64(self: *Reader, allocator: Allocator) Error![]const u8 {
        const text = try self.newString(allocator);
        const decoder = std.base64.standard.Decoder;
        const bytes = try allocator.alloc(u8, decoder.calcSizeForSlice(text) catch return error.Unexpected);
        decoder.decode(bytes, text) catch return error.Unexpected;
        return bytes;
    }

    /// Reads a number that is whole and written without fraction and exponent.
    pub fn integer(self: *Reader) Error!i64 {
        _ = self.peek();
        const start = self.at;
        try self.skipNumber();
        return std.fmt.parseInt(i64, self.text[start..self.at], 10) catch error.Unexpected;
    }

    /// Reads true or false.
    pub fn boolean(self: *Reader) Error!bool {
        const value = self.peek() == @as(?u8, 't');
        try self.skipWord(if (value) "true" else "false");
        return value;
    }

    /// Reads an object whose members are strings.
    pub fn strings(self: *Reader, allocator: Allocator) Error![]const Pair {
        var list = std.ArrayListUnmanaged(Pair){};
        try self.object();
        while (true) {
            var name = Buffer{}; // the pair keeps it
            if (!try self.member(allocator, &name)) return list.items;
            try list.append(allocator, .{ .name = name.items, .value = try self.newString(allocator) });
        }
    }

    /// Reads an object whose members are lists of strings: one pair for each string.
    pub fn lists(self: *Reader, allocator: Allocator) Error![]const Pair {
        var list = std.ArrayListUnmanaged(Pair){};
        try self.object();
        while (true) {
            var name = Buffer{}; // the pairs keep it
            if (!try self.member(allocator, &name)) return list.items;
            try self.array();
            while (try self.element()) {
                try list.append(allocator, .{ .name = name.items, .value = try self.newString(allocator) });
            }
        }
    }

    /// Skips any value.
    pub fn skip(self: *Reader) Error!void {
        var arrays = std.StaticBitSet(max_depth + 1).initEmpty(); // of the levels entered here
        const outside = self.depth;
        while (true) {
            const c = self.peek() orelse return error.Unexpected;
            if (c == '{' or c == '[') {
                try self.enter(c);
                arrays.setValue(self.depth, c == '[');
            } else {
                try self.skipScalar(c);
            }
            // Close what ends here, then step to the next value inside what is left.
            while (self.depth > outside) {
                const in_array = arrays.isSet(self.depth);
                if (!try self.next(if (in_array) ']' else '}')) continue;
                if (!in_array) {
                    try self.skipString();
                    try self.expect(':');
                }
                break;
            }
            if (self.depth == outside) return;
        }
    }

    /// Succeeds when the text was one value with nothing after it.
    pub fn end(self: *Reader) Error!void {
        if (self.peek() != null or self.depth != 0) return error.Unexpected;
    }

    fn byte(self: *const Reader) ?u8 {
        return if (self.at < self.text.len) self.text[self.at] else null;
    }

    fn accept(self: *Reader, c: u8) bool {
        if (self.peek() != c) return false;
        self.at += 1;
        return true;
    }

    fn expect(self: *Reader, c: u8) Error!void {
        if (!self.accept(c)) return error.Unexpected;
    }

    fn enter(self: *Reader, open: u8) Error!void {
        try self.expect(open);
        if (self.depth == max_depth) return error.Unexpected;
        self.depth += 1;
        self.first = true;
    }

    /// Steps to the next member or element, or leaves when close comes instead.
    fn next(self: *Reader, close: u8) Error!bool {
        if (self.accept(close)) {
            self.depth -= 1;
            self.first = false; // the value just left was one of its parent's
            return false;
        }
        if (!self.first) try self.expect(',');
        self.first = false;
        return true;
    }

    /// Reads what follows a backslash.
    fn escape(self: *Reader) Error!u21 {
        const c = self.byte() orelse return error.Unexpected;
        self.at += 1;
        return switch (c) {
            '"', '\\', '/' => c,
            'b' => 8,
            'f' => 12,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicodeEscape(),
            else => error.Unexpected,
        };
    }

    /// Reads what follows the u of a \u escape.
    fn unicodeEscape(self: *Reader) Error!u21 {
        const unit = try self.codeUnit();
        if (unit < 0xD800 or unit > 0xDFFF) return unit;
        if (unit < 0xDC00 and std.mem.startsWith(u8, self.text[self.at..], "\\u")) {
            const before = self.at;
            self.at += 2;
            const low = try self.codeUnit();
            if (low >= 0xDC00 and low <= 0xDFFF) {
                return 0x10000 + (@as(u21, unit - 0xD800) << 10) + (low - 0xDC00);
            }
            self.at = before; // not the other half: it stands for itself
        }
        return if (self.strict) error.Unexpected else 0xFFFD;
    }

    /// Reads the four digits of a \u escape.
    fn codeUnit(self: *Reader) Error!u16 {
        var unit: u16 = 0;
        for (0..4) |_| {
            const c = self.byte() orelse return error.Unexpected;
            const digit = std.fmt.charToDigit(c, 16) catch return error.Unexpected;
            unit = unit << 4 | digit;
            self.at += 1;
        }
        return unit;
    }

    fn skipScalar(self: *Reader, first_byte: u8) Error!void {
        switch (first_byte) {
            '"' => try self.skipString(),
            't' => try self.skipWord("true"),
            'f' => try self.skipWord("false"),
            'n' => try self.skipWord("null"),
            '-', '0'...'9' => try self.skipNumber(),
            else => return error.Unexpected,
        }
    }

    fn skipString(self: *Reader) Error!void {
        try self.expect('"');
        while (self.byte()) |c| {
            if (c < 0x20) return error.Unexpected;
            self.at += 1;
            if (c == '"') return;
            if (c == '\\') _ = try self.escape();
        }
        return error.Unexpected;
    }

    fn skipWord(self: *Reader, word: []const u8) Error!void {
        if (!std.mem.startsWith(u8, self.text[self.at..], word)) return error.Unexpected;
        self.at += word.len;
    }

    fn skipNumber(self: *Reader) Error!void {
        _ = self.skipOneOf("-");
        // After a leading 0 no digit may follow: the caller finds it where a comma belongs.
        if (!self.skipOneOf("0")) try self.skipDigits();
        if (self.skipOneOf(".")) try self.skipDigits();
        if (self.skipOneOf("eE")) {
            _ = self.skipOneOf("+-");
            try self.skipDigits();
        }
    }

    fn skipOneOf(self: *Reader, set: []const u8) bool {
        const c = self.byte() orelse return false;
        if (std.mem.indexOfScalar(u8, set, c) == null) return false;
        self.at += 1;
        return true;
    }

    fn skipDigits(self: *Reader) Error!void {
        if (!self.skipOneOf("0123456789")) return error.Unexpected;
        while (self.skipOneOf("0123456789")) {}
    }
};

/// Appends text, which is UTF-8, to out as a JSON string, quotes included.
pub fn writeString(allocator: Allocator, out: *Buffer, text: []const u8) Allocator.Error!void {
    const hex = "0123456789abcdef";
    try out.append(allocator, '"');
    for (text) |c| {
        const escape: []const u8 = switch (c) {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            0...8, 11, 12, 14...31 => &[_]u8{ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] },
            else => &[_]u8{c},
        };
        try out.appendSlice(allocator, escape);
    }
    try out.append(allocator, '"');
}

/// Appends an object whose members are strings.
pub fn writeObject(allocator: Allocator, out: *Buffer, members: []const Pair) Allocator.Error!void {
    try out.append(allocator, '{');
    for (members, 0..) |member, i| {
        if (i > 0) try out.append(allocator, ',');
        try writeString(allocator, out, member.name);
        try out.append(allocator, ':');
        try writeString(allocator, out, member.value);
    }
    try out.append(allocator, '}');
}

/// Returns an object whose members are strings.
pub fn object(allocator: Allocator, members: []const Pair) Allocator.Error![]const u8 {
    var out = Buffer{};
    try writeObject(allocator, &out, members);
    return out.items;
}

/// Appends a member with any bytes: text as it is, other bytes in base64 and with
/// _base64 behind the name.
pub fn writeBytes(allocator: Allocator, out: *Buffer, name: []const u8, bytes: []const u8) Allocator.Error!void {
    try out.append(allocator, '"');
    try out.appendSlice(allocator, name);
    if (std.unicode.utf8ValidateSlice(bytes)) {
        try out.appendSlice(allocator, "\":");
        return writeString(allocator, out, bytes);
    }
    try out.appendSlice(allocator, "_base64\":\"");
    try writeBase64(allocator, out, bytes);
    try out.append(allocator, '"');
}

/// Appends bytes in base64.
pub fn writeBase64(allocator: Allocator, out: *Buffer, bytes: []const u8) Allocator.Error!void {
    const encoder = std.base64.standard.Encoder;
    const len = encoder.calcSize(bytes.len);
    try out.ensureUnusedCapacity(allocator, len);
    _ = encoder.encode(out.unusedCapacitySlice()[0..len], bytes);
    out.items.len += len;
}

/// Appends header fields as an object. The values of one name become one member.
pub fn writeHeaders(allocator: Allocator, out: *Buffer, headers: []const Pair) Allocator.Error!void {
    try out.append(allocator, '{');
    var more = false;
    for (headers, 0..) |field, i| {
        if (find(headers[0..i], field.name) != null) continue; // written with the first of its name
        if (more) try out.append(allocator, ',');
        more = true;
        try writeString(allocator, out, field.name);
        try out.append(allocator, ':');
        var rest = headers[i + 1 ..];
        const list = find(rest, field.name) != null;
        if (list) try out.append(allocator, '[');
        try writeString(allocator, out, field.value);
        while (find(rest, field.name)) |at| : (rest = rest[at + 1 ..]) {
            try out.append(allocator, ',');
            try writeString(allocator, out, rest[at].value);
        }
        if (list) try out.append(allocator, ']');
    }
    try out.append(allocator, '}');
}

/// The place of the first field of that name, in whatever capitals.
pub fn find(headers: []const Pair, name: []const u8) ?usize {
    for (headers, 0..) |field, i| {
        if (std.ascii.eqlIgnoreCase(field.name, name)) return i;
    }
    return null;
}
