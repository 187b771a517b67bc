// Standard streams, descriptors and what guests point to.
#include "check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// stdin holds "hello stdin\n".
void check_stdin(void) {
	char text[64];
	size_t n = 0;
	EQUAL(read(0, text, 0), 0);
	for (;;) {
		ssize_t got = read(0, text + n, n == 0 ? 5 : sizeof text - n);
		TRUE(got >= 0);
		if (got <= 0) break;
		n += (size_t)got;
	}
	TRUE(n == 12 && memcmp(text, "hello stdin\n", n) == 0);
	for (int i = 0; i < 3; i++) EQUAL(read(0, text, sizeof text), 0); // the end stays the end
	FAILS(write(0, "x", 1), EBADF, ENOTCAPABLE, EACCES, EPERM);
}

void check_stdio(void) {
	char text[1];
	FAILS(read(1, text, 1), EBADF, ENOTCAPABLE, EACCES, EPERM);
	FAILS(read(2, text, 1), EBADF, ENOTCAPABLE, EACCES, EPERM);
	EQUAL(write(1, "", 0), 0);
	EQUAL(write(2, "", 0), 0);
	for (int fd = 0; fd <= 2; fd++) {
		__wasi_fdstat_t s;
		RAW(__wasi_fd_fdstat_get((__wasi_fd_t)fd, &s), 0);
		TRUE(s.fs_filetype != __WASI_FILETYPE_REGULAR_FILE && s.fs_filetype != __WASI_FILETYPE_DIRECTORY);
		FAILS(lseek(fd, 0, SEEK_CUR), ESPIPE, ENOTCAPABLE, EBADF, EINVAL);
		FAILS(ftruncate(fd, 0), EINVAL, ESPIPE, ENOTCAPABLE, EBADF);
		TRUE(!isatty(fd) || s.fs_filetype == __WASI_FILETYPE_CHARACTER_DEVICE);
	}
	FAILS(write(99, "x", 1), EBADF);
	FAILS(read(99, text, 1), EBADF);
	FAILS(close(99), EBADF);
	FAILS(write(-1, "x", 1), EBADF);
}

void check_close_stdout(void) {
	OK(close(1));
	FAILS(write(1, "x", 1), EBADF);
	FAILS(close(1), EBADF);
	struct stat s;
	FAILS(fstat(1, &s), EBADF);
}

// Afterwards stdout is a file: "ok" goes to stderr.
void check_renumber(void) {
	int fd = open(WRITABLE "/out", O_RDWR | O_CREAT | O_EXCL, 0666);
	int other = open(WRITABLE "/other", O_RDWR | O_CREAT | O_EXCL, 0666);
	TRUE(fd > 2 && other > 2 && fd != other);
	RAW(__wasi_fd_renumber((__wasi_fd_t)fd, (__wasi_fd_t)other), 0);
	FAILS(write(fd, "x", 1), EBADF);
	EQUAL(write(other, "into out\n", 9), 9);
	file_is(WRITABLE "/out", "into out\n");
	file_is(WRITABLE "/other", "");

	RAW(__wasi_fd_renumber((__wasi_fd_t)other, 1), 0);
	EQUAL(write(1, "through 1\n", 10), 10);
	file_is(WRITABLE "/out", "into out\nthrough 1\n");
	RAW(__wasi_fd_renumber(1, 1), 0);
	RAW(__wasi_fd_renumber(99, 1), EBADF);
	EQUAL(write(1, "still\n", 6), 6);
	OK(close(1));
	file_is(WRITABLE "/out", "into out\nthrough 1\nstill\n");
}

void check_iovecs(void) {
	int fd = open(WRITABLE "/iovecs", O_RDWR | O_CREAT | O_EXCL, 0666);
	struct iovec out[4] = {{"ab", 2}, {"", 0}, {"cdef", 4}, {"g", 1}};
	EQUAL(writev(fd, out, 4), 7);
	EQUAL(lseek(fd, 0, SEEK_SET), 0);
	char a[3], b[1], c[9];
	struct iovec in[4] = {{a, 3}, {NULL, 0}, {b, 1}, {c, 9}};
	EQUAL(readv(fd, in, 4), 7);
	TRUE(memcmp(a, "abc", 3) == 0 && b[0] == 'd' && memcmp(c, "efg", 3) == 0);
	EQUAL(readv(fd, in, 4), 0);
	EQUAL(pwrite(fd, "XY", 2, 1), 2);
	EQUAL(pread(fd, c, 4, 0), 4);
	TRUE(memcmp(c, "aXYd", 4) == 0);
	EQUAL(pread(fd, c, 4, 100), 0);

	// Overlapping buffers are the guest's own business: no more than they hold.
	char overlap[8] = "........";
	struct iovec same[2] = {{overlap, 4}, {overlap + 2, 4}};
	EQUAL(lseek(fd, 0, SEEK_SET), 0);
	ssize_t n = readv(fd, same, 2);
	TRUE(n == 7);
	TRUE(memcmp(overlap + 6, "..", 2) == 0);

	// As many as a hostile program likes: a lot, or an error, or only some of them.
	static __wasi_ciovec_t many[65536];
	for (size_t i = 0; i < 65536; i++) many[i] = (__wasi_ciovec_t){(const uint8_t *)"z", 1};
	__wasi_size_t written = 0;
	int got = __wasi_fd_write((__wasi_fd_t)fd, many, 65536, &written);
	TRUE((got == 0 && written > 0 && written <= 65536) || got == EINVAL);
	OK(close(fd));
}

// Pointers that lead out of memory are errors, not traps and not reads of the host's memory.
void check_pointers(void) {
	uint8_t *const end = (uint8_t *)(__builtin_wasm_memory_size(0) * 65536);
	int fd = open(WRITABLE "/pointers", O_RDWR | O_CREAT | O_EXCL, 0666);
	write_file(WRITABLE "/text", "0123456789");
	__wasi_fd_t f = (__wasi_fd_t)fd;
	__wasi_size_t n;
	struct {
		uint8_t *at;
		__wasi_size_t len;
	} wild[] = {{end, 1}, {end - 1, 2}, {(uint8_t *)UINT32_MAX, 1}, {(uint8_t *)UINT32_MAX, UINT32_MAX}, {(uint8_t *)16, UINT32_MAX}, {end - 16, UINT32_MAX - 8}};
	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		__wasi_ciovec_t out = {wild[i].at, wild[i].len};
		__wasi_iovec_t in = {wild[i].at, wild[i].len};
		RAW(__wasi_fd_write(f, &out, 1, &n), EFAULT, EINVAL);
		RAW(__wasi_fd_pwrite(f, &out, 1, 0, &n), EFAULT, EINVAL);
		RAW(__wasi_random_get(wild[i].at, wild[i].len), EFAULT, EINVAL);
		RAW(__wasi_fd_readdir(3, wild[i].at, wild[i].len, 0, &n), EFAULT, EINVAL);
		int text = open(WRITABLE "/text", O_RDONLY);
		RAW(__wasi_fd_read((__wasi_fd_t)text, &in, 1, &n), EFAULT, EINVAL);
		OK(close(text));
	}
	RAW(__wasi_fd_prestat_dir_name(3, end, 64), EFAULT, EINVAL);
	__wasi_ciovec_t one = {(const uint8_t *)"x", 1};
	RAW(__wasi_fd_write(f, (__wasi_ciovec_t *)end, 1, &n), EFAULT, EINVAL);
	RAW(__wasi_fd_write(f, (__wasi_ciovec_t *)(end - 4), 1, &n), EFAULT, EINVAL);
	RAW(__wasi_fd_write(f, &one, UINT32_MAX, &n), EFAULT, EINVAL);
	RAW(__wasi_fd_write(f, &one, 0x20000001, &n), EFAULT, EINVAL); // × 8 overflows to 8
	RAW(__wasi_fd_write(f, &one, 1, (__wasi_size_t *)end), EFAULT, EINVAL);
	RAW(__wasi_fd_fdstat_get(f, (__wasi_fdstat_t *)(end - 4)), EFAULT, EINVAL);
	RAW(__wasi_fd_filestat_get(f, (__wasi_filestat_t *)(end - 4)), EFAULT, EINVAL);
	RAW(__wasi_fd_seek(f, 0, __WASI_WHENCE_CUR, (__wasi_filesize_t *)(end - 4)), EFAULT, EINVAL);
	RAW(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, (__wasi_timestamp_t *)(end - 4)), EFAULT, EINVAL);
	RAW(__wasi_args_get((uint8_t **)end, end), EFAULT, EINVAL);
	RAW(__wasi_environ_sizes_get((__wasi_size_t *)end, &n), EFAULT, EINVAL);
	RAW(__wasi_poll_oneoff((__wasi_subscription_t *)end, (__wasi_event_t *)16, 1, &n), EFAULT, EINVAL);
	RAW(__wasi_poll_oneoff((__wasi_subscription_t *)16, (__wasi_event_t *)16, UINT32_MAX, &n), EFAULT, EINVAL, EOVERFLOW);
	RAW(__wasi_poll_oneoff((__wasi_subscription_t *)16, (__wasi_event_t *)16, 0x05555556, &n), EFAULT, EINVAL, EOVERFLOW); // × 48 overflows to 32
	OK(close(fd));
}

void check_preopens(void) {
	__wasi_fd_t fd = 3;
	int found = 0;
	for (;; fd++) {
		__wasi_prestat_t p;
		int error = __wasi_fd_prestat_get(fd, &p);
		if (error == EBADF) break;
		EQUAL(error, 0);
		if (error != 0) break;
		EQUAL(p.tag, __WASI_PREOPENTYPE_DIR);
		char name[64] = {0};
		TRUE(p.u.dir.pr_name_len > 0 && p.u.dir.pr_name_len < sizeof name);
		RAW(__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, p.u.dir.pr_name_len), 0);
		TRUE(name[0] == '/');
		if (p.u.dir.pr_name_len > 1) RAW(__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, p.u.dir.pr_name_len - 1), ENAMETOOLONG);
		__wasi_fdstat_t s;
		RAW(__wasi_fd_fdstat_get(fd, &s), 0);
		EQUAL(s.fs_filetype, __WASI_FILETYPE_DIRECTORY);
		found++;
	}
	TRUE(found > 0);
	for (__wasi_fd_t standard = 0; standard < 3; standard++) {
		__wasi_prestat_t p;
		RAW(__wasi_fd_prestat_get(standard, &p), EBADF, ENOTSUP, EINVAL);
	}
	// A folder that was opened later is none of them.
	int dir = open(READ_ONLY "/sub", O_RDONLY | O_DIRECTORY);
	__wasi_prestat_t p;
	TRUE(dir >= 0);
	RAW(__wasi_fd_prestat_get((__wasi_fd_t)dir, &p), EBADF, ENOTSUP, EINVAL);
	OK(close(dir));
}
