// The guest reads a number and a request line, and makes the request that many times, one after another.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
	static char number[32], line[65536], piece[65536];
	if (fgets(number, sizeof number, stdin) == NULL || fgets(line, sizeof line, stdin) == NULL) return 1;
	size_t length = strlen(line);
	unsigned long total = 0;
	int fd = open("/net/http", O_RDWR);
	if (fd < 0) return 2;
	for (long n = atol(number); n > 0; n--) {
		if (write(fd, line, length) != (ssize_t)length) return 3;
		ssize_t got;
		while ((got = read(fd, piece, sizeof piece)) > 0) total += (unsigned long)got;
		if (got < 0) return 4;
	}
	printf("%lu\n", total);
	return close(fd) == 0 ? 0 : 5;
}
