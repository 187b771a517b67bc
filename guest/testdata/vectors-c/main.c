// Shows what the library makes of a request, and makes what it is told to of a response.
#include "gojinn.h"

#include <stdlib.h>
#include <string.h>

static const char *what = "";

static void add_member(gojinn_buffer *b, const char *name, const gojinn_buffer *value) {
	gojinn_json_add(b, name, strlen(name));
	gojinn_add_text(b, ":");
	gojinn_json_add(b, value->data, value->len);
}

static void add_pairs(gojinn_buffer *b, const char *member, const gojinn_pairs *pairs) {
	for (size_t i = 0; i < pairs->len; i++) {
		gojinn_add_text(b, "{\"member\":");
		gojinn_json_add(b, member, strlen(member));
		gojinn_add_text(b, ",");
		add_member(b, "name", &pairs->list[i].name);
		gojinn_add_text(b, ",");
		add_member(b, "value", &pairs->list[i].value);
		gojinn_add_text(b, "}");
	}
}

// The members that are text, then one object for each pair.
static void members(const gojinn_request *r, gojinn_buffer *b) {
	const struct {
		const char *name;
		const gojinn_buffer *value;
	} texts[] = {
		{"id", &r->id}, {"method", &r->method}, {"uri", &r->uri}, {"original_uri", &r->original_uri},
		{"scheme", &r->scheme}, {"host", &r->host}, {"proto", &r->proto}, {"path", &r->path},
		{"route", &r->route}, {"remote_addr", &r->remote_addr}, {"traceparent", &r->traceparent},
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (texts[i].value->data[texts[i].value->len] != 0) gojinn_die("no NUL at the end");
		gojinn_add_text(b, i == 0 ? "{" : ",");
		add_member(b, texts[i].name, texts[i].value);
	}
	gojinn_add_text(b, "}");
	add_pairs(b, "headers", &r->headers);
	add_pairs(b, "query", &r->queries);
	add_pairs(b, "params", &r->params);
}

static void lookups(const gojinn_request *r, gojinn_buffer *b) {
	const gojinn_buffer none = {.data = "none", .len = 4};
	const gojinn_buffer *header = gojinn_request_header(r, "x-ONE"), *query = gojinn_request_query(r, "one"), *param = gojinn_request_param(r, "one");
	gojinn_add_text(b, "{");
	add_member(b, "header", header != NULL ? header : &none);
	gojinn_add_text(b, ",");
	add_member(b, "query", query != NULL ? query : &none);
	gojinn_add_text(b, ",");
	add_member(b, "param", param != NULL ? param : &none);
	gojinn_add_text(b, "}");
}

static void respond(const gojinn_request *r, gojinn_response *response) {
	const gojinn_buffer *status = gojinn_request_query(r, "status");
	response->status = status != NULL ? atoi(status->data) : 0;
	for (size_t i = 0; i < r->queries.len; i++) {
		if (!gojinn_equals(&r->queries.list[i].name, "field")) continue;
		char *name = r->queries.list[i].value.data, *colon = strchr(name, ':');
		*colon = 0;
		gojinn_response_header(response, name, colon + 1);
	}
	gojinn_add(&response->body, r->body.data, r->body.len);
}

static void integer(const gojinn_request *r, gojinn_buffer *b) {
	gojinn_json j = gojinn_json_read(r->body.data, r->body.len);
	int64_t value = 0;
	gojinn_json_integer(&j, &value);
	if (gojinn_json_end(&j)) {
		gojinn_add_integer(b, value);
	} else {
		gojinn_add_text(b, "bad");
	}
}

static void boolean(const gojinn_request *r, gojinn_buffer *b) {
	gojinn_json j = gojinn_json_read(r->body.data, r->body.len);
	bool value = false;
	gojinn_json_boolean(&j, &value);
	gojinn_add_text(b, !gojinn_json_end(&j) ? "bad" : value ? "true" : "false");
}

static void handle(const gojinn_request *request, gojinn_response *response) {
	if (strcmp(what, "members") == 0) {
		members(request, &response->body);
	} else if (strcmp(what, "lookups") == 0) {
		lookups(request, &response->body);
	} else if (strcmp(what, "respond") == 0) {
		respond(request, response);
	} else if (strcmp(what, "integer") == 0) {
		integer(request, &response->body);
	} else if (strcmp(what, "boolean") == 0) {
		boolean(request, &response->body);
	} else {
		gojinn_die("an argument is missing");
	}
}

int main(int argc, char **argv) {
	if (argc > 1) what = argv[1];
	return gojinn_serve(handle);
}
