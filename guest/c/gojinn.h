// Functions for Gojinn (https://github.com/gojinn/gojinn): a program that answers one
// HTTP request. It reads the request as one JSON object from stdin and writes the
// response as one to stdout; gojinn_serve() does both.
//
//     static void hello(const gojinn_request *request, gojinn_response *response) {
//         const gojinn_buffer *name = gojinn_request_query(request, "name");
//         gojinn_add_text(&response->body, "Hello, ");
//         gojinn_add_text(&response->body, name != NULL ? name->data : "world");
//     }
//
//     int main(void) { return gojinn_serve(hello); }
//
// What the operator has granted with `allow` lies in the file system: folders and
// /dev/urandom under open(), key-value namespaces under gojinn_kv_…, outbound HTTP under
// gojinn_http_fetch(), byte streams under gojinn_tcp_open() and gojinn_tls_open().
//
// One request, one process: most programs free nothing. Running out of memory ends the
// program, and with it the request.
#ifndef GOJINN_H
#define GOJINN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- Bytes and pairs ---

// A growing run of bytes. {0} is empty. Once it has held anything, a NUL that len does not
// count follows them; they may hold others.
typedef struct {
	char *data;
	size_t len, cap;
} gojinn_buffer;

void gojinn_add(gojinn_buffer *b, const void *data, size_t len);
void gojinn_add_text(gojinn_buffer *b, const char *text);
void gojinn_add_integer(gojinn_buffer *b, int64_t value);
bool gojinn_equals(const gojinn_buffer *b, const char *text);
void gojinn_free(gojinn_buffer *b); // leaves it empty

typedef struct {
	gojinn_buffer name, value;
} gojinn_pair;

typedef struct {
	gojinn_pair *list;
	size_t len;
} gojinn_pairs;

typedef struct {
	gojinn_buffer *list;
	size_t len;
} gojinn_list;

// --- Request and response ---

// An HTTP request. Members that the server leaves out are empty; data is never NULL.
typedef struct {
	gojinn_buffer id;     // the server's id of this request, as in its logs
	gojinn_buffer method;
	gojinn_buffer uri;          // path and query after the server's rewrites, percent-encoded
	gojinn_buffer original_uri; // the same as the client sent it
	gojinn_buffer scheme;       // http or https
	gojinn_buffer host;         // with its port, if it has one
	gojinn_buffer proto;        // HTTP/1.1, HTTP/2.0, …
	gojinn_buffer path;         // the path of uri, decoded
	gojinn_buffer route;        // the route that matched, where files are mapped to routes
	gojinn_buffer remote_addr;  // the client's IP address
	gojinn_buffer traceparent;  // the W3C trace context of this call
	gojinn_buffer body;         // any bytes
	gojinn_pairs headers;       // in the usual capitals (Content-Type), one pair for each value
	gojinn_pairs queries;       // the URL's decoded parameters, one pair for each value
	gojinn_pairs params;        // what the placeholders of the route matched, decoded
} gojinn_request;

// Each returns the first value of that name, NULL without one. Capitals don't matter
// in the names of header fields.
const gojinn_buffer *gojinn_request_header(const gojinn_request *r, const char *name);
const gojinn_buffer *gojinn_request_query(const gojinn_request *r, const char *name);
const gojinn_buffer *gojinn_request_param(const gojinn_request *r, const char *name);

// An HTTP response. The server checks it when it is written: a status from 200 to 599,
// names and values that HTTP allows. Without a Content-Type it says that the body is
// JSON, if it is, else plain text.
typedef struct {
	int status;           // 200 unless it is set
	gojinn_pairs headers; // one pair for each value
	gojinn_buffer body;   // any bytes
} gojinn_response;

// Adds a header field. A name given several times has several values.
void gojinn_response_header(gojinn_response *r, const char *name, const char *value);

typedef void gojinn_handler(const gojinn_request *request, gojinn_response *response);

// Answers the one request this program was started for, and returns its exit code.
// The sandbox waits at the first read, often for long and many times over: what main()
// has done before it calls gojinn_serve(), no request waits for. When the request can't be
// read or the response not be written, the log says so, and the client gets a 502.
int gojinn_serve(gojinn_handler *handler);

// Writes a line to the server's log. Levels are debug, info, warn and error.
void gojinn_log(const char *level, const char *message);

// Does so at the level error and ends the program: the client gets a 502.
_Noreturn void gojinn_die(const char *message);

bool gojinn_write_all(int fd, const void *data, size_t len); // false: errno
bool gojinn_read_all(int fd, gojinn_buffer *b);              // adds to b; false: errno

// --- Key-value namespaces: `allow kv <namespace>` ---

// A namespace is a folder, /kv/<namespace>, a key the name of a file in it. Keys are texts,
// not empty; percent-encoded, as they are in the name, at most 255 bytes. Functions that return
// false have set errno: ENOENT where the namespace was not granted, EROFS where it may only
// be read, ENOSPC, EFBIG, EINVAL, …
typedef struct {
	gojinn_buffer folder;
} gojinn_kv;

// The namespace of that name, where grants put it. A name that begins with / is the folder
// itself, for grants that name one. Nothing is looked up yet.
gojinn_kv gojinn_kv_open(const char *space);

bool gojinn_kv_get(const gojinn_kv *kv, const char *key, gojinn_buffer *value); // ENOENT: no such key. Replaces what value held
bool gojinn_kv_put(const gojinn_kv *kv, const char *key, const void *value, size_t len);
bool gojinn_kv_create(const gojinn_kv *kv, const char *key, const void *value, size_t len); // EEXIST: the key has a value, and keeps it
bool gojinn_kv_delete(const gojinn_kv *kv, const char *key);                                // ENOENT: no such key

// Adds to the integer that a key has, as text; without one it is 0. ERANGE: it is none, or
// the sum would be none of 64 bits. sum may be NULL.
bool gojinn_kv_incr(const gojinn_kv *kv, const char *key, int64_t by, int64_t *sum);

// Adds all keys that begin with a prefix to a list, in the order of their bytes.
bool gojinn_kv_list(const gojinn_kv *kv, const char *prefix, gojinn_list *keys);

// --- Outbound HTTP: `allow http <origin>` ---

// A request to another server.
typedef struct {
	const char *method;   // NULL: GET
	const char *url;      // absolute, with http or https
	gojinn_pairs headers; // one pair for each value
	gojinn_buffer body;   // any bytes, at most some MiB
} gojinn_http_request;

// What another server has answered, or why there is no answer. data is never NULL.
typedef struct {
	int status;           // 0: there is no answer
	gojinn_pairs headers; // in the usual capitals (Content-Type), one pair for each value
	gojinn_buffer body;   // any bytes
	gojinn_buffer failure; // refused if no grant allows it, invalid, dns, connect, tls, timeout, too_large, protocol, overloaded, …, or
	                       // file if /net/http can't be used: where there is no grant at all
	gojinn_buffer reason;  // the same for people
} gojinn_http_response;

// Adds a header field. A name given several times has several values.
void gojinn_http_request_header(gojinn_http_request *r, const char *name, const char *value);

// Returns the first value of that name, in whatever capitals, NULL without one.
const gojinn_buffer *gojinn_http_response_header(const gojinn_http_response *r, const char *name);

// Sends a request and waits for all of the answer. False: there is none.
bool gojinn_http_fetch(const gojinn_http_request *request, gojinn_http_response *response);

// --- Byte streams: `allow tcp <host:port>`, `allow tls <host:port>` ---

// Connects to a host:port as it was granted and returns a descriptor, -1 with errno:
// read() receives, write() sends, close() hangs up. Over TLS the server encrypts, and has
// verified the other side's certificate before anything is sent.
int gojinn_tcp_open(const char *address);
int gojinn_tls_open(const char *address);

// --- JSON (RFC 8259) ---

// Adds len bytes of UTF-8 as a JSON string, quotes included.
void gojinn_json_add(gojinn_buffer *b, const char *text, size_t len);

// Adds a member whose value is a string to an object, or begins the object: {"name":"value".
// The caller closes it with a brace.
void gojinn_json_object_add(gojinn_buffer *b, const char *name, const char *value);

bool gojinn_utf8_valid(const char *text, size_t len);

// Arrays and objects may be nested this deep.
#define GOJINN_JSON_MAX_DEPTH 10000

// A reader. It pulls: the caller says what it expects next and skips the rest. It never
// recurses, so no text can exhaust the stack, and it never reads past the end. The first
// mistake in the text is final: from then on every function returns false, and so does
// gojinn_json_end(). So only one check, at the end, is needed.
typedef struct {
	const char *at, *end;
	unsigned depth;
	bool first;  // no member or element of the innermost object or array has been read
	bool bad;
	bool strict; // half a surrogate pair (\ud800) in a string is a mistake; if not, it becomes U+FFFD
} gojinn_json;

// Reads text, which must stay where it is. Text that is not UTF-8 is bad from the start.
gojinn_json gojinn_json_read(const char *text, size_t len);

// The first byte of the next value, 0 at the end of the text.
char gojinn_json_peek(gojinn_json *j);

// Each reads one kind of value. Anything else in its place makes the text bad.
bool gojinn_json_object(gojinn_json *j);                         // then gojinn_json_member() until it returns false
bool gojinn_json_array(gojinn_json *j);                          // then gojinn_json_element() until it returns false
bool gojinn_json_member(gojinn_json *j, gojinn_buffer *name);    // true: name is set, its value is next
bool gojinn_json_element(gojinn_json *j);                        // true: the element is next
bool gojinn_json_string(gojinn_json *j, gojinn_buffer *string);  // replaces what string held
bool gojinn_json_base64(gojinn_json *j, gojinn_buffer *bytes);   // a string of base64; replaces what bytes held
bool gojinn_json_integer(gojinn_json *j, int64_t *value);        // without fraction and exponent
bool gojinn_json_boolean(gojinn_json *j, bool *value);
bool gojinn_json_strings(gojinn_json *j, gojinn_pairs *pairs);   // an object of strings; adds to pairs
bool gojinn_json_lists(gojinn_json *j, gojinn_pairs *pairs);     // an object of lists of strings; adds a pair for each string
bool gojinn_json_skip(gojinn_json *j);                           // any value

// True when the text was one value, without a mistake and with nothing after it.
bool gojinn_json_end(gojinn_json *j);

#endif
