#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void buffer_reserve(buffer *b, size_t len) {
	if (len <= b->cap - b->len) return;
	size_t cap = b->cap < 64 ? 64 : b->cap;
	while (cap - b->len < len) {
		if (cap > SIZE_MAX / 2) goto full;
		cap *= 2;
	}
	char *data = realloc(b->data, cap);
	if (data == NULL) goto full;
	b->data = data;
	b->cap = cap;
	return;
full:
	(void)!write(2, "out of memory\n", 14);
	_exit(1);
}

void buffer_add(buffer *b, const void *data, size_t len) {
	if (len == 0) return;
	buffer_reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void buffer_text(buffer *b, const char *text) {
	buffer_add(b, text, strlen(text));
}

bool buffer_equals(const buffer *b, const char *text) {
	return b->len == strlen(text) && (b->len == 0 || memcmp(b->data, text, b->len) == 0);
}

void buffer_json(buffer *b, const char *text, size_t len) {
	buffer_text(b, "\"");
	size_t plain = 0; // text[plain, i) needs no escape
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c != '"' && c != '\\') continue;
		char escape[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
		size_t n = 2;
		switch (c) {
		case '\b': escape[1] = 'b'; break;
		case '\t': escape[1] = 't'; break;
		case '\n': escape[1] = 'n'; break;
		case '\f': escape[1] = 'f'; break;
		case '\r': escape[1] = 'r'; break;
		case '"':
		case '\\': escape[1] = (char)c; break;
		default: n = 6;
		}
		buffer_add(b, text + plain, i - plain);
		buffer_add(b, escape, n);
		plain = i + 1;
	}
	buffer_add(b, text + plain, len - plain);
	buffer_text(b, "\"");
}

bool utf8_valid(const char *text, size_t len) {
	const unsigned char *p = (const unsigned char *)text, *end = p + len;
	while (p < end) {
		unsigned char c = *p++;
		if (c < 0x80) continue;
		// The second byte's range keeps out overlong forms, surrogates and
		// what is above U+10FFFF (RFC 3629, section 4).
		unsigned char low = 0x80, high = 0xBF;
		int more;
		if (c >= 0xC2 && c <= 0xDF) {
			more = 1;
		} else if (c >= 0xE0 && c <= 0xEF) {
			more = 2;
			if (c == 0xE0) low = 0xA0;
			if (c == 0xED) high = 0x9F;
		} else if (c >= 0xF0 && c <= 0xF4) {
			more = 3;
			if (c == 0xF0) low = 0x90;
			if (c == 0xF4) high = 0x8F;
		} else {
			return false;
		}
		if (end - p < more) return false;
		for (; more > 0; more--, p++) {
			if (*p < low || *p > high) return false;
			low = 0x80, high = 0xBF;
		}
	}
	return true;
}

json json_read(const char *text, size_t len) {
	return (json){.at = text, .end = text + len, .first = true, .bad = !utf8_valid(text, len)};
}

static bool bad(json *j) {
	j->bad = true;
	j->at = j->end;
	return false;
}

char json_peek(json *j) {
	if (j->bad) return 0;
	while (j->at < j->end) {
		char c = *j->at;
		if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return c;
		j->at++;
	}
	return 0;
}

// Consumes c if it comes next.
static bool accept(json *j, char c) {
	if (c == 0 || json_peek(j) != c) return false;
	j->at++;
	return true;
}

static bool enter(json *j, char open) {
	if (!accept(j, open) || j->depth == JSON_MAX_DEPTH) return bad(j);
	j->depth++;
	j->first = true;
	return true;
}

static void leave(json *j) {
	j->depth--;
	j->first = false; // the value just left was one of its parent's
}

bool json_object(json *j) { return enter(j, '{'); }
bool json_array(json *j) { return enter(j, '['); }

// Steps to the next member or element, or leaves when close comes instead.
static bool next(json *j, char close) {
	if (j->bad) return false;
	if (accept(j, close)) {
		leave(j);
		return false;
	}
	if (!j->first && !accept(j, ',')) return bad(j);
	j->first = false;
	return true;
}

bool json_member(json *j, buffer *name) {
	if (!next(j, '}')) return false;
	return json_string(j, name) && (accept(j, ':') || bad(j));
}

bool json_element(json *j) {
	return next(j, ']');
}

// Reads the four digits after \u. Returns a UTF-16 code unit, -1 when they are none.
static int32_t code_unit(json *j) {
	if (j->end - j->at < 4) return -1;
	int32_t unit = 0;
	for (int i = 0; i < 4; i++) {
		char c = *j->at++;
		int digit = c >= '0' && c <= '9'   ? c - '0'
		            : c >= 'a' && c <= 'f' ? c - 'a' + 10
		            : c >= 'A' && c <= 'F' ? c - 'A' + 10
		                                   : -1;
		if (digit < 0) return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

static void add_utf8(buffer *b, uint32_t rune) {
	char bytes[4];
	size_t n = 0;
	if (rune < 0x80) {
		bytes[n++] = (char)rune;
	} else if (rune < 0x800) {
		bytes[n++] = (char)(0xC0 | rune >> 6);
	} else if (rune < 0x10000) {
		bytes[n++] = (char)(0xE0 | rune >> 12);
		bytes[n++] = (char)(0x80 | (rune >> 6 & 0x3F));
	} else {
		bytes[n++] = (char)(0xF0 | rune >> 18);
		bytes[n++] = (char)(0x80 | (rune >> 12 & 0x3F));
		bytes[n++] = (char)(0x80 | (rune >> 6 & 0x3F));
	}
	if (rune >= 0x80) bytes[n++] = (char)(0x80 | (rune & 0x3F));
	buffer_add(b, bytes, n);
}

// Reads what follows the u of a \u escape; half a surrogate pair becomes U+FFFD.
static bool unicode_escape(json *j, buffer *string) {
	int32_t unit = code_unit(j);
	if (unit < 0) return bad(j);
	if (unit >= 0xD800 && unit <= 0xDBFF && j->end - j->at >= 2 && j->at[0] == '\\' && j->at[1] == 'u') {
		const char *before = j->at;
		j->at += 2;
		int32_t low = code_unit(j);
		if (low >= 0xDC00 && low <= 0xDFFF) {
			add_utf8(string, 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
			return true;
		}
		j->at = before; // not the other half: it stands for itself
	}
	add_utf8(string, unit >= 0xD800 && unit <= 0xDFFF ? 0xFFFD : (uint32_t)unit);
	return true;
}

static bool escape(json *j, buffer *string) {
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (j->at == j->end) return bad(j);
	char c = *j->at++;
	if (c == 'u') return unicode_escape(j, string);
	const char *found = memchr(from, c, sizeof from - 1);
	if (found == NULL) return bad(j);
	buffer_add(string, to + (found - from), 1);
	return true;
}

bool json_string(json *j, buffer *string) {
	string->len = 0;
	if (!accept(j, '"')) return bad(j);
	for (;;) {
		const char *plain = j->at;
		while (j->at < j->end && (unsigned char)*j->at >= 0x20 && *j->at != '"' && *j->at != '\\') j->at++;
		buffer_add(string, plain, (size_t)(j->at - plain));
		if (j->at == j->end) return bad(j);
		char c = *j->at++;
		if (c == '"') return true;
		if (c != '\\') return bad(j); // a control character
		if (!escape(j, string)) return false;
	}
}

static bool skip_string(json *j) {
	for (j->at++; j->at < j->end; j->at++) {
		unsigned char c = (unsigned char)*j->at;
		if (c < 0x20) return bad(j);
		if (c == '"') return j->at++, true;
		if (c != '\\') continue;
		if (++j->at == j->end) return bad(j);
		if (*j->at == 'u') {
			j->at++;
			if (code_unit(j) < 0) return bad(j);
			j->at--; // the loop steps over the last digit
		} else if (memchr("\"\\/bfnrt", *j->at, 8) == NULL) {
			return bad(j);
		}
	}
	return bad(j);
}

static bool digits(json *j) {
	const char *start = j->at;
	while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
	return j->at > start;
}

static bool skip_number(json *j) {
	if (*j->at == '-') j->at++;
	if (j->at < j->end && *j->at == '0') {
		j->at++; // no digit may follow: the caller finds it where a comma belongs
	} else if (!digits(j)) {
		return bad(j);
	}
	if (j->at < j->end && *j->at == '.') {
		j->at++;
		if (!digits(j)) return bad(j);
	}
	if (j->at < j->end && (*j->at == 'e' || *j->at == 'E')) {
		j->at++;
		if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
		if (!digits(j)) return bad(j);
	}
	return true;
}

static bool skip_word(json *j, const char *word) {
	size_t len = strlen(word);
	if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0) return bad(j);
	j->at += len;
	return true;
}

static bool skip_scalar(json *j) {
	switch (json_peek(j)) {
	case '"': return skip_string(j);
	case 't': return skip_word(j, "true");
	case 'f': return skip_word(j, "false");
	case 'n': return skip_word(j, "null");
	case '-': case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9': return skip_number(j);
	}
	return bad(j);
}

bool json_skip(json *j) {
	static unsigned char arrays[JSON_MAX_DEPTH / 8 + 1]; // one bit for each level entered here
	unsigned outside = j->depth;
	do {
		// A value comes next.
		char c = json_peek(j);
		if (c == '{' || c == '[') {
			if (!enter(j, c)) return false;
			unsigned bit = 1u << j->depth % 8;
			if (c == '[') {
				arrays[j->depth / 8] |= bit;
			} else {
				arrays[j->depth / 8] &= ~bit;
			}
		} else if (!skip_scalar(j)) {
			return false;
		}
		// Close what ends here, then step to the next value inside what is left.
		while (j->depth > outside) {
			bool array = arrays[j->depth / 8] >> j->depth % 8 & 1;
			if (next(j, array ? ']' : '}')) {
				if (array) break;
				if (json_peek(j) != '"') return bad(j);
				if (!skip_string(j)) return false;
				if (!accept(j, ':')) return bad(j);
				break;
			}
			if (j->bad) return false;
		}
	} while (j->depth > outside);
	return true;
}

bool json_end(json *j) {
	return !j->bad && j->depth == 0 && json_peek(j) == 0 && j->at == j->end;
}
