#include "contract.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool write_all(int fd, const void *data, size_t len) {
	const char *at = data;
	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

void log_error(const char *message) {
	buffer line = {0};
	buffer_text(&line, "{\"level\":\"error\",\"msg\":");
	buffer_json(&line, message, strlen(message));
	buffer_text(&line, "}\n");
	write_all(2, line.data, line.len);
	free(line.data);
}

// For what is not the client's doing: the server answers 502 and logs the message.
static _Noreturn void die(const char *message) {
	log_error(message);
	exit(1);
}

static void read_all(int fd, buffer *b) {
	char chunk[16384];
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n == 0) return;
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) die("reading the request");
		buffer_add(b, chunk, (size_t)n);
	}
}

static int base64_digit(char c) {
	if (c >= 'A' && c <= 'Z') return c - 'A';
	if (c >= 'a' && c <= 'z') return c - 'a' + 26;
	if (c >= '0' && c <= '9') return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Decodes padded base64 (RFC 4648, section 4) in place. Returns false when it is none.
static bool base64_decode(buffer *b) {
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
		for (int k = 0; k < 3 - padding; k++) b->data[out++] = (char)(bits >> (16 - 8 * k));
	}
	b->len = out;
	return true;
}

static pair *pairs_add(pairs *p) {
	// Room doubles whenever the length is a power of two.
	if ((p->len & (p->len - 1)) == 0) {
		size_t room = p->len == 0 ? 1 : p->len * 2;
		pair *list = room <= SIZE_MAX / sizeof *list ? realloc(p->list, room * sizeof *list) : NULL;
		if (list == NULL) die("out of memory");
		p->list = list;
	}
	p->list[p->len] = (pair){0};
	return &p->list[p->len++];
}

// Reads an object whose members are lists of strings.
static void read_pairs(json *j, pairs *p) {
	buffer name = {0};
	json_object(j);
	while (json_member(j, &name)) {
		json_array(j);
		while (json_element(j)) {
			pair *added = pairs_add(p);
			buffer_add(&added->name, name.data, name.len);
			json_string(j, &added->value);
		}
	}
	free(name.data);
}

const buffer *first_value(const pairs *p, const char *name) {
	for (size_t i = 0; i < p->len; i++) {
		if (buffer_equals(&p->list[i].name, name)) return &p->list[i].value;
	}
	return NULL;
}

request read_request(void) {
	request r = {0};
	buffer text = {0}, name = {0};
	bool base64 = false;
	read_all(0, &text);
	json j = json_read(text.data, text.len);
	json_object(&j);
	while (json_member(&j, &name)) {
		if (buffer_equals(&name, "id")) {
			json_string(&j, &r.id);
		} else if (buffer_equals(&name, "method")) {
			json_string(&j, &r.method);
		} else if (buffer_equals(&name, "path")) {
			json_string(&j, &r.path);
		} else if (buffer_equals(&name, "query")) {
			read_pairs(&j, &r.query);
		} else if (buffer_equals(&name, "headers")) {
			read_pairs(&j, &r.headers);
		} else if (buffer_equals(&name, "body")) {
			json_string(&j, &r.body);
		} else if (buffer_equals(&name, "body_base64")) {
			json_string(&j, &r.body);
			base64 = true;
		} else {
			json_skip(&j);
		}
	}
	if (!json_end(&j) || (base64 && !base64_decode(&r.body))) die("the request on stdin is not what the contract says");
	free(name.data);
	free(text.data);
	return r;
}

int respond(int status, const header *headers, const buffer *body) {
	buffer out = {0};
	char code[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10), 0};
	buffer_text(&out, "{\"status\":");
	buffer_text(&out, code);
	buffer_text(&out, ",\"headers\":{");
	for (const header *h = headers; h->name != NULL; h++) {
		if (h != headers) buffer_text(&out, ",");
		buffer_json(&out, h->name, strlen(h->name));
		buffer_text(&out, ":");
		buffer_json(&out, h->value, strlen(h->value));
	}
	buffer_text(&out, "},\"body\":");
	buffer_json(&out, body->data, body->len);
	buffer_text(&out, "}\n");
	return write_all(1, out.data, out.len) ? 0 : 1;
}
