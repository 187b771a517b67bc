// A contact form's endpoint: parses a JSON or form body, validates it and answers
// 201, or 422 with an error for each field. With an argument, the folder it names
// keeps every accepted message as <request id>.json.
//
// The four versions of this function answer alike: ../contact/testdata/cases.json.
#include "gojinn.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { max_name = 100, max_email = 254, max_local_part = 64, max_message = 5000, max_id = 64 };

static const char *folder; // where messages are kept, NULL for nowhere

static void refuse(gojinn_response *response, int status, const char *message) {
	response->status = status;
	gojinn_json_object_add(&response->body, "error", message);
	gojinn_add_text(&response->body, "}");
}

typedef struct {
	gojinn_buffer text;
	bool mistyped; // JSON had something else than a string here
} field;

typedef struct {
	field email, message, name;
} form;

static field *form_field(form *f, const gojinn_buffer *name) {
	if (gojinn_equals(name, "email")) return &f->email;
	if (gojinn_equals(name, "message")) return &f->message;
	if (gojinn_equals(name, "name")) return &f->name;
	return NULL;
}

// Both parsers return NULL, or what is wrong with the body. A field that is
// given twice has its last value.
static const char *parse_json(const gojinn_buffer *body, form *f) {
	gojinn_buffer name = {0};
	gojinn_json j = gojinn_json_read(body->data, body->len);
	bool object = gojinn_json_peek(&j) == '{';
	if (!object) {
		gojinn_json_skip(&j);
	} else {
		gojinn_json_object(&j);
		while (gojinn_json_member(&j, &name)) {
			field *field = form_field(f, &name);
			char kind = gojinn_json_peek(&j);
			if (field != NULL && kind == '"') {
				gojinn_json_string(&j, &field->text);
				field->mistyped = false;
				continue;
			}
			gojinn_json_skip(&j);
			if (field == NULL) continue;
			field->text.len = 0;
			field->mistyped = kind != 'n'; // null is as good as absent
		}
	}
	free(name.data);
	if (!gojinn_json_end(&j)) return "body is not valid JSON";
	return object ? NULL : "body must be a JSON object";
}

static int hex_digit(char c) {
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	if (c >= 'A' && c <= 'F') return c - 'A' + 10;
	return -1;
}

// Replaces what out held by text decoded from application/x-www-form-urlencoded.
static bool percent_decode(const char *text, size_t len, gojinn_buffer *out) {
	out->len = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			if (len - i < 3) return false;
			int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
			if (high < 0 || low < 0) return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		gojinn_add(out, &c, 1);
	}
	return gojinn_utf8_valid(out->data, out->len);
}

static const char *parse_urlencoded(const gojinn_buffer *body, form *f) {
	gojinn_buffer name = {0}, value = {0};
	const char *at = body->data, *end = at + body->len, *mistake = NULL;
	while (at < end && mistake == NULL) {
		const char *stop = memchr(at, '&', (size_t)(end - at));
		if (stop == NULL) stop = end;
		const char *equals = memchr(at, '=', (size_t)(stop - at));
		const char *name_end = equals != NULL ? equals : stop, *value_start = equals != NULL ? equals + 1 : stop;
		if (!percent_decode(at, (size_t)(name_end - at), &name) ||
		    !percent_decode(value_start, (size_t)(stop - value_start), &value)) {
			mistake = "body is not a valid form";
		}
		field *field = form_field(f, &name);
		if (field != NULL) {
			field->text.len = 0;
			gojinn_add(&field->text, value.data, value.len);
		}
		at = stop < end ? stop + 1 : end;
	}
	free(name.data);
	free(value.data);
	return mistake;
}

static void trim(gojinn_buffer *b) {
	static const char space[] = " \t\r\n";
	size_t start = 0;
	while (b->len > 0 && memchr(space, b->data[b->len - 1], 4) != NULL) b->len--;
	while (start < b->len && memchr(space, b->data[start], 4) != NULL) start++;
	b->len -= start;
	if (start > 0) memmove(b->data, b->data + start, b->len);
}

// Counts Unicode code points.
static size_t characters(const gojinn_buffer *b) {
	size_t n = 0;
	for (size_t i = 0; i < b->len; i++) n += (b->data[i] & 0xC0) != 0x80;
	return n;
}

// Tells whether b holds a control character other than those in allowed.
static bool has_control(const gojinn_buffer *b, const char *allowed) {
	for (size_t i = 0; i < b->len; i++) {
		unsigned char c = (unsigned char)b->data[i];
		if ((c < 0x20 || c == 0x7F) && (c == 0 || strchr(allowed, c) == NULL)) return true;
	}
	return false;
}

static bool alphanumeric(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// A label of a domain name: 1 to 63 letters, digits and inner hyphens.
static bool is_label(const char *text, size_t len) {
	if (len == 0 || len > 63 || text[0] == '-' || text[len - 1] == '-') return false;
	for (size_t i = 0; i < len; i++) {
		if (!alphanumeric(text[i]) && text[i] != '-') return false;
	}
	return true;
}

// An address as HTML's <input type=email> takes it, with SMTP's limits on its length.
static bool is_email(const gojinn_buffer *b) {
	const char *at = b->len > 0 ? memchr(b->data, '@', b->len) : NULL;
	if (at == NULL || at == b->data || at - b->data > max_local_part || b->len > max_email) return false;
	for (const char *c = b->data; c < at; c++) {
		if (!alphanumeric(*c) && (*c == 0 || strchr(".!#$%&'*+/=?^_`{|}~-", *c) == NULL)) return false;
	}
	const char *label = at + 1, *end = b->data + b->len;
	for (;;) {
		const char *dot = memchr(label, '.', (size_t)(end - label));
		if (!is_label(label, (size_t)((dot != NULL ? dot : end) - label))) return false;
		if (dot == NULL) return true;
		label = dot + 1;
	}
}

// Each returns NULL or what is wrong with the field.
static const char *check_email(field *f) {
	trim(&f->text);
	if (f->mistyped) return "must be a string";
	if (f->text.len == 0) return "is required";
	return is_email(&f->text) ? NULL : "must be an email address";
}

static const char *check_message(field *f) {
	trim(&f->text);
	if (f->mistyped) return "must be a string";
	if (f->text.len == 0) return "is required";
	if (characters(&f->text) > max_message) return "must be at most 5000 characters";
	return has_control(&f->text, "\t\r\n") ? "must not contain control characters" : NULL;
}

static const char *check_name(field *f) {
	trim(&f->text);
	if (f->mistyped) return "must be a string";
	if (characters(&f->text) > max_name) return "must be at most 100 characters";
	return has_control(&f->text, "") ? "must not contain control characters" : NULL;
}

static void add_error(gojinn_buffer *errors, const char *name, const char *error) {
	if (error == NULL) return;
	gojinn_add_text(errors, errors->len == 0 ? "{\"errors\":{" : ",");
	gojinn_json_add(errors, name, strlen(name));
	gojinn_add_text(errors, ":");
	gojinn_json_add(errors, error, strlen(error));
}

// Returns the body that says what is wrong, empty when nothing is.
static gojinn_buffer form_errors(form *f) {
	gojinn_buffer errors = {0};
	add_error(&errors, "email", check_email(&f->email));
	add_error(&errors, "message", check_message(&f->message));
	add_error(&errors, "name", check_name(&f->name));
	if (errors.len > 0) gojinn_add_text(&errors, "}}");
	return errors;
}

static void add_member(gojinn_buffer *b, const char *name, const gojinn_buffer *value) {
	gojinn_add_text(b, b->len == 0 ? "{" : ",");
	gojinn_json_add(b, name, strlen(name));
	gojinn_add_text(b, ":");
	gojinn_json_add(b, value->data, value->len);
}

static gojinn_buffer form_json(const form *f, const gojinn_buffer *id) {
	gojinn_buffer b = {0};
	add_member(&b, "id", id);
	add_member(&b, "email", &f->email.text);
	if (f->name.text.len > 0) add_member(&b, "name", &f->name.text);
	add_member(&b, "message", &f->message.text);
	gojinn_add_text(&b, "}");
	return b;
}

// The id names a file, so it must be nothing but a name.
static bool is_id(const gojinn_buffer *id) {
	for (size_t i = 0; i < id->len; i++) {
		if (!alphanumeric(id->data[i]) && id->data[i] != '-') return false;
	}
	return id->len > 0 && id->len <= max_id;
}

static bool keep(const gojinn_buffer *id, const gojinn_buffer *message) {
	if (!is_id(id)) return false;
	gojinn_buffer path = {0};
	gojinn_add_text(&path, folder);
	gojinn_add_text(&path, "/");
	gojinn_add(&path, id->data, id->len);
	gojinn_add(&path, ".json", sizeof ".json");
	int fd = open(path.data, O_WRONLY | O_CREAT | O_EXCL, 0600);
	bool kept = false;
	if (fd >= 0) {
		kept = gojinn_write_all(fd, message->data, message->len);
		kept = close(fd) == 0 && kept;
		if (!kept) unlink(path.data);
	}
	free(path.data);
	return kept;
}

// Returns the media type without its parameters, in lower case.
static gojinn_buffer media_type(const gojinn_buffer *content_type) {
	gojinn_buffer type = {0};
	if (content_type == NULL || content_type->len == 0) return type;
	const char *end = memchr(content_type->data, ';', content_type->len);
	gojinn_add(&type, content_type->data, end != NULL ? (size_t)(end - content_type->data) : content_type->len);
	trim(&type);
	for (size_t i = 0; i < type.len; i++) {
		if (type.data[i] >= 'A' && type.data[i] <= 'Z') type.data[i] += 'a' - 'A';
	}
	return type;
}

static void handle(const gojinn_request *request, gojinn_response *response) {
	gojinn_response_header(response, "Content-Type", "application/json");
	if (!gojinn_equals(&request->method, "POST")) {
		gojinn_response_header(response, "Allow", "POST");
		refuse(response, 405, "method not allowed");
		return;
	}

	gojinn_buffer type = media_type(gojinn_request_header(request, "Content-Type"));
	bool is_json = gojinn_equals(&type, "application/json");
	if (!is_json && !gojinn_equals(&type, "application/x-www-form-urlencoded")) {
		refuse(response, 415, "content type must be application/json or application/x-www-form-urlencoded");
		return;
	}

	form f = {0};
	const gojinn_buffer *body = &request->body;
	const char *mistake = !gojinn_utf8_valid(body->data, body->len) ? "body is not valid UTF-8"
	                      : is_json                                 ? parse_json(body, &f)
	                                                                : parse_urlencoded(body, &f);
	if (mistake != NULL) {
		refuse(response, 400, mistake);
		return;
	}

	gojinn_buffer errors = form_errors(&f);
	if (errors.len > 0) {
		response->status = 422;
		response->body = errors;
		return;
	}

	gojinn_buffer message = form_json(&f, &request->id);
	if (folder != NULL && !keep(&request->id, &message)) {
		gojinn_log("error", "the message could not be kept");
		refuse(response, 500, "the message could not be kept");
		return;
	}
	response->status = 201;
	response->body = message;
}

int main(int argc, char **argv) {
	if (argc > 1) folder = argv[1];
	return gojinn_serve(handle);
}
