// Ask makes each request that it reads, a line each, and writes the answers.
#include <stdio.h>

static int fail(const char *what) {
	perror(what);
	return 1;
}

int main(void) {
	static char line[65536];
	FILE *f = fopen("/net/http", "r+");
	if (f == NULL) return fail("open");
	for (int i = 0; fgets(line, sizeof line, stdin) != NULL; i++) {
		if (fputs(line, f) == EOF) return fail("write");
		// What portable programs do between writing and reading. It can't, and that has to do no harm.
		if (i % 2 == 0) fseek(f, 0, SEEK_CUR);
		else if (fflush(f) == EOF) return fail("flush");
		int c;
		while ((c = getc(f)) != EOF) putchar(c);
		if (ferror(f)) return fail("read");
		clearerr(f);
	}
	return fclose(f) == EOF ? fail("close") : 0;
}
