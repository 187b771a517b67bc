/* A CGI program as they have been written since 1995: it asks its environment what it is to do, reads
 * as much as CONTENT_LENGTH says, and prints fields, an empty line and a document: its variables and
 * what it has read.
 *
 * QUERY_STRING may begin with "exit=N", which is its exit code then, or "fails", when it says so too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(void) {
	const char *query = getenv("QUERY_STRING");
	const char *length = getenv("CONTENT_LENGTH");
	size_t wanted = length ? strtoul(length, NULL, 10) : 0;
	char *body = malloc(wanted + 1);
	if (body == NULL || fread(body, 1, wanted, stdin) != wanted) {
		fprintf(stderr, "the body is shorter than %zu bytes\n", wanted);
		return 1;
	}
	int fails = query && strcmp(query, "fails") == 0;
	if (fails)
		printf("Status: 500 Internal Server Error\r\n");
	printf("Content-Type: text/plain; charset=utf-8\r\n");
	printf("X-Left: %s\r\n\r\n", getchar() == EOF ? "nothing" : "something");
	for (char **variable = environ; *variable; variable++)
		printf("%s\n", *variable);
	printf("\n");
	fwrite(body, 1, wanted, stdout);
	if (query && strncmp(query, "exit=", 5) == 0)
		return atoi(query + 5);
	return fails ? 255 : 0;
}
