// Folders, names, links and what must stay out of reach.
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void check_directories(void) {
	OK(mkdir(WRITABLE "/a", 0777));
	OK(mkdir(WRITABLE "/a/b", 0777));
	FAILS(mkdir(WRITABLE "/a", 0777), EEXIST);
	FAILS(mkdir(WRITABLE "/no/b", 0777), ENOENT);
	FAILS(mkdir(WRITABLE, 0777), EEXIST);
	OK(mkdir(WRITABLE "/slash/", 0777));
	write_file(WRITABLE "/a/file", "x");
	FAILS(mkdir(WRITABLE "/a/file", 0777), EEXIST);
	FAILS(mkdir(WRITABLE "/a/file/b", 0777), ENOTDIR);
	struct stat s;
	OK(stat(WRITABLE "/a", &s));
	TRUE(S_ISDIR(s.st_mode));

	FAILS(rmdir(WRITABLE "/a"), ENOTEMPTY, EEXIST);
	FAILS(rmdir(WRITABLE "/a/file"), ENOTDIR);
	FAILS(rmdir(WRITABLE "/no"), ENOENT);
	FAILS(rmdir(WRITABLE), EBUSY, EPERM, EACCES, EINVAL, ENOTCAPABLE, ENOTEMPTY, EROFS);
	FAILS(rmdir("/"), EBUSY, EPERM, EACCES, EINVAL, ENOTCAPABLE, ENOTEMPTY, EROFS);
	OK(unlink(WRITABLE "/a/file"));
	OK(rmdir(WRITABLE "/a/b"));
	OK(rmdir(WRITABLE "/a"));
	OK(rmdir(WRITABLE "/slash/"));
	TRUE(!there(WRITABLE "/a"));
	FAILS(rmdir(WRITABLE "/a"), ENOENT);
}

// Lists an open folder with a buffer of a size, from a cookie on, and counts the
// names beside . and .. into seen, which has one place for each file n<number>.
static void list(__wasi_fd_t fd, uint32_t size, __wasi_dircookie_t cookie, int *seen) {
	static uint8_t buffer[65536];
	for (;;) {
		__wasi_size_t used = 0;
		int error = __wasi_fd_readdir(fd, buffer, size, cookie, &used);
		EQUAL(error, 0);
		TRUE(used <= size);
		if (error != 0 || used > size) return;
		__wasi_dirent_t entry;
		uint32_t at = 0;
		bool any = false;
		while (used - at >= sizeof entry) {
			memcpy(&entry, buffer + at, sizeof entry);
			if (used - at - sizeof entry < entry.d_namlen) break; // cut off: comes again
			char name[300] = {0};
			TRUE(entry.d_namlen < sizeof name);
			memcpy(name, buffer + at + sizeof entry, entry.d_namlen);
			at += sizeof entry + entry.d_namlen;
			TRUE(entry.d_next != cookie);
			cookie = entry.d_next;
			any = true;
			if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
				EQUAL(entry.d_type, __WASI_FILETYPE_DIRECTORY);
				continue;
			}
			EQUAL(entry.d_type, __WASI_FILETYPE_REGULAR_FILE);
			TRUE(entry.d_namlen > 1 && name[0] == 'n');
			seen[atoi(name + 1)]++;
		}
		if (used < size) return; // a buffer that is not full is the last
		TRUE(any);
		if (!any) return;
	}
}

void check_readdir(void) {
	enum { count = 300 };
	OK(mkdir(WRITABLE "/list", 0777));
	for (int i = 0; i < count; i++) {
		char path[64];
		snprintf(path, sizeof path, WRITABLE "/list/n%d", i);
		write_file(path, "");
	}
	int fd = open(WRITABLE "/list", O_RDONLY | O_DIRECTORY);
	static const uint32_t sizes[] = {64, 100, 1000, 4096, 65536};
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		int seen[count] = {0};
		list((__wasi_fd_t)fd, sizes[s], 0, seen); // 0 starts again
		for (int i = 0; i < count; i++) {
			if (seen[i] != 1) differs("buffer of %u: n%d %d times", (unsigned)sizes[s], i, seen[i]);
		}
	}
	// A buffer too small for anything is filled, but tells nothing.
	uint8_t tiny[4];
	__wasi_size_t used = 99;
	RAW(__wasi_fd_readdir((__wasi_fd_t)fd, tiny, 4, 0, &used), 0, EINVAL);
	TRUE(used == 4 || used == 99 || used == 0);
	RAW(__wasi_fd_readdir((__wasi_fd_t)fd, tiny, 4, UINT64_MAX, &used), 0, EINVAL, ENOENT);
	OK(close(fd));

	DIR *dir = opendir(READ_ONLY);
	TRUE(dir != NULL);
	int folders = 0, files = 0;
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
		folders += strcmp(e->d_name, "sub") == 0 && e->d_type == DT_DIR;
		files += strcmp(e->d_name, "hello.txt") == 0 && e->d_type == DT_REG;
	}
	EQUAL(folders, 1);
	EQUAL(files, 1);
	if (dir != NULL) closedir(dir);

	// What is mounted shows in the folder that holds it, if that can be listed at all.
	dir = opendir("/");
	if (dir != NULL) {
		int data = 0, ro = 0;
		for (struct dirent *e; (e = readdir(dir)) != NULL;) {
			data += strcmp(e->d_name, "data") == 0;
			ro += strcmp(e->d_name, "ro") == 0;
		}
		EQUAL(data, 1);
		EQUAL(ro, 1);
		closedir(dir);
	}
	write_file(WRITABLE "/plain", "");
	fd = open(WRITABLE "/plain", O_RDONLY);
	RAW(__wasi_fd_readdir((__wasi_fd_t)fd, tiny, 4, 0, &used), ENOTDIR, EBADF, ENOTCAPABLE);
	OK(close(fd));
	FAILS(opendir(WRITABLE "/plain") == NULL ? -1 : 0, ENOTDIR);
	FAILS(opendir(WRITABLE "/missing") == NULL ? -1 : 0, ENOENT);
}

void check_rename(void) {
	write_file(WRITABLE "/from", "from");
	OK(rename(WRITABLE "/from", WRITABLE "/to"));
	TRUE(!there(WRITABLE "/from"));
	file_is(WRITABLE "/to", "from");
	write_file(WRITABLE "/over", "over");
	int fd = open(WRITABLE "/over", O_RDONLY);
	OK(rename(WRITABLE "/to", WRITABLE "/over"));
	file_is(WRITABLE "/over", "from");
	char text[8];
	EQUAL(read(fd, text, sizeof text), 4); // who had it open keeps the old one
	TRUE(memcmp(text, "over", 4) == 0);
	OK(close(fd));
	OK(rename(WRITABLE "/over", WRITABLE "/over"));
	FAILS(rename(WRITABLE "/missing", WRITABLE "/x"), ENOENT);
	FAILS(rename(WRITABLE "/over", WRITABLE "/no/x"), ENOENT);

	OK(mkdir(WRITABLE "/d1", 0777));
	OK(mkdir(WRITABLE "/d2", 0777));
	write_file(WRITABLE "/d1/x", "x");
	OK(rename(WRITABLE "/d1", WRITABLE "/d2")); // over an empty folder
	file_is(WRITABLE "/d2/x", "x");
	OK(mkdir(WRITABLE "/d1", 0777));
	FAILS(rename(WRITABLE "/d1", WRITABLE "/d2"), ENOTEMPTY, EEXIST);
	FAILS(rename(WRITABLE "/over", WRITABLE "/d1"), EISDIR);
	FAILS(rename(WRITABLE "/d1", WRITABLE "/over"), ENOTDIR);
	FAILS(rename(WRITABLE "/d2", WRITABLE "/d2/inside"), EINVAL);
	OK(rename(WRITABLE "/over", WRITABLE "/d1/moved"));
	file_is(WRITABLE "/d1/moved", "from");

	// Nothing moves from one mount to another, or the mount itself.
	FAILS(rename(READ_ONLY "/hello.txt", WRITABLE "/hello.txt"), EXDEV, EROFS, EPERM, EACCES, ENOTCAPABLE);
	FAILS(rename(WRITABLE "/d1", READ_ONLY "/d1"), EXDEV, EROFS, EPERM, EACCES, ENOTCAPABLE);
	FAILS(rename(WRITABLE, "/elsewhere"), EXDEV, EBUSY, EROFS, EPERM, EACCES, EINVAL, ENOENT, ENOTCAPABLE);
	FAILS(rename(WRITABLE "/d1", WRITABLE "/../elsewhere"), EXDEV, EBUSY, EROFS, EPERM, EACCES, EINVAL, ENOENT, ENOTCAPABLE);
}

void check_unlink(void) {
	write_file(WRITABLE "/file", "x");
	OK(mkdir(WRITABLE "/folder", 0777));
	FAILS(unlink(WRITABLE "/folder"), EISDIR, EPERM);
	FAILS(unlink(WRITABLE "/missing"), ENOENT);
	FAILS(unlink(WRITABLE "/file/x"), ENOTDIR);
	FAILS(unlink(WRITABLE "/file/"), ENOTDIR);
	FAILS(unlink(""), ENOENT, EINVAL, EISDIR); // the C library may make it "."
	OK(unlink(WRITABLE "/file"));
	FAILS(unlink(WRITABLE "/file"), ENOENT);
	// Open folders outlive their name too.
	int fd = open(WRITABLE "/folder", O_RDONLY | O_DIRECTORY);
	OK(rmdir(WRITABLE "/folder"));
	FAILS(openat(fd, "x", O_WRONLY | O_CREAT, 0666), ENOENT);
	OK(close(fd));
}

void check_links(void) {
	write_file(WRITABLE "/original", "text");
	OK(link(WRITABLE "/original", WRITABLE "/second"));
	struct stat a, b;
	OK(stat(WRITABLE "/original", &a));
	OK(stat(WRITABLE "/second", &b));
	EQUAL(a.st_ino, b.st_ino);
	EQUAL(a.st_nlink, 2);
	write_file(WRITABLE "/second", "changed");
	file_is(WRITABLE "/original", "changed");
	OK(unlink(WRITABLE "/original"));
	file_is(WRITABLE "/second", "changed");
	OK(stat(WRITABLE "/second", &b));
	EQUAL(b.st_nlink, 1);
	write_file(WRITABLE "/third", "");
	FAILS(link(WRITABLE "/second", WRITABLE "/third"), EEXIST);
	FAILS(link(WRITABLE "/missing", WRITABLE "/x"), ENOENT);
	OK(mkdir(WRITABLE "/folder", 0777));
	FAILS(link(WRITABLE "/folder", WRITABLE "/x"), EPERM, EISDIR, EACCES);
	FAILS(link(READ_ONLY "/hello.txt", WRITABLE "/x"), EXDEV, EROFS, EPERM, EACCES, ENOTCAPABLE);
	FAILS(link(WRITABLE "/second", READ_ONLY "/x"), EXDEV, EROFS, EPERM, EACCES, ENOTCAPABLE);
	TRUE(!there(WRITABLE "/x"));
}

void check_symlinks(void) {
	OK(mkdir(WRITABLE "/folder", 0777));
	write_file(WRITABLE "/folder/file", "text");
	OK(symlink("folder/file", WRITABLE "/to-file"));
	OK(symlink("folder", WRITABLE "/to-folder"));
	OK(symlink("nowhere", WRITABLE "/dangling"));
	OK(symlink("loop", WRITABLE "/loop"));
	FAILS(symlink("x", WRITABLE "/to-file"), EEXIST);
	file_is(WRITABLE "/to-file", "text");
	file_is(WRITABLE "/to-folder/file", "text");
	struct stat s;
	OK(lstat(WRITABLE "/to-file", &s));
	TRUE(S_ISLNK(s.st_mode));
	EQUAL(s.st_size, 11);
	OK(stat(WRITABLE "/to-file", &s));
	TRUE(S_ISREG(s.st_mode));
	char text[64] = {0};
	EQUAL(readlink(WRITABLE "/to-file", text, sizeof text), 11);
	TRUE(strcmp(text, "folder/file") == 0);
	memset(text, '.', sizeof text);
	EQUAL(readlink(WRITABLE "/to-file", text, 4), 4); // cut off, not an error
	TRUE(memcmp(text, "fold.", 5) == 0);
	FAILS(readlink(WRITABLE "/folder", text, sizeof text), EINVAL);
	FAILS(readlink(WRITABLE "/missing", text, sizeof text), ENOENT);

	FAILS(open(WRITABLE "/dangling", O_RDONLY), ENOENT);
	FAILS(open(WRITABLE "/dangling", O_WRONLY | O_CREAT | O_EXCL, 0666), EEXIST);
	FAILS(open(WRITABLE "/loop", O_RDONLY), ELOOP);
	FAILS(stat(WRITABLE "/loop/x", &s), ELOOP);
	FAILS(open(WRITABLE "/to-file", O_RDONLY | O_NOFOLLOW), ELOOP);
	int fd = open(WRITABLE "/to-folder", O_RDONLY | O_DIRECTORY);
	TRUE(fd >= 0);
	OK(close(fd));
	FAILS(open(WRITABLE "/to-file", O_RDONLY | O_DIRECTORY), ENOTDIR);

	OK(rename(WRITABLE "/to-file", WRITABLE "/renamed")); // the link, not what it leads to
	TRUE(there(WRITABLE "/renamed") && there(WRITABLE "/folder/file"));
	OK(unlink(WRITABLE "/renamed"));
	file_is(WRITABLE "/folder/file", "text");
	FAILS(rmdir(WRITABLE "/to-folder"), ENOTDIR);
	OK(unlink(WRITABLE "/to-folder"));
	FAILS(symlink("", WRITABLE "/empty"), ENOENT, EINVAL);
}

void check_paths(void) {
	struct stat s;
	OK(stat(READ_ONLY "/sub/../hello.txt", &s));
	OK(stat(READ_ONLY "/./sub//a", &s));
	OK(stat(READ_ONLY "/sub/", &s));
	OK(stat(READ_ONLY "/sub/.", &s));
	TRUE(S_ISDIR(s.st_mode));
	OK(stat(READ_ONLY "/sub/..", &s));
	TRUE(S_ISDIR(s.st_mode));
	FAILS(stat(READ_ONLY "/hello.txt/", &s), ENOTDIR);
	FAILS(stat(READ_ONLY "/hello.txt/.", &s), ENOTDIR);
	FAILS(stat(READ_ONLY "/hello.txt/..", &s), ENOTDIR);
	FAILS(stat(READ_ONLY "/missing/../hello.txt", &s), ENOENT);
	FAILS(open(READ_ONLY "/hello.txt/", O_RDONLY), ENOTDIR);
	FAILS(open(WRITABLE "/new/", O_WRONLY | O_CREAT, 0666), EISDIR, ENOENT, ENOTDIR, EINVAL);
	TRUE(!there(WRITABLE "/new"));

	// Names are bytes; only NUL and the slash are not allowed in them.
	static const char *const names[] = {"with space", "new\nline", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", "back\\slash", "*?[]", "-n", "..."};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[64];
		snprintf(path, sizeof path, WRITABLE "/%s", names[i]);
		write_file(path, names[i]);
		file_is(path, names[i]);
		OK(unlink(path));
	}
	char path[5000] = WRITABLE "/";
	size_t start = strlen(path);
	memset(path + start, 'x', 255);
	write_file(path, "long");
	OK(unlink(path));
	memset(path + start, 'x', 300);
	FAILS(open(path, O_WRONLY | O_CREAT, 0666), ENAMETOOLONG);
	memset(path + start, '/', sizeof path - start - 2);
	path[sizeof path - 2] = 'x';
	FAILS(open(path, O_RDONLY), ENAMETOOLONG, ENOENT);

	// The C library cannot pass these on: NUL, nothing, not UTF-8, a pointer astray.
	const char *relative;
	__wasi_fd_t dir = preopen(READ_ONLY "/hello.txt", &relative);
	__wasi_filestat_t stat;
	RAW(__wasi_path_filestat_get(dir, 0, relative, &stat), 0);
	char bad[64];
	snprintf(bad, sizeof bad, "%s", relative);
	size_t length = strlen(bad);
	extern int32_t path_filestat_get(int32_t, int32_t, int32_t, int32_t, int32_t) __attribute__((__import_module__("wasi_snapshot_preview1"), __import_name__("path_filestat_get")));
#define PATH(text, len) path_filestat_get((int32_t)dir, 0, (int32_t)(intptr_t)(text), (int32_t)(len), (int32_t)(intptr_t)&stat)
	RAW(PATH(bad, length), 0);
	RAW(PATH(bad, length + 1), ENOENT, EINVAL, EILSEQ); // with its NUL
	RAW(PATH(bad, 0), ENOENT, EINVAL);
	RAW(PATH("\xff\xfe", 2), ENOENT, EILSEQ, EINVAL);
	RAW(PATH(-1, 4), EFAULT, EINVAL);
	RAW(PATH(bad, -1), EFAULT, EINVAL, ENAMETOOLONG);
#undef PATH
}

void check_read_only(void) {
#define DENIED EROFS, EPERM, EACCES, ENOTCAPABLE
	file_is(READ_ONLY "/hello.txt", "hello\n");
	FAILS(open(READ_ONLY "/hello.txt", O_WRONLY), DENIED);
	FAILS(open(READ_ONLY "/hello.txt", O_RDWR), DENIED);
	FAILS(open(READ_ONLY "/hello.txt", O_RDONLY | O_TRUNC), DENIED, EINVAL);
	FAILS(open(READ_ONLY "/new", O_WRONLY | O_CREAT, 0666), DENIED);
	FAILS(open(READ_ONLY "/new", O_RDONLY | O_CREAT, 0666), DENIED);
	FAILS(mkdir(READ_ONLY "/new", 0777), DENIED);
	FAILS(rmdir(READ_ONLY "/sub"), DENIED);
	FAILS(unlink(READ_ONLY "/hello.txt"), DENIED);
	FAILS(rename(READ_ONLY "/hello.txt", READ_ONLY "/x"), DENIED);
	FAILS(link(READ_ONLY "/hello.txt", READ_ONLY "/x"), DENIED);
	FAILS(symlink("hello.txt", READ_ONLY "/x"), DENIED);
	FAILS(utimensat(AT_FDCWD, READ_ONLY "/hello.txt", NULL, 0), DENIED);
	int fd = open(READ_ONLY "/hello.txt", O_RDONLY);
	FAILS(write(fd, "x", 1), EBADF, DENIED);
	FAILS(ftruncate(fd, 0), EBADF, EINVAL, DENIED);
	FAILS(futimens(fd, NULL), EBADF, DENIED);
	OK(close(fd));
	file_is(READ_ONLY "/hello.txt", "hello\n");
	TRUE(there(READ_ONLY "/sub/a") && !there(READ_ONLY "/new") && !there(READ_ONLY "/x"));
}

// Opens a path that must not lead anywhere.
static void out_of_reach(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0) return;
	char text[64] = {0};
	ssize_t n = read(fd, text, sizeof text - 1);
	differs("%s leads out: it holds %zd bytes, \"%s\"", path, n, text);
	close(fd);
}

void check_escape(void) {
	static const char *const paths[] = {
		"/etc/passwd", "/proc/self/environ", "/../etc/passwd", "../etc/passwd", "../../../../../../../../etc/passwd", "/..", "..",
		WRITABLE "/../../../../../../../../etc/passwd", WRITABLE "/../../../../../../../../../../etc", READ_ONLY "/sub/../../../../../../etc/passwd",
		WRITABLE "//../..//etc/passwd", "/./../etc/passwd", "C:\\Windows\\win.ini", "\\etc\\passwd",
	};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (strcmp(paths[i], "/..") == 0 || strcmp(paths[i], "..") == 0) continue; // may be the root itself
		out_of_reach(paths[i]);
	}
	// Links that lead out, if they can be made at all.
	static const char *const targets[] = {"/etc/passwd", "/etc", "../../../../../../../../etc/passwd", "../../../../../../../../etc", "..", "../..", "/proc/1/cwd/etc/passwd"};
	OK(mkdir(WRITABLE "/deep", 0777));
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		if (symlink(targets[i], WRITABLE "/deep/link") != 0) continue;
		if (i != 4) out_of_reach(WRITABLE "/deep/link"); // that one leads to WRITABLE
		out_of_reach(WRITABLE "/deep/link/passwd");
		out_of_reach(WRITABLE "/deep/link/../passwd");
		out_of_reach(WRITABLE "/deep/link/etc/passwd");
		out_of_reach(WRITABLE "/deep/link/../etc/passwd");
		int fd = open(WRITABLE "/deep/link/escaped", O_WRONLY | O_CREAT | O_EXCL, 0666);
		if (fd >= 0 && i != 4) differs("a file was made through a link to %s", targets[i]);
		if (fd >= 0) close(fd);
		TRUE(link(WRITABLE "/deep/link", WRITABLE "/deep/hard") != 0 || (unlink(WRITABLE "/deep/hard"), true));
		OK(unlink(WRITABLE "/deep/link"));
	}
	// A link moved to where it would lead out.
	if (symlink("../../x", WRITABLE "/deep/up") == 0) {
		if (rename(WRITABLE "/deep/up", WRITABLE "/up") == 0) out_of_reach(WRITABLE "/up");
	}
	// A folder that moves up while it is open does not lift its parent.
	OK(mkdir(WRITABLE "/deep/er", 0777));
	int fd = open(WRITABLE "/deep/er", O_RDONLY | O_DIRECTORY);
	OK(rename(WRITABLE "/deep/er", WRITABLE "/er"));
	int up = openat(fd, "../../../etc/passwd", O_RDONLY);
	TRUE(up < 0);
	up = openat(fd, "../../etc/passwd", O_RDONLY);
	TRUE(up < 0);
	OK(close(fd));
	FAILS(mkdir("/made", 0777), DENIED, ENOENT);
	FAILS(symlink("x", "/made"), DENIED, ENOENT);
	FAILS(link(WRITABLE "/../etc/passwd", WRITABLE "/got"), DENIED, ENOENT, EXDEV);
}
