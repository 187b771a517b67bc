/* Uses two sockets, named by the arguments, as C programs use files and sockets. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("line %d: %s: %s\n", __LINE__, #what, strerror(errno)); \
			return 1; \
		} \
	} while (0)

int main(int argc, char **argv) {
	char got[16] = {0};
	int fd[2];
	for (int i = 0; i < 2; i++) {
		fd[i] = open(argv[1 + i], O_RDWR);
		CHECK(fd[i] >= 0);
	}
	struct stat st;
	CHECK(fstat(fd[0], &st) == 0 && S_ISSOCK(st.st_mode));

	/* Files. */
	CHECK(write(fd[0], "hello", 5) == 5);
	CHECK(recv(fd[0], got, 1, MSG_PEEK) == 1 && got[0] == 'h');
	CHECK(recv(fd[0], got, 5, MSG_WAITALL) == 5 && memcmp(got, "hello", 5) == 0);

	/* Two at once. */
	struct pollfd p[2] = {{.fd = fd[0], .events = POLLIN}, {.fd = fd[1], .events = POLLIN}};
	CHECK(poll(p, 2, 20) == 0);
	CHECK(send(fd[1], "two", 3, 0) == 3);
	CHECK(poll(p, 2, 60000) == 1 && p[0].revents == 0 && (p[1].revents & POLLIN));
	size_t n = 0;
	while (n < 3) {
		ssize_t m = read(fd[1], got + n, 3 - n);
		CHECK(m > 0);
		n += m;
	}
	CHECK(memcmp(got, "two", 3) == 0);

	/* Without waiting. */
	CHECK(fcntl(fd[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK(read(fd[0], got, 1) == -1 && errno == EAGAIN);
	CHECK(fcntl(fd[0], F_SETFL, 0) == 0);

	/* The end. */
	CHECK(shutdown(fd[0], SHUT_WR) == 0);
	CHECK(read(fd[0], got, 1) == 0);
	CHECK(write(fd[0], "x", 1) == -1 && errno == EPIPE);
	CHECK(close(fd[0]) == 0);
	CHECK(close(fd[1]) == 0);
	puts("ok");
	return 0;
}
