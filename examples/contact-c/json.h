// A reader of JSON texts (RFC 8259) and a writer of JSON strings, for programs
// that have the C library and nothing else.
//
// The reader pulls: the caller says what it expects next and skips the rest.
// It never recurses, so no text can exhaust the stack, and it never reads past
// the end. The first mistake in the text is final: from then on every call
// returns false and json_end() is false. So only one check, at the end, is needed.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

// Arrays and objects may be nested this deep.
#define JSON_MAX_DEPTH 10000

// A growing run of bytes. {0} is empty. Running out of memory ends the program.
typedef struct {
	char *data;
	size_t len, cap;
} buffer;

void buffer_add(buffer *b, const void *data, size_t len);
void buffer_text(buffer *b, const char *text);
// Adds len bytes of UTF-8 as a JSON string, quotes included.
void buffer_json(buffer *b, const char *text, size_t len);
bool buffer_equals(const buffer *b, const char *text);

bool utf8_valid(const char *text, size_t len);

typedef struct {
	const char *at, *end;
	unsigned depth;
	bool first; // no member or element of the innermost object or array has been read
	bool bad;
} json;

// Reads text, which must stay where it is. Text that is not UTF-8 is bad from the start.
json json_read(const char *text, size_t len);

// The first byte of the next value, 0 at the end of the text.
char json_peek(json *j);

// Each reads one kind of value. Anything else in its place makes the text bad.
bool json_object(json *j);                 // then json_member() until it returns false
bool json_array(json *j);                  // then json_element() until it returns false
bool json_member(json *j, buffer *name);   // true: name is set, its value is next
bool json_element(json *j);                // true: the element is next
bool json_string(json *j, buffer *string); // replaces what string held
bool json_skip(json *j);                   // any value

// True when the text was one value, without a mistake and with nothing after it.
bool json_end(json *j);

#endif
