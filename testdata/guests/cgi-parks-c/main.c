/* A program that reads its input before it asks for its environment: what it does before can be done
 * once for all requests. It does enough for that to be worth it.
 */
#include <stdio.h>
#include <stdlib.h>

static unsigned table[1 << 16];

int main(void) {
	for (unsigned round = 0; round < 50; round++)
		for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
			table[i] = table[i] * 1664525u + i + round;
	char body[4096];
	size_t n = fread(body, 1, sizeof body, stdin);
	const char *path = getenv("PATH_INFO");
	printf("Content-Type: text/plain\n\n%s %zu %u\n", path ? path : "-", n, table[4711]);
	return 0;
}
