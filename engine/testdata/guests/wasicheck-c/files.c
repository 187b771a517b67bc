// Regular files.
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void check_files(void) {
	const char *path = WRITABLE "/file";
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0666);
	TRUE(fd > 2);
	struct stat s;
	OK(fstat(fd, &s));
	EQUAL(s.st_size, 0);
	TRUE(S_ISREG(s.st_mode));
	EQUAL(write(fd, "hello world\n", 12), 12);
	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(fstat(fd, &s));
	EQUAL(s.st_size, 12);
	EQUAL(s.st_nlink, 1);
	OK(close(fd));
	FAILS(write(fd, "x", 1), EBADF);
	file_is(path, "hello world\n");

	// Two descriptors of one file: one content, two positions.
	int a = open(path, O_RDONLY), b = open(path, O_RDWR);
	char text[16];
	EQUAL(read(a, text, 5), 5);
	EQUAL(write(b, "HELLO", 5), 5);
	EQUAL(pread(a, text, 5, 0), 5);
	TRUE(memcmp(text, "HELLO", 5) == 0);
	EQUAL(lseek(a, 0, SEEK_CUR), 5);
	struct stat t;
	OK(fstat(a, &s));
	OK(fstat(b, &t));
	EQUAL(s.st_ino, t.st_ino);
	EQUAL(s.st_dev, t.st_dev);
	OK(close(a));
	OK(close(b));

	// A file that is unlinked lives on while it is open.
	a = open(path, O_RDWR);
	OK(unlink(path));
	TRUE(!there(path));
	EQUAL(pread(a, text, 5, 6), 5);
	TRUE(memcmp(text, "world", 5) == 0);
	EQUAL(pwrite(a, "W", 1, 6), 1);
	OK(close(a));

	// A megabyte, with a hole.
	static char block[65536];
	fd = open(WRITABLE "/large", O_RDWR | O_CREAT, 0666);
	for (int i = 0; i < 16; i++) {
		memset(block, 'a' + i, sizeof block);
		if (i == 7) {
			OK(lseek(fd, sizeof block, SEEK_CUR));
			continue;
		}
		EQUAL(write(fd, block, sizeof block), sizeof block);
	}
	for (int i = 0; i < 16; i++) {
		EQUAL(pread(fd, block, sizeof block, i * (off_t)sizeof block), sizeof block);
		TRUE(block[0] == (i == 7 ? 0 : 'a' + i) && memcmp(block, block + 1, sizeof block - 1) == 0);
	}
	OK(close(fd));
}

void check_seek(void) {
	write_file(WRITABLE "/seek", "0123456789");
	int fd = open(WRITABLE "/seek", O_RDWR);
	char c;
	EQUAL(lseek(fd, 3, SEEK_SET), 3);
	EQUAL(read(fd, &c, 1), 1);
	EQUAL(c, '3');
	EQUAL(lseek(fd, -2, SEEK_CUR), 2);
	EQUAL(lseek(fd, -1, SEEK_END), 9);
	EQUAL(read(fd, &c, 1), 1);
	EQUAL(c, '9');
	EQUAL(read(fd, &c, 1), 0);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	FAILS(lseek(fd, -100, SEEK_CUR), EINVAL);
	FAILS(lseek(fd, -11, SEEK_END), EINVAL);
	EQUAL(lseek(fd, 0, SEEK_CUR), 10); // a seek that fails moves nothing
	__wasi_filesize_t at = 99;
	RAW(__wasi_fd_tell((__wasi_fd_t)fd, &at), 0);
	EQUAL(at, 10);
	RAW(__wasi_fd_seek((__wasi_fd_t)fd, 0, (__wasi_whence_t)3, &at), EINVAL);
	FAILS(lseek(fd, INT64_MAX, SEEK_CUR), EINVAL, EOVERFLOW);

	EQUAL(lseek(fd, 20, SEEK_SET), 20); // beyond the end: reads nothing, a write makes a hole
	EQUAL(read(fd, &c, 1), 0);
	EQUAL(write(fd, "x", 1), 1);
	struct stat s;
	OK(fstat(fd, &s));
	EQUAL(s.st_size, 21);
	EQUAL(pread(fd, &c, 1, 15), 1);
	EQUAL(c, 0);
	FAILS(pread(fd, &c, 1, -1), EINVAL);
	FAILS(pwrite(fd, &c, 1, -1), EINVAL);
	OK(close(fd));
	FAILS(lseek(fd, 0, SEEK_SET), EBADF);
	RAW(__wasi_fd_seek(3, 0, __WASI_WHENCE_SET, &at), EBADF, EISDIR, EINVAL, ENOTCAPABLE, ESPIPE); // a folder
}

void check_append(void) {
	write_file(WRITABLE "/append", "one\n");
	int fd = open(WRITABLE "/append", O_RDWR | O_APPEND);
	EQUAL(write(fd, "two\n", 4), 4);
	EQUAL(lseek(fd, 0, SEEK_SET), 0);
	EQUAL(write(fd, "three\n", 6), 6); // still at the end
	char text[4];
	EQUAL(pread(fd, text, 4, 0), 4);
	TRUE(memcmp(text, "one\n", 4) == 0);
	TRUE(fcntl(fd, F_GETFL) & O_APPEND);
	OK(close(fd));
	file_is(WRITABLE "/append", "one\ntwo\nthree\n");

	// The flag can be set and taken away later.
	fd = open(WRITABLE "/append", O_RDWR);
	TRUE(!(fcntl(fd, F_GETFL) & O_APPEND));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	TRUE(fcntl(fd, F_GETFL) & O_APPEND);
	EQUAL(write(fd, "four\n", 5), 5);
	OK(fcntl(fd, F_SETFL, 0));
	EQUAL(lseek(fd, 0, SEEK_SET), 0);
	EQUAL(write(fd, "ONE", 3), 3);
	OK(close(fd));
	file_is(WRITABLE "/append", "ONE\ntwo\nthree\nfour\n");

	// Two that append do not overwrite each other.
	int a = open(WRITABLE "/both", O_WRONLY | O_CREAT | O_APPEND, 0666), b = open(WRITABLE "/both", O_WRONLY | O_APPEND);
	EQUAL(write(a, "a1 ", 3), 3);
	EQUAL(write(b, "b1 ", 3), 3);
	EQUAL(write(a, "a2 ", 3), 3);
	OK(close(a));
	OK(close(b));
	file_is(WRITABLE "/both", "a1 b1 a2 ");
}

void check_truncate(void) {
	write_file(WRITABLE "/truncate", "0123456789");
	int fd = open(WRITABLE "/truncate", O_RDWR);
	EQUAL(lseek(fd, 8, SEEK_SET), 8);
	OK(ftruncate(fd, 4));
	EQUAL(lseek(fd, 0, SEEK_CUR), 8); // the position stays
	char text[16];
	EQUAL(read(fd, text, 1), 0);
	OK(ftruncate(fd, 8));
	EQUAL(pread(fd, text, 16, 0), 8);
	TRUE(memcmp(text, "0123\0\0\0\0", 8) == 0);
	OK(ftruncate(fd, 0));
	struct stat s;
	OK(fstat(fd, &s));
	EQUAL(s.st_size, 0);
	FAILS(ftruncate(fd, -1), EINVAL, EFBIG);
	OK(close(fd));
	fd = open(WRITABLE "/truncate", O_RDONLY);
	FAILS(ftruncate(fd, 1), EBADF, EINVAL, ENOTCAPABLE, EACCES, EPERM);
	OK(close(fd));

	write_file(WRITABLE "/truncate", "0123456789");
	fd = open(WRITABLE "/truncate", O_WRONLY | O_TRUNC);
	OK(fstat(fd, &s));
	EQUAL(s.st_size, 0);
	OK(close(fd));

	// Allocating makes a file longer, never shorter; some file systems cannot.
	write_file(WRITABLE "/truncate", "0123");
	fd = open(WRITABLE "/truncate", O_RDWR);
	int error = posix_fallocate(fd, 0, 100);
	if (error == 0) {
		OK(fstat(fd, &s));
		EQUAL(s.st_size, 100);
		EQUAL(posix_fallocate(fd, 0, 10), 0);
		OK(fstat(fd, &s));
		EQUAL(s.st_size, 100);
		EQUAL(pread(fd, text, 4, 0), 4);
		TRUE(memcmp(text, "0123", 4) == 0);
	} else {
		TRUE(error == ENOTSUP || error == ENOSYS);
	}
	EQUAL(posix_fallocate(fd, 0, 0), EINVAL);
	error = posix_fadvise(fd, 0, 10, POSIX_FADV_WILLNEED);
	TRUE(error == 0 || error == ENOSYS);
	OK(close(fd));
}

static int64_t nanoseconds(struct timespec t) { return t.tv_sec * 1000000000ll + t.tv_nsec; }

void check_times(void) {
	const char *path = WRITABLE "/times";
	write_file(path, "x");
	struct stat s;
	OK(stat(path, &s));
	TRUE(llabs(time(NULL) - s.st_mtim.tv_sec) < 100);

	// Whole microseconds: not every file system keeps nanoseconds.
	struct timespec set[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456000}, {.tv_sec = 1500000000, .tv_nsec = 654321000}};
	OK(utimensat(AT_FDCWD, path, set, 0));
	OK(stat(path, &s));
	EQUAL(nanoseconds(s.st_atim), 1000000000123456000);
	EQUAL(nanoseconds(s.st_mtim), 1500000000654321000);

	int fd = open(path, O_RDWR);
	struct timespec only[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1600000000}};
	OK(futimens(fd, only));
	OK(fstat(fd, &s));
	EQUAL(nanoseconds(s.st_atim), 1000000000123456000);
	EQUAL(nanoseconds(s.st_mtim), 1600000000000000000);
	RAW(__wasi_fd_filestat_set_times((__wasi_fd_t)fd, 0, 0, __WASI_FSTFLAGS_ATIM_NOW), 0); // futimens has a bug there
	OK(fstat(fd, &s));
	TRUE(llabs(time(NULL) - s.st_atim.tv_sec) < 100);
	EQUAL(nanoseconds(s.st_mtim), 1600000000000000000);
	OK(close(fd));

	OK(mkdir(WRITABLE "/folder", 0777));
	OK(utimensat(AT_FDCWD, WRITABLE "/folder", set, 0));
	OK(stat(WRITABLE "/folder", &s));
	EQUAL(nanoseconds(s.st_mtim), 1500000000654321000);
	FAILS(utimensat(AT_FDCWD, WRITABLE "/missing", set, 0), ENOENT);

	// A time cannot be given and be now.
	const char *relative;
	__wasi_fd_t dir = preopen(path, &relative);
	RAW(__wasi_path_filestat_set_times(dir, 0, relative, 1, 1, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), EINVAL);
	RAW(__wasi_path_filestat_set_times(dir, 0, relative, 1, 1, 0x8000), EINVAL);
}

void check_open(void) {
	const char *path = WRITABLE "/open";
	FAILS(open(path, O_RDONLY), ENOENT);
	FAILS(open(path, O_RDWR), ENOENT);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
	TRUE(fd > 2);
	char c = 0;
	FAILS(read(fd, &c, 1), EBADF, ENOTCAPABLE, EACCES, EPERM);
	EQUAL(write(fd, "abc", 3), 3);
	OK(close(fd));
	FAILS(open(path, O_WRONLY | O_CREAT | O_EXCL, 0666), EEXIST);
	fd = open(path, O_RDWR | O_CREAT, 0666); // opens what is there
	EQUAL(read(fd, &c, 1), 1);
	EQUAL(c, 'a');
	OK(close(fd));
	fd = open(path, O_RDONLY);
	FAILS(write(fd, "x", 1), EBADF, ENOTCAPABLE, EACCES, EPERM);
	FAILS(pwrite(fd, "x", 1, 0), EBADF, ENOTCAPABLE, EACCES, EPERM);
	OK(close(fd));
	file_is(path, "abc");

	FAILS(open(path, O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open(WRITABLE "/open/x", O_RDONLY), ENOTDIR);
	FAILS(open(WRITABLE "/open/x", O_WRONLY | O_CREAT, 0666), ENOTDIR);
	FAILS(open(WRITABLE "/no/x", O_WRONLY | O_CREAT, 0666), ENOENT);
	FAILS(open(WRITABLE, O_WRONLY), EISDIR, EACCES);
	FAILS(open(WRITABLE, O_RDWR), EISDIR, EACCES);
	FAILS(open("/missing", O_RDONLY), ENOENT);
	FAILS(open("/missing", O_WRONLY | O_CREAT, 0666), EROFS, EPERM, EACCES, ENOENT, ENOTCAPABLE);
	fd = open(WRITABLE, O_RDONLY | O_DIRECTORY);
	TRUE(fd >= 0);
	FAILS(read(fd, &c, 1), EISDIR, EBADF, ENOTCAPABLE);
	FAILS(write(fd, &c, 1), EISDIR, EBADF, ENOTCAPABLE);
	int inner = openat(fd, "open", O_RDONLY); // relative to a folder of its own
	EQUAL(read(inner, &c, 1), 1);
	OK(close(inner));
	__wasi_fd_t opened;
	RAW(__wasi_path_open((__wasi_fd_t)fd, 0, "open", 0, __WASI_RIGHTS_FD_READ, 0, 0, &opened), 0);
	RAW(__wasi_fd_close(opened), 0);
	RAW(__wasi_path_open((__wasi_fd_t)fd, 0, "/data/open", 0, __WASI_RIGHTS_FD_READ, 0, 0, &opened), EPERM, EACCES, ENOTCAPABLE); // absolute: not below it
	RAW(__wasi_path_open((__wasi_fd_t)fd, 0, "../data/open", 0, __WASI_RIGHTS_FD_READ, 0, 0, &opened), EPERM, EACCES, ENOTCAPABLE);
	FAILS(openat(fd, "", O_RDONLY), ENOENT, EINVAL);
	OK(close(fd));
	FAILS(openat(99, "open", O_RDONLY), EBADF);

	const char *relative;
	__wasi_fd_t dir = preopen(path, &relative);
	RAW(__wasi_path_open(dir, 0, relative, 0x8000, __WASI_RIGHTS_FD_READ, 0, 0, &opened), EINVAL);
	RAW(__wasi_path_open(dir, 0, relative, __WASI_OFLAGS_DIRECTORY | __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_READ, 0, 0, &opened), EINVAL, ENOTDIR, EISDIR, EEXIST);
	file_is(path, "abc");
}

// Nothing may be open already but the standard streams and the preopened folders.
void check_descriptors(void) {
	write_file(WRITABLE "/many", "x");
	int opened[20000], n = 0;
	while (n < 20000) {
		int fd = open(WRITABLE "/many", O_RDONLY);
		if (fd < 0) {
			TRUE(errno == EMFILE || errno == ENFILE);
			break;
		}
		opened[n++] = fd;
	}
	TRUE(n >= 32);
	// What was open works, and what is closed makes room.
	char c;
	for (int i = 0; i < n; i++) EQUAL(pread(opened[i], &c, 1, 0), 1);
	for (int i = 0; i < n; i++) OK(close(opened[i]));
	for (int round = 0; round < 1000; round++) {
		int fd = open(WRITABLE "/many", O_RDONLY);
		TRUE(fd >= 0);
		OK(close(fd));
	}
}

void check_rights(void) {
	write_file(WRITABLE "/rights", "0123");
	int fd = open(WRITABLE "/rights", O_RDWR);
	__wasi_fd_t f = (__wasi_fd_t)fd;
	__wasi_fdstat_t s;
	RAW(__wasi_fd_fdstat_get(f, &s), 0);
	EQUAL(s.fs_filetype, __WASI_FILETYPE_REGULAR_FILE);
	EQUAL(s.fs_flags, 0);
	// Rights may be ignored, as later WASI does, or kept; but never grow.
	int error = __wasi_fd_fdstat_set_rights(f, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK, 0);
	TRUE(error == 0 || error == ENOTSUP || error == ENOSYS);
	if (error == 0) {
		char c;
		EQUAL(pread(fd, &c, 1, 0), 1);
		FAILS(write(fd, "x", 1), EBADF, ENOTCAPABLE);
		RAW(__wasi_fd_fdstat_set_rights(f, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE, 0), ENOTCAPABLE);
	}
	RAW(__wasi_fd_fdstat_set_rights(99, 0, 0), EBADF, ENOTSUP, ENOSYS);
	RAW(__wasi_fd_fdstat_set_flags(99, 0), EBADF);
	OK(close(fd));
}
