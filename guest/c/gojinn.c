#include "gojinn.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- Bytes and pairs ---

static _Noreturn void out_of_memory(void) {
	(void)!write(2, "out of memory\n", 14);
	_exit(1);
}

// Everything below adds to buffers: copies of these two in every place would be most of a
// small program.
#define NOT_INLINE __attribute__((noinline))

// Makes room for len more bytes and a NUL.
NOT_INLINE static void reserve(gojinn_buffer *b, size_t len) {
	if (len < b->cap - b->len) return;
	size_t cap = b->cap < 64 ? 64 : b->cap;
	while (cap - b->len <= len) {
		if (cap > SIZE_MAX / 2) out_of_memory();
		cap *= 2;
	}
	char *data = realloc(b->cap > 0 ? b->data : NULL, cap); // without room, data is a constant's or NULL
	if (data == NULL) out_of_memory();
	b->data = data;
	b->cap = cap;
}

NOT_INLINE void gojinn_add(gojinn_buffer *b, const void *data, size_t len) {
	reserve(b, len);
	if (len > 0) memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = 0;
}

void gojinn_add_text(gojinn_buffer *b, const char *text) {
	gojinn_add(b, text, strlen(text));
}

void gojinn_add_integer(gojinn_buffer *b, int64_t value) {
	char digits[21];
	size_t at = sizeof digits;
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0) digits[--at] = '-';
	gojinn_add(b, digits + at, sizeof digits - at);
}

static void add_buffer(gojinn_buffer *b, const gojinn_buffer *more) {
	gojinn_add(b, more->data, more->len);
}

static void clear(gojinn_buffer *b) {
	b->len = 0;
	gojinn_add(b, NULL, 0);
}

bool gojinn_equals(const gojinn_buffer *b, const char *text) {
	return b->len == strlen(text) && (b->len == 0 || memcmp(b->data, text, b->len) == 0);
}

void gojinn_free(gojinn_buffer *b) {
	if (b->cap > 0) free(b->data);
	*b = (gojinn_buffer){0};
}

// Returns a list of len elements with room for one more. It doubles whenever the length is
// a power of two.
static void *grown(void *list, size_t len, size_t size) {
	if ((len & (len - 1)) != 0) return list;
	size_t room = len == 0 ? 1 : len * 2;
	list = room <= SIZE_MAX / size ? realloc(list, room * size) : NULL;
	if (list == NULL) out_of_memory();
	return list;
}

static gojinn_pair *add_pair(gojinn_pairs *p) {
	p->list = grown(p->list, p->len, sizeof *p->list);
	p->list[p->len] = (gojinn_pair){0};
	return &p->list[p->len++];
}

static gojinn_buffer *add_element(gojinn_list *l) {
	l->list = grown(l->list, l->len, sizeof *l->list);
	l->list[l->len] = (gojinn_buffer){0};
	return &l->list[l->len++];
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; }

static bool same_field(const gojinn_buffer *a, const char *name, size_t len) {
	if (a->len != len) return false;
	for (size_t i = 0; i < len; i++) {
		if (lower(a->data[i]) != lower(name[i])) return false;
	}
	return true;
}

static const gojinn_buffer *first_field(const gojinn_pairs *p, const char *name) {
	for (size_t i = 0; i < p->len; i++) {
		if (same_field(&p->list[i].name, name, strlen(name))) return &p->list[i].value;
	}
	return NULL;
}

static const gojinn_buffer *first_value(const gojinn_pairs *p, const char *name) {
	for (size_t i = 0; i < p->len; i++) {
		if (gojinn_equals(&p->list[i].name, name)) return &p->list[i].value;
	}
	return NULL;
}

// --- Files ---

bool gojinn_write_all(int fd, const void *data, size_t len) {
	const char *at = data;
	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR) continue;
		if (n == 0) errno = EIO;
		if (n <= 0) return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool gojinn_read_all(int fd, gojinn_buffer *b) {
	for (;;) {
		reserve(b, 4096);
		ssize_t n = read(fd, b->data + b->len, b->cap - b->len - 1);
		if (n < 0 && errno == EINTR) continue;
		if (n > 0) b->len += (size_t)n;
		b->data[b->len] = 0;
		if (n <= 0) return n == 0;
	}
}

// Writes a line, which has no newline inside, to the file at path and reads all that comes
// back into answer. False: errno.
static bool ask(const char *path, gojinn_buffer *line, gojinn_buffer *answer) {
	clear(answer);
	int fd = open(path, O_RDWR);
	if (fd < 0) return false;
	gojinn_add_text(line, "\n");
	bool asked = gojinn_write_all(fd, line->data, line->len) && gojinn_read_all(fd, answer);
	int error = errno;
	close(fd);
	errno = error;
	return asked;
}

// --- Request and response ---

void gojinn_log(const char *level, const char *message) {
	gojinn_buffer line = {0};
	gojinn_json_object_add(&line, "level", level);
	gojinn_json_object_add(&line, "msg", message);
	gojinn_add_text(&line, "}\n");
	gojinn_write_all(2, line.data, line.len); // when even this does not work there is nobody else to tell
	gojinn_free(&line);
}

_Noreturn void gojinn_die(const char *message) {
	gojinn_log("error", message);
	exit(1);
}

const gojinn_buffer *gojinn_request_header(const gojinn_request *r, const char *name) {
	return first_field(&r->headers, name);
}

const gojinn_buffer *gojinn_request_query(const gojinn_request *r, const char *name) {
	return first_value(&r->queries, name);
}

const gojinn_buffer *gojinn_request_param(const gojinn_request *r, const char *name) {
	return first_value(&r->params, name);
}

typedef struct {
	const char *name;
	size_t at; // in a request
	enum { in_text, in_base64, in_strings, in_lists } kind;
} member;

#define TEXT(name) {#name, offsetof(gojinn_request, name), in_text}

static const member members[] = {
	TEXT(id), TEXT(method), TEXT(uri), TEXT(original_uri), TEXT(scheme), TEXT(host), TEXT(proto), TEXT(path),
	TEXT(route), TEXT(remote_addr), TEXT(traceparent), TEXT(body),
	{"body_base64", offsetof(gojinn_request, body), in_base64},
	{"headers", offsetof(gojinn_request, headers), in_lists},
	{"query", offsetof(gojinn_request, queries), in_lists},
	{"params", offsetof(gojinn_request, params), in_strings},
};

static bool read_member(gojinn_json *j, const member *m, gojinn_request *r) {
	void *to = (char *)r + m->at;
	switch (m->kind) {
	case in_text: return gojinn_json_string(j, to);
	case in_base64: return gojinn_json_base64(j, to);
	case in_strings: return gojinn_json_strings(j, to);
	case in_lists: return gojinn_json_lists(j, to);
	}
	return false;
}

// Reads a request from the server's JSON. Members of other names are skipped: a later
// server may write more of them. A member twice is a mistake.
static bool parse_request(const gojinn_buffer *json, gojinn_request *r) {
	const size_t count = sizeof members / sizeof *members;
	static char none[1];
	bool seen[sizeof(gojinn_request)] = {false}; // by the member's place: body has two names
	for (size_t i = 0; i < count; i++) {
		if (members[i].kind == in_text) ((gojinn_buffer *)((char *)r + members[i].at))->data = none;
	}
	gojinn_json j = gojinn_json_read(json->data, json->len);
	j.strict = true;
	gojinn_buffer name = {0};
	gojinn_json_object(&j);
	while (gojinn_json_member(&j, &name)) {
		size_t i = 0;
		while (i < count && !gojinn_equals(&name, members[i].name)) i++;
		if (i == count) {
			gojinn_json_skip(&j);
			continue;
		}
		if (seen[members[i].at]) return false;
		seen[members[i].at] = true;
		read_member(&j, &members[i], r);
	}
	gojinn_free(&name);
	return gojinn_json_end(&j);
}

static void add_field(gojinn_pairs *headers, const char *name, const char *value) {
	gojinn_pair *added = add_pair(headers);
	gojinn_add_text(&added->name, name);
	gojinn_add_text(&added->value, value);
}

void gojinn_response_header(gojinn_response *r, const char *name, const char *value) {
	add_field(&r->headers, name, value);
}

static void add_base64(gojinn_buffer *b, const char *bytes, size_t len) {
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = 0;
		for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < n ? (unsigned char)bytes[i + k] : 0);
		char group[4];
		for (size_t k = 0; k < 4; k++) group[k] = k <= n ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
		gojinn_add(b, group, 4);
	}
}

// Adds a member with any bytes: text as it is, other bytes in base64 and with _base64
// behind the name.
static void add_bytes(gojinn_buffer *b, const char *name, const char *bytes, size_t len) {
	gojinn_add_text(b, "\"");
	gojinn_add_text(b, name);
	if (gojinn_utf8_valid(bytes, len)) {
		gojinn_add_text(b, "\":");
		gojinn_json_add(b, bytes, len);
		return;
	}
	gojinn_add_text(b, "_base64\":\"");
	add_base64(b, bytes, len);
	gojinn_add_text(b, "\"");
}

// Finds the next field with the name of field i, in whatever capitals, from a place on.
static size_t next_same(const gojinn_pairs *headers, size_t i, size_t from) {
	const gojinn_buffer *name = &headers->list[i].name;
	while (from < headers->len && !same_field(&headers->list[from].name, name->data, name->len)) from++;
	return from;
}

// Adds header fields as an object. The values of one name become one member.
static void add_headers(gojinn_buffer *b, const gojinn_pairs *headers) {
	gojinn_add_text(b, "{");
	for (size_t i = 0; i < headers->len; i++) {
		if (next_same(headers, i, 0) < i) continue; // written with the first of its name
		const gojinn_pair *field = &headers->list[i];
		if (i > 0) gojinn_add_text(b, ",");
		gojinn_json_add(b, field->name.data, field->name.len);
		size_t other = next_same(headers, i, i + 1);
		bool list = other < headers->len;
		gojinn_add_text(b, list ? ":[" : ":");
		gojinn_json_add(b, field->value.data, field->value.len);
		for (; other < headers->len; other = next_same(headers, i, other + 1)) {
			gojinn_add_text(b, ",");
			gojinn_json_add(b, headers->list[other].value.data, headers->list[other].value.len);
		}
		if (list) gojinn_add_text(b, "]");
	}
	gojinn_add_text(b, "}");
}

int gojinn_serve(gojinn_handler *handler) {
	enum { room = 16 << 10 }; // what a request and a response take as a rule, in bytes
	gojinn_request request = {0};
	gojinn_response response = {.status = 200};
	gojinn_buffer in = {0}, out = {0};
	reserve(&out, room);
	reserve(&in, room);
	if (!gojinn_read_all(0, &in)) gojinn_die("reading the request");
	if (!parse_request(&in, &request)) gojinn_die("the request on stdin is not what the contract says");
	handler(&request, &response);
	gojinn_add_text(&out, "{\"status\":");
	gojinn_add_integer(&out, response.status);
	gojinn_add_text(&out, ",\"headers\":");
	add_headers(&out, &response.headers);
	gojinn_add_text(&out, ",");
	add_bytes(&out, "body", response.body.data, response.body.len);
	gojinn_add_text(&out, "}\n");
	if (!gojinn_write_all(1, out.data, out.len)) gojinn_die("writing the response");
	return 0;
}

// --- Key-value namespaces ---

gojinn_kv gojinn_kv_open(const char *space) {
	gojinn_kv kv = {0};
	if (space[0] != '/') gojinn_add_text(&kv.folder, "/kv/");
	gojinn_add_text(&kv.folder, space);
	return kv;
}

// Returns the path of a key's file. Letters, digits and -._~ are themselves, every other byte
// is %XX, and so are the dots of the names that mean something else.
static gojinn_buffer kv_path(const gojinn_kv *kv, const char *key) {
	static const char hex[] = "0123456789ABCDEF";
	bool reserved = strcmp(key, ".") == 0 || strcmp(key, "..") == 0 || strcmp(key, ".do") == 0;
	gojinn_buffer path = {0};
	add_buffer(&path, &kv->folder);
	gojinn_add_text(&path, "/");
	for (; *key != 0; key++) {
		unsigned char c = (unsigned char)*key;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
		             c == '~' || (c == '.' && !reserved);
		char escape[] = {'%', hex[c >> 4], hex[c & 15]};
		gojinn_add(&path, plain ? key : escape, plain ? 1 : 3);
	}
	return path;
}

static int kv_file(const gojinn_kv *kv, const char *key, int flags) {
	gojinn_buffer path = kv_path(kv, key);
	int fd = open(path.data, flags, 0600);
	gojinn_free(&path);
	return fd;
}

bool gojinn_kv_get(const gojinn_kv *kv, const char *key, gojinn_buffer *value) {
	clear(value);
	int fd = kv_file(kv, key, O_RDONLY);
	if (fd < 0) return false;
	bool read = gojinn_read_all(fd, value);
	int error = errno;
	close(fd);
	errno = error;
	return read;
}

// Writes a value. It is the closing of the file that makes it so, or fails.
static bool kv_write(int fd, const void *value, size_t len) {
	if (fd < 0) return false;
	bool written = gojinn_write_all(fd, value, len);
	int error = errno;
	bool closed = close(fd) == 0;
	if (!written) errno = error;
	return written && closed;
}

bool gojinn_kv_put(const gojinn_kv *kv, const char *key, const void *value, size_t len) {
	return kv_write(kv_file(kv, key, O_WRONLY | O_CREAT | O_TRUNC), value, len);
}

bool gojinn_kv_create(const gojinn_kv *kv, const char *key, const void *value, size_t len) {
	return kv_write(kv_file(kv, key, O_WRONLY | O_CREAT | O_EXCL), value, len);
}

bool gojinn_kv_delete(const gojinn_kv *kv, const char *key) {
	gojinn_buffer path = kv_path(kv, key);
	bool deleted = unlink(path.data) == 0;
	gojinn_free(&path);
	return deleted;
}

// What an operation has answered.
typedef struct {
	gojinn_buffer value, cursor, error;
} kv_answer;

static void read_keys(gojinn_json *j, gojinn_list *keys) {
	gojinn_buffer name = {0};
	gojinn_json_array(j);
	while (gojinn_json_element(j)) {
		gojinn_json_object(j);
		while (gojinn_json_member(j, &name)) {
			if (gojinn_equals(&name, "key")) {
				gojinn_json_string(j, add_element(keys));
			} else if (gojinn_equals(&name, "key_base64")) {
				gojinn_json_base64(j, add_element(keys));
			} else {
				gojinn_json_skip(j);
			}
		}
	}
	gojinn_free(&name);
}

static bool parse_kv_answer(const gojinn_buffer *text, kv_answer *answer, gojinn_list *keys) {
	gojinn_json j = gojinn_json_read(text->data, text->len);
	j.strict = true;
	gojinn_buffer name = {0};
	gojinn_json_object(&j);
	while (gojinn_json_member(&j, &name)) {
		if (gojinn_equals(&name, "value")) {
			gojinn_json_string(&j, &answer->value);
		} else if (gojinn_equals(&name, "keys") && keys != NULL) {
			read_keys(&j, keys);
		} else if (gojinn_equals(&name, "cursor")) {
			gojinn_json_string(&j, &answer->cursor);
		} else if (gojinn_equals(&name, "error")) {
			gojinn_json_string(&j, &answer->error);
		} else {
			gojinn_json_skip(&j);
		}
	}
	gojinn_free(&name);
	return gojinn_json_end(&j);
}

// Has the host do what files can't. False: errno.
static bool operate(const gojinn_kv *kv, gojinn_buffer *line, kv_answer *answer, gojinn_list *keys) {
	static const struct {
		const char *code;
		int error;
	} errors[] = {{"invalid", EINVAL}, {"not_integer", ERANGE}, {"read_only", EROFS}, {"too_large", EFBIG}, {"full", ENOSPC}};
	gojinn_buffer device = {0}, text = {0};
	add_buffer(&device, &kv->folder);
	gojinn_add_text(&device, "/.do");
	*answer = (kv_answer){0};
	bool asked = ask(device.data, line, &text);
	int error = asked ? 0 : errno;
	if (asked && !parse_kv_answer(&text, answer, keys)) {
		error = EIO;
	} else if (answer->error.len > 0) {
		error = EIO;
		for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
			if (gojinn_equals(&answer->error, errors[i].code)) error = errors[i].error;
		}
	}
	gojinn_free(&device);
	gojinn_free(&text);
	gojinn_free(&answer->error);
	if (error != 0) errno = error;
	return error == 0;
}

bool gojinn_kv_incr(const gojinn_kv *kv, const char *key, int64_t by, int64_t *sum) {
	kv_answer answer;
	gojinn_buffer line = {0};
	gojinn_add_text(&line, "{\"op\":\"incr\",");
	add_bytes(&line, "key", key, strlen(key));
	gojinn_add_text(&line, ",\"by\":");
	gojinn_add_integer(&line, by);
	gojinn_add_text(&line, "}");
	bool done = operate(kv, &line, &answer, NULL);
	if (done && sum != NULL) {
		gojinn_json j = gojinn_json_read(answer.value.data, answer.value.len);
		done = gojinn_json_integer(&j, sum) && gojinn_json_end(&j);
		if (!done) errno = EIO;
	}
	gojinn_free(&line);
	gojinn_free(&answer.value);
	gojinn_free(&answer.cursor);
	return done;
}

bool gojinn_kv_list(const gojinn_kv *kv, const char *prefix, gojinn_list *keys) {
	kv_answer answer = {0};
	bool done;
	do {
		gojinn_buffer line = {0};
		gojinn_add_text(&line, "{\"op\":\"list\",\"limit\":1000,\"cursor\":");
		gojinn_json_add(&line, answer.cursor.data, answer.cursor.len);
		gojinn_add_text(&line, ",");
		add_bytes(&line, "prefix", prefix, strlen(prefix));
		gojinn_add_text(&line, "}");
		gojinn_free(&answer.cursor);
		done = operate(kv, &line, &answer, keys);
		gojinn_free(&line);
		gojinn_free(&answer.value);
	} while (done && answer.cursor.len > 0);
	gojinn_free(&answer.cursor);
	return done;
}

// --- Outbound HTTP ---

void gojinn_http_request_header(gojinn_http_request *r, const char *name, const char *value) {
	add_field(&r->headers, name, value);
}

const gojinn_buffer *gojinn_http_response_header(const gojinn_http_response *r, const char *name) {
	return first_field(&r->headers, name);
}

static gojinn_buffer http_line(const gojinn_http_request *r) {
	const char *method = r->method != NULL ? r->method : "GET";
	gojinn_buffer line = {0};
	gojinn_add_text(&line, "{\"method\":");
	gojinn_json_add(&line, method, strlen(method));
	gojinn_add_text(&line, ",\"url\":");
	gojinn_json_add(&line, r->url, strlen(r->url));
	gojinn_add_text(&line, ",\"headers\":");
	add_headers(&line, &r->headers);
	if (r->body.len > 0) {
		gojinn_add_text(&line, ",");
		add_bytes(&line, "body", r->body.data, r->body.len);
	}
	gojinn_add_text(&line, "}");
	return line;
}

static bool parse_answer(const gojinn_buffer *answer, gojinn_http_response *r) {
	gojinn_json j = gojinn_json_read(answer->data, answer->len);
	j.strict = true;
	gojinn_buffer name = {0};
	int64_t status = 0;
	gojinn_json_object(&j);
	while (gojinn_json_member(&j, &name)) {
		if (gojinn_equals(&name, "status")) {
			gojinn_json_integer(&j, &status);
		} else if (gojinn_equals(&name, "headers")) {
			gojinn_json_lists(&j, &r->headers);
		} else if (gojinn_equals(&name, "body")) {
			gojinn_json_string(&j, &r->body);
		} else if (gojinn_equals(&name, "body_base64")) {
			gojinn_json_base64(&j, &r->body);
		} else if (gojinn_equals(&name, "error")) {
			gojinn_json_string(&j, &r->failure);
		} else if (gojinn_equals(&name, "reason")) {
			gojinn_json_string(&j, &r->reason);
		} else {
			gojinn_json_skip(&j);
		}
	}
	gojinn_free(&name);
	r->status = (int)status;
	return gojinn_json_end(&j) && status >= 0 && status <= UINT16_MAX && (status == 0) != (r->failure.len == 0);
}

bool gojinn_http_fetch(const gojinn_http_request *request, gojinn_http_response *response) {
	*response = (gojinn_http_response){0};
	clear(&response->body);
	clear(&response->failure);
	clear(&response->reason);
	gojinn_buffer line = http_line(request), answer = {0};
	const char *problem = NULL;
	if (!ask("/net/http", &line, &answer)) {
		problem = strerror(errno);
	} else if (!parse_answer(&answer, response)) {
		problem = "the answer is not what the contract says";
	}
	if (problem != NULL) {
		response->status = 0;
		clear(&response->failure);
		gojinn_add_text(&response->failure, "file");
		clear(&response->reason);
		gojinn_add_text(&response->reason, problem);
	}
	gojinn_free(&line);
	gojinn_free(&answer);
	return response->status != 0;
}

// --- Byte streams ---

static int open_socket(const char *folder, const char *address) {
	gojinn_buffer path = {0};
	gojinn_add_text(&path, folder);
	gojinn_add_text(&path, address);
	int fd = open(path.data, O_RDWR);
	gojinn_free(&path);
	return fd;
}

int gojinn_tcp_open(const char *address) { return open_socket("/net/tcp/", address); }
int gojinn_tls_open(const char *address) { return open_socket("/net/tls/", address); }

// --- JSON ---

void gojinn_json_add(gojinn_buffer *b, const char *text, size_t len) {
	gojinn_add_text(b, "\"");
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
		gojinn_add(b, text + plain, i - plain);
		gojinn_add(b, escape, n);
		plain = i + 1;
	}
	gojinn_add(b, text + plain, len - plain);
	gojinn_add_text(b, "\"");
}

void gojinn_json_object_add(gojinn_buffer *b, const char *name, const char *value) {
	bool begun = b->len > 0 && b->data[b->len - 1] == '"';
	gojinn_add_text(b, begun ? "," : "{");
	gojinn_json_add(b, name, strlen(name));
	gojinn_add_text(b, ":");
	gojinn_json_add(b, value, strlen(value));
}

bool gojinn_utf8_valid(const char *text, size_t len) {
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

gojinn_json gojinn_json_read(const char *text, size_t len) {
	return (gojinn_json){.at = text, .end = text + len, .first = true, .bad = !gojinn_utf8_valid(text, len)};
}

static bool bad(gojinn_json *j) {
	j->bad = true;
	j->at = j->end;
	return false;
}

char gojinn_json_peek(gojinn_json *j) {
	if (j->bad) return 0;
	while (j->at < j->end) {
		char c = *j->at;
		if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return c;
		j->at++;
	}
	return 0;
}

// Consumes c if it comes next.
static bool accept(gojinn_json *j, char c) {
	if (c == 0 || gojinn_json_peek(j) != c) return false;
	j->at++;
	return true;
}

static bool enter(gojinn_json *j, char open) {
	if (!accept(j, open) || j->depth == GOJINN_JSON_MAX_DEPTH) return bad(j);
	j->depth++;
	j->first = true;
	return true;
}

static void leave(gojinn_json *j) {
	j->depth--;
	j->first = false; // the value just left was one of its parent's
}

bool gojinn_json_object(gojinn_json *j) { return enter(j, '{'); }
bool gojinn_json_array(gojinn_json *j) { return enter(j, '['); }

// Steps to the next member or element, or leaves when close comes instead.
static bool next(gojinn_json *j, char close) {
	if (j->bad) return false;
	if (accept(j, close)) {
		leave(j);
		return false;
	}
	if (!j->first && !accept(j, ',')) return bad(j);
	j->first = false;
	return true;
}

bool gojinn_json_member(gojinn_json *j, gojinn_buffer *name) {
	if (!next(j, '}')) return false;
	return gojinn_json_string(j, name) && (accept(j, ':') || bad(j));
}

bool gojinn_json_element(gojinn_json *j) {
	return next(j, ']');
}

// Reads the four digits after \u. Returns a UTF-16 code unit, -1 when they are none.
static int32_t code_unit(gojinn_json *j) {
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

static void add_utf8(gojinn_buffer *b, uint32_t rune) {
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
	gojinn_add(b, bytes, n);
}

// Reads what follows the u of a \u escape.
static bool unicode_escape(gojinn_json *j, gojinn_buffer *string) {
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
	bool half = unit >= 0xD800 && unit <= 0xDFFF;
	if (half && j->strict) return bad(j);
	add_utf8(string, half ? 0xFFFD : (uint32_t)unit);
	return true;
}

static bool escape(gojinn_json *j, gojinn_buffer *string) {
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (j->at == j->end) return bad(j);
	char c = *j->at++;
	if (c == 'u') return unicode_escape(j, string);
	const char *found = memchr(from, c, sizeof from - 1);
	if (found == NULL) return bad(j);
	gojinn_add(string, to + (found - from), 1);
	return true;
}

bool gojinn_json_string(gojinn_json *j, gojinn_buffer *string) {
	clear(string);
	if (!accept(j, '"')) return bad(j);
	for (;;) {
		const char *plain = j->at;
		while (j->at < j->end && (unsigned char)*j->at >= 0x20 && *j->at != '"' && *j->at != '\\') j->at++;
		gojinn_add(string, plain, (size_t)(j->at - plain));
		if (j->at == j->end) return bad(j);
		char c = *j->at++;
		if (c == '"') return true;
		if (c != '\\') return bad(j); // a control character
		if (!escape(j, string)) return false;
	}
}

static bool skip_string(gojinn_json *j) {
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

static bool digits(gojinn_json *j) {
	const char *start = j->at;
	while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
	return j->at > start;
}

static bool skip_number(gojinn_json *j) {
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

static bool skip_word(gojinn_json *j, const char *word) {
	size_t len = strlen(word);
	if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0) return bad(j);
	j->at += len;
	return true;
}

static bool skip_scalar(gojinn_json *j) {
	switch (gojinn_json_peek(j)) {
	case '"': return skip_string(j);
	case 't': return skip_word(j, "true");
	case 'f': return skip_word(j, "false");
	case 'n': return skip_word(j, "null");
	case '-': case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9': return skip_number(j);
	}
	return bad(j);
}

bool gojinn_json_skip(gojinn_json *j) {
	static unsigned char arrays[GOJINN_JSON_MAX_DEPTH / 8 + 1]; // one bit for each level entered here
	unsigned outside = j->depth;
	do {
		// A value comes next.
		char c = gojinn_json_peek(j);
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
				if (gojinn_json_peek(j) != '"') return bad(j);
				if (!skip_string(j)) return false;
				if (!accept(j, ':')) return bad(j);
				break;
			}
			if (j->bad) return false;
		}
	} while (j->depth > outside);
	return true;
}

static int base64_digit(char c) {
	if (c >= 'A' && c <= 'Z') return c - 'A';
	if (c >= 'a' && c <= 'z') return c - 'a' + 26;
	if (c >= '0' && c <= '9') return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Decodes base64 (RFC 4648, section 4) in place: padded, no line ends, no bits set that
// stand for nothing.
static bool base64_decode(gojinn_buffer *b) {
	if (b->len % 4 != 0) return false;
	size_t out = 0;
	for (size_t i = 0; i < b->len; i += 4) {
		const char *group = b->data + i;
		int padding = i + 4 == b->len && group[3] == '=' ? 1 + (group[2] == '=') : 0;
		uint32_t bits = 0;
		for (int k = 0; k < 4; k++) {
			int digit = k < 4 - padding ? base64_digit(group[k]) : 0;
			if (digit < 0) return false;
			bits = bits << 6 | (uint32_t)digit;
		}
		if ((bits & ((1u << 8 * padding) - 1)) != 0) return false;
		for (int k = 0; k < 3 - padding; k++) b->data[out++] = (char)(bits >> (16 - 8 * k));
	}
	b->len = out;
	gojinn_add(b, NULL, 0);
	return true;
}

bool gojinn_json_base64(gojinn_json *j, gojinn_buffer *bytes) {
	return gojinn_json_string(j, bytes) && (base64_decode(bytes) || bad(j));
}

bool gojinn_json_integer(gojinn_json *j, int64_t *value) {
	char c = gojinn_json_peek(j);
	if (c != '-' && (c < '0' || c > '9')) return bad(j);
	const char *digit = j->at + (c == '-'), *start = digit;
	if (!skip_number(j)) return false;
	int64_t sum = 0; // below zero: there is one more of those
	for (; digit < j->at; digit++) {
		if (*digit < '0' || *digit > '9') return bad(j);
		if (sum < (INT64_MIN + (*digit - '0')) / 10) return bad(j);
		sum = sum * 10 - (*digit - '0');
	}
	if (start == digit || (c != '-' && sum == INT64_MIN)) return bad(j);
	*value = c == '-' ? sum : -sum;
	return true;
}

bool gojinn_json_boolean(gojinn_json *j, bool *value) {
	*value = gojinn_json_peek(j) == 't';
	return skip_word(j, *value ? "true" : "false");
}

static bool add_named(gojinn_json *j, gojinn_pairs *pairs, const gojinn_buffer *name) {
	gojinn_pair *added = add_pair(pairs);
	add_buffer(&added->name, name);
	return gojinn_json_string(j, &added->value);
}

bool gojinn_json_strings(gojinn_json *j, gojinn_pairs *pairs) {
	gojinn_buffer name = {0};
	gojinn_json_object(j);
	while (gojinn_json_member(j, &name)) add_named(j, pairs, &name);
	gojinn_free(&name);
	return !j->bad;
}

bool gojinn_json_lists(gojinn_json *j, gojinn_pairs *pairs) {
	gojinn_buffer name = {0};
	gojinn_json_object(j);
	while (gojinn_json_member(j, &name)) {
		gojinn_json_array(j);
		while (gojinn_json_element(j)) add_named(j, pairs, &name);
	}
	gojinn_free(&name);
	return !j->bad;
}

bool gojinn_json_end(gojinn_json *j) {
	return !j->bad && j->depth == 0 && gojinn_json_peek(j) == 0 && j->at == j->end;
}
