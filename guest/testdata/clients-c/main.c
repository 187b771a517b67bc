// Uses a capability as the URL's parameters say.
#include "gojinn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fetch(const gojinn_request *request, gojinn_response *response) {
	const gojinn_buffer *method = gojinn_request_query(request, "method"), *url = gojinn_request_query(request, "url");
	gojinn_http_request ask = {.method = method != NULL ? method->data : NULL, .url = url != NULL ? url->data : "", .body = request->body};
	for (size_t i = 0; i < request->queries.len; i++) {
		if (!gojinn_equals(&request->queries.list[i].name, "field")) continue;
		char *name = request->queries.list[i].value.data, *colon = strchr(name, ':');
		*colon = 0;
		gojinn_http_request_header(&ask, name, colon + 1);
	}
	gojinn_http_response answer;
	if (!gojinn_http_fetch(&ask, &answer)) {
		response->status = 500;
		gojinn_response_header(response, "X-Failure", answer.failure.data);
		response->body = answer.reason;
		return;
	}
	const gojinn_buffer *header = gojinn_http_response_header(&answer, "x-ONE");
	char count[] = {(char)('0' + answer.headers.len), 0};
	response->status = answer.status;
	gojinn_response_header(response, "X-Header", header != NULL ? header->data : "none");
	gojinn_response_header(response, "X-Headers", count);
	response->body = answer.body;
}

static bool list(const gojinn_kv *space, const char *prefix, gojinn_buffer *b) {
	gojinn_list keys = {0};
	if (!gojinn_kv_list(space, prefix, &keys)) return false;
	for (size_t i = 0; i < keys.len; i++) {
		if (i > 0) gojinn_add_text(b, "\n");
		gojinn_add(b, keys.list[i].data, keys.list[i].len);
	}
	return true;
}

// Does an operation of which "no" is no failure when errno is this.
static bool maybe(bool done, int no, gojinn_buffer *b) {
	if (!done && errno != no) return false;
	gojinn_add_text(b, done ? "yes" : "no");
	return true;
}

static bool operate(const gojinn_request *request, gojinn_buffer *b) {
	const gojinn_buffer *name = gojinn_request_query(request, "namespace"), *key_value = gojinn_request_query(request, "key");
	const gojinn_buffer *op = gojinn_request_query(request, "op"), *body = &request->body;
	const char *key = key_value != NULL ? key_value->data : "";
	gojinn_kv space = gojinn_kv_open(name != NULL ? name->data : "test");
	if (op == NULL) gojinn_die("which operation?");
	if (gojinn_equals(op, "get")) {
		bool found = gojinn_kv_get(&space, key, b);
		if (!found && errno == ENOENT) gojinn_add_text(b, "none");
		return found || errno == ENOENT;
	}
	if (gojinn_equals(op, "put")) {
		if (!gojinn_kv_put(&space, key, body->data, body->len)) return false;
		gojinn_add_text(b, "done");
		return true;
	}
	if (gojinn_equals(op, "create")) return maybe(gojinn_kv_create(&space, key, body->data, body->len), EEXIST, b);
	if (gojinn_equals(op, "delete")) return maybe(gojinn_kv_delete(&space, key), ENOENT, b);
	if (gojinn_equals(op, "incr")) {
		const gojinn_buffer *by = gojinn_request_query(request, "by");
		int64_t sum = 0;
		if (!gojinn_kv_incr(&space, key, by != NULL ? strtoll(by->data, NULL, 10) : 0, &sum)) return false;
		gojinn_add_integer(b, sum);
		return true;
	}
	if (gojinn_equals(op, "list")) return list(&space, key, b);
	gojinn_die("which operation?");
}

// Says something and takes what comes back.
static bool stream(const gojinn_request *request, bool secure, gojinn_buffer *b) {
	const gojinn_buffer *address = gojinn_request_query(request, "address");
	const char *text = address != NULL ? address->data : "";
	int fd = secure ? gojinn_tls_open(text) : gojinn_tcp_open(text);
	return fd >= 0 && gojinn_write_all(fd, request->body.data, request->body.len) && gojinn_read_all(fd, b) && close(fd) == 0;
}

static void handle(const gojinn_request *request, gojinn_response *response) {
	const gojinn_buffer *what = gojinn_request_query(request, "do");
	if (what != NULL && gojinn_equals(what, "fetch")) {
		fetch(request, response);
	} else if (what != NULL && gojinn_equals(what, "kv")) {
		if (operate(request, &response->body)) return;
		response->status = 500;
		gojinn_add_text(&response->body, strerror(errno));
	} else if (what != NULL && (gojinn_equals(what, "tcp") || gojinn_equals(what, "tls"))) {
		if (stream(request, gojinn_equals(what, "tls"), &response->body)) return;
		response->status = 500;
		gojinn_add_text(&response->body, strerror(errno));
	} else {
		gojinn_die("what is to be done?");
	}
}

int main(void) {
	return gojinn_serve(handle);
}
