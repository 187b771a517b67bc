// A file of its own: with this feature the compiler refuses to touch errno.
#include <stdint.h>
#include <stdlib.h>

void fill(void);

// One instruction that is a lot of work, again and again.
__attribute__((target("bulk-memory"))) void fill(void) {
	size_t size = 64 << 20;
	volatile char *block = malloc(size);
	if (block == NULL) exit(9);
	for (uint32_t i = 0;; i++) __builtin_memset((char *)block, (int)(i + (uint32_t)block[i % size]), size);
}
