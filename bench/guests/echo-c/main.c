// Echo answers with the request's body. The body is the last member of the
// request object; a quotation mark inside a string is escaped, so the last
// place of the text searched for is where that member begins.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char head[] = "{\"headers\":{\"Content-Type\":\"application/octet-stream\"}";

int main(void) {
	size_t len = 0, room = 64 * 1024;
	char *text = malloc(room);
	for (;;) {
		if (text == NULL) return 1;
		ssize_t n = read(0, text + len, room - len - 1);
		if (n < 0) return 1;
		if (n == 0) break;
		len += (size_t)n;
		if (room - len == 1) text = realloc(text, room *= 2);
	}
	text[len] = 0;
	char *body = NULL;
	for (char *next = text; (next = strstr(next, ",\"body")) != NULL; next++) body = next;
	if (body == NULL) return 1;
	fwrite(head, 1, sizeof head - 1, stdout);
	fwrite(body, 1, len - (size_t)(body - text), stdout);
	return fflush(stdout) == 0 ? 0 : 1;
}
