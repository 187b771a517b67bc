// Poll makes all requests that it reads, a line each, at the same time, and writes the answers in the order in which they come.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { most = 16 };

static int fail(const char *what) {
	perror(what);
	return 1;
}

int main(void) {
	static char line[65536], piece[4096];
	struct pollfd files[most];
	int n = 0, left;
	for (; n < most && fgets(line, sizeof line, stdin) != NULL; n++) {
		files[n] = (struct pollfd){.fd = open("/net/http", O_RDWR | O_NONBLOCK), .events = POLLIN};
		if (files[n].fd < 0) return fail("open");
		ssize_t length = (ssize_t)strlen(line);
		if (write(files[n].fd, line, (size_t)length) != length) return fail("write");
	}
	for (left = n; left > 0;) {
		if (poll(files, (nfds_t)n, -1) < 0) return fail("poll");
		for (int i = 0; i < n; i++) {
			if (files[i].fd < 0 || files[i].revents == 0) continue;
			ssize_t got = read(files[i].fd, piece, sizeof piece);
			if (got < 0 && errno == EAGAIN) continue;
			if (got < 0) return fail("read");
			if (got > 0) {
				fwrite(piece, 1, (size_t)got, stdout);
				if (fflush(stdout) != 0) return fail("write");
				continue;
			}
			if (close(files[i].fd) != 0) return fail("close");
			files[i].fd = -1;
			left--;
		}
	}
	return 0;
}
