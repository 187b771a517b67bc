// What the areas of wasicheck share.
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasi/api.h>

// Says what differs and makes the program fail.
__attribute__((format(printf, 1, 2))) void differs(const char *format, ...);

// The expression is true.
#define TRUE(expression) \
	do { \
		if (!(expression)) differs("line %d: not true: %s (errno %d)", __LINE__, #expression, errno); \
	} while (0)

// The call succeeds: it returns anything but -1 (or a null pointer).
#define OK(call) \
	do { \
		errno = 0; \
		if ((intptr_t)(call) == -1) differs("line %d: %s: errno %d", __LINE__, #call, errno); \
	} while (0)

// The call returns -1 with one of the error numbers.
#define FAILS(call, ...) \
	do { \
		errno = 0; \
		long result_ = (long)(call); \
		if (result_ != -1) \
			differs("line %d: %s: got %ld, want errno " #__VA_ARGS__, __LINE__, #call, result_); \
		else if (!among(errno, (const int[]){__VA_ARGS__, 0})) \
			differs("line %d: %s: got errno %d, want " #__VA_ARGS__, __LINE__, #call, errno); \
	} while (0)

// Both numbers are equal.
#define EQUAL(got, want) \
	do { \
		long long got_ = (long long)(got), want_ = (long long)(want); \
		if (got_ != want_) differs("line %d: %s: got %lld, want %lld", __LINE__, #got, got_, want_); \
	} while (0)

// A raw function of WASI returns one of the error numbers; 0 is success.
#define RAW(call, ...) \
	do { \
		int errno_ = (call); \
		if (!among_or_zero(errno_, (const int[]){__VA_ARGS__, -1})) differs("line %d: %s: got errno %d, want " #__VA_ARGS__, __LINE__, #call, errno_); \
	} while (0)

bool among(int number, const int *list);          // list ends with 0
bool among_or_zero(int number, const int *list);  // list ends with -1

// Writes or reads a whole file and compares.
void write_file(const char *path, const char *text);
void file_is(const char *path, const char *text);
bool there(const char *path); // without following a link

// Finds the preopened folder that holds path and the path in it.
__wasi_fd_t preopen(const char *path, const char **relative);

#define WRITABLE "/data"  // empty, changes stay
#define READ_ONLY "/ro"   // hello.txt holds "hello\n"; sub holds empty files a, b and c

// The areas, by the name of their check.
void check_args(int argc, char **argv);
void check_env(void);
void check_clock(void);
void check_sleep(void);
void check_random(void);
void check_poll(void);
void check_stdin(void);
void check_stdio(void);
void check_close_stdout(void);
void check_renumber(void);
void check_iovecs(void);
void check_pointers(void);
void check_preopens(void);
void check_files(void);
void check_seek(void);
void check_append(void);
void check_truncate(void);
void check_times(void);
void check_open(void);
void check_directories(void);
void check_readdir(void);
void check_rename(void);
void check_unlink(void);
void check_links(void);
void check_symlinks(void);
void check_paths(void);
void check_read_only(void);
void check_escape(void);
void check_rights(void);
void check_descriptors(void);

#endif
