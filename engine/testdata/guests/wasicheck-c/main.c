// wasicheck exercises one area of WASI preview 1, named by its first argument,
// and prints "ok" or what differs from what POSIX and WASI say. What it needs to
// find is in ../README.md.
#include "check.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/libc-find-relpath.h>

static int differences;

void differs(const char *format, ...) {
	char line[512];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (n > (int)sizeof line - 2) n = sizeof line - 2;
	line[n] = '\n';
	(void)!write(2, line, (size_t)n + 1); // stdout may be closed
	differences++;
}

bool among(int number, const int *list) {
	for (; *list != 0; list++) {
		if (*list == number) return true;
	}
	return false;
}

bool among_or_zero(int number, const int *list) {
	for (; *list != -1; list++) {
		if (*list == number) return true;
	}
	return false;
}

void write_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) != 0) {
		differs("writing %s: errno %d", path, errno);
	}
}

void file_is(const char *path, const char *text) {
	char got[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof got - 1);
	if (n < 0) {
		differs("reading %s: errno %d", path, errno);
		return;
	}
	got[n] = 0;
	if (strlen(text) != (size_t)n || memcmp(got, text, (size_t)n) != 0) differs("%s: got \"%s\", want \"%s\"", path, got, text);
	OK(close(fd));
}

bool there(const char *path) {
	struct stat s;
	return lstat(path, &s) == 0;
}

__wasi_fd_t preopen(const char *path, const char **relative) {
	static char room[4096];
	char *inside = room;
	const char *prefix;
	int fd = __wasilibc_find_relpath(path, &prefix, &inside, sizeof room);
	if (fd < 0) differs("no preopened folder holds %s", path);
	*relative = inside;
	return (__wasi_fd_t)fd;
}

static const struct {
	const char *name;
	void (*run)(void);
} checks[] = {
	{"env", check_env},
	{"clock", check_clock},
	{"sleep", check_sleep},
	{"random", check_random},
	{"poll", check_poll},
	{"stdin", check_stdin},
	{"stdio", check_stdio},
	{"close-stdout", check_close_stdout},
	{"renumber", check_renumber},
	{"iovecs", check_iovecs},
	{"pointers", check_pointers},
	{"preopens", check_preopens},
	{"files", check_files},
	{"seek", check_seek},
	{"append", check_append},
	{"truncate", check_truncate},
	{"times", check_times},
	{"open", check_open},
	{"directories", check_directories},
	{"readdir", check_readdir},
	{"rename", check_rename},
	{"unlink", check_unlink},
	{"links", check_links},
	{"symlinks", check_symlinks},
	{"paths", check_paths},
	{"read-only", check_read_only},
	{"escape", check_escape},
	{"rights", check_rights},
	{"descriptors", check_descriptors},
};

int main(int argc, char **argv) {
	const char *name = argc > 1 ? argv[1] : "";
	if (strcmp(name, "list") == 0) {
		puts("args");
		for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) puts(checks[i].name);
		return 0;
	}
	bool known = strcmp(name, "args") == 0;
	if (known) check_args(argc, argv);
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
		if (strcmp(name, checks[i].name) != 0) continue;
		known = true;
		checks[i].run();
	}
	if (!known) differs("no check is called \"%s\"", name);
	if (differences > 0) return 1;
	// The checks that close stdout leave nothing to say "ok" to.
	if (write(1, "ok\n", 3) != 3) (void)!write(2, "ok\n", 3);
	return 0;
}
