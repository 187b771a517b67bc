// A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects
// to it and counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
//
// The versions of this function answer alike.
#include "gojinn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { max_url = 2000, key_len = 8 }; // characters; a key's are of 6 bits each

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void refuse(gojinn_response *response, int status, const char *message) {
	response->status = status;
	gojinn_response_header(response, "Content-Type", "application/json");
	gojinn_json_object_add(&response->body, "error", message);
	gojinn_add_text(&response->body, "}");
}

static bool parse(const gojinn_buffer *body, gojinn_buffer *url) {
	gojinn_buffer name = {0};
	gojinn_json j = gojinn_json_read(body->data, body->len);
	gojinn_json_object(&j);
	while (gojinn_json_member(&j, &name)) {
		if (gojinn_equals(&name, "url")) {
			gojinn_json_string(&j, url);
		} else {
			gojinn_json_skip(&j);
		}
	}
	return gojinn_json_end(&j);
}

static bool starts_with(const gojinn_buffer *b, const char *text) {
	return b->len >= strlen(text) && memcmp(b->data, text, strlen(text)) == 0;
}

// Takes what can be a Location as it is: ASCII without white space.
static bool is_url(const gojinn_buffer *url) {
	size_t scheme = starts_with(url, "https://") ? strlen("https://") : starts_with(url, "http://") ? strlen("http://") : 0;
	if (scheme == 0 || url->len == scheme || url->len > max_url) return false;
	for (size_t i = 0; i < url->len; i++) {
		if (url->data[i] <= ' ' || url->data[i] > '~') return false;
	}
	return true;
}

static bool is_key(const char *key, size_t len) {
	for (size_t i = 0; i < len; i++) {
		if (key[i] == 0 || strchr(alphabet, key[i]) == NULL) return false;
	}
	return len == key_len;
}

static void new_key(char key[key_len + 1]) {
	unsigned char random[key_len];
	int fd = open("/dev/urandom", O_RDONLY);
	if (fd < 0 || read(fd, random, sizeof random) != sizeof random) gojinn_die("there are no random numbers");
	close(fd);
	for (size_t i = 0; i < key_len; i++) key[i] = alphabet[random[i] & 63];
	key[key_len] = 0;
}

static void shorten(const gojinn_request *request, gojinn_response *response, const gojinn_kv *links) {
	if (!gojinn_equals(&request->method, "POST")) {
		gojinn_response_header(response, "Allow", "POST");
		refuse(response, 405, "method not allowed");
		return;
	}
	gojinn_buffer url = {0}, shortened = {0};
	if (!parse(&request->body, &url)) {
		refuse(response, 400, "the body must be a JSON object with a url");
		return;
	}
	if (!is_url(&url)) {
		refuse(response, 422, "url must be an http or https URL of at most 2000 characters");
		return;
	}
	char key[key_len + 1];
	bool stored;
	do {
		new_key(key);
		stored = gojinn_kv_create(links, key, url.data, url.len);
	} while (!stored && errno == EEXIST); // somebody has it already
	if (!stored) gojinn_die("the link could not be stored");
	gojinn_add(&shortened, request->scheme.data, request->scheme.len);
	gojinn_add_text(&shortened, "://");
	gojinn_add(&shortened, request->host.data, request->host.len);
	gojinn_add_text(&shortened, "/s/");
	gojinn_add_text(&shortened, key);
	response->status = 201;
	gojinn_response_header(response, "Content-Type", "application/json");
	gojinn_json_object_add(&response->body, "key", key);
	gojinn_json_object_add(&response->body, "short", shortened.data);
	gojinn_add_text(&response->body, "}");
}

static void look_up(const gojinn_request *request, gojinn_response *response, const gojinn_kv *links) {
	const char *key = starts_with(&request->path, "/s/") ? request->path.data + strlen("/s/") : "";
	size_t len = (size_t)(request->path.data + request->path.len - key);
	bool hits = len == key_len + strlen("/hits") && strcmp(key + key_len, "/hits") == 0;
	bool is_get = gojinn_equals(&request->method, "GET");
	if (!is_get && !gojinn_equals(&request->method, "HEAD")) {
		gojinn_response_header(response, "Allow", "GET, HEAD");
		refuse(response, 405, "method not allowed");
		return;
	}
	gojinn_buffer name = {0}, url = {0}, count = {0};
	if (hits) len = key_len;
	if (!is_key(key, len)) {
		refuse(response, 404, "no such link");
		return;
	}
	gojinn_add(&name, key, len);
	if (!gojinn_kv_get(links, name.data, &url)) {
		if (errno != ENOENT) gojinn_die("the link could not be read");
		refuse(response, 404, "no such link");
		return;
	}
	gojinn_add_text(&count, "hits/");
	gojinn_add_text(&count, name.data);
	if (hits) {
		gojinn_buffer n = {0};
		if (!gojinn_kv_get(links, count.data, &n)) {
			if (errno != ENOENT) gojinn_die("the hits could not be read");
			gojinn_add_text(&n, "0");
		}
		gojinn_response_header(response, "Content-Type", "application/json");
		gojinn_add_text(&response->body, "{\"hits\":");
		gojinn_add_text(&response->body, n.data);
		gojinn_add_text(&response->body, "}");
		return;
	}
	if (is_get && !gojinn_kv_incr(links, count.data, 1, NULL)) gojinn_die("the hit could not be counted");
	response->status = 302;
	gojinn_response_header(response, "Location", url.data);
	gojinn_response_header(response, "Cache-Control", "no-store");
}

static void handle(const gojinn_request *request, gojinn_response *response) {
	gojinn_kv links = gojinn_kv_open("links");
	if (gojinn_equals(&request->path, "/shorten")) {
		shorten(request, response, &links);
	} else {
		look_up(request, response, &links);
	}
}

int main(void) {
	return gojinn_serve(handle);
}
