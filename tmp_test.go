package gojinn

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// built compiles a program, and skips the test if the machine has no tools for its language.
func built(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	var said strings.Builder
	if err := toolchain.Build(context.Background(), dir, out, &said); err != nil {
		if _, missing := errors.AsType[*toolchain.MissingError](err); missing {
			t.Skip(err)
		}
		t.Fatalf("%v\n%s", err, &said)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// In both programs what is wrong is said in the body, which is "fine" otherwise.
const scratchInGo = `package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func try() error {
	entries, err := os.ReadDir("/tmp")
	if err != nil || len(entries) > 0 {
		return fmt.Errorf("at first: %v, %v", entries, err)
	}
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "y")
	if err != nil {
		return err
	}
	if _, err := f.WriteString(strings.Repeat("0123456789", 10_000)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, "z")); err != nil {
		return err
	}
	if _, err := f.Seek(50_000, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(50_005); err != nil {
		return err
	}
	_ = f.Close()
	text, err := os.ReadFile(filepath.Join(dir, "z"))
	if err != nil || len(text) != 50_005 || string(text[50_000:]) != "01234" {
		return fmt.Errorf("read %d bytes, %v", len(text), err)
	}
	if err := os.WriteFile("/tmp/big", make([]byte, 2<<20), 0o666); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("two megabytes in one: %v", err)
	}
	return os.RemoveAll(dir)
}

func main() {
	_, _ = io.ReadAll(os.Stdin)
	said := "fine"
	if err := try(); err != nil {
		said = err.Error()
	}
	fmt.Printf("{\"body\":%q}", said)
}
`

const scratchInC = `
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char request[65536];

#define CHECK(what) do { if (!(what)) { printf("{\"body\":\"line %d: %s\"}", __LINE__, strerror(errno)); return 0; } } while (0)

static int entries(const char *path) {
	int n = 0;
	DIR *d = opendir(path);
	if (!d) return -1;
	while (readdir(d)) n++;
	closedir(d);
	return n;
}

int main(void) {
	while (read(0, request, sizeof request) > 0) {}
	struct stat s, s2;
	char text[8];
	CHECK(entries("/tmp") == 2);
	CHECK(mkdir("/tmp/d", 0777) == 0);
	int f = open("/tmp/d/f", O_RDWR | O_CREAT | O_EXCL, 0666);
	CHECK(f >= 0);
	CHECK(open("/tmp/d/f", O_RDWR | O_CREAT | O_EXCL, 0666) < 0 && errno == EEXIST);
	CHECK(pwrite(f, "hello", 5, 100000) == 5);
	CHECK(pread(f, text, 8, 99998) == 7 && memcmp(text, "\0\0hello", 7) == 0);
	CHECK(link("/tmp/d/f", "/tmp/g") == 0);
	CHECK(fstat(f, &s) == 0 && s.st_nlink == 2 && s.st_size == 100005);
	CHECK(stat("/tmp/g", &s2) == 0 && s2.st_ino == s.st_ino && s2.st_dev == s.st_dev);
	CHECK(symlink("d/f", "/tmp/l") == 0);
	CHECK(stat("/tmp/l", &s2) == 0 && s2.st_ino == s.st_ino);
	CHECK(unlink("/tmp/d/f") == 0 && unlink("/tmp/g") == 0);
	CHECK(stat("/tmp/l", &s2) < 0 && errno == ENOENT);
	CHECK(fstat(f, &s) == 0 && s.st_nlink == 0);
	CHECK(pread(f, text, 5, 100000) == 5 && memcmp(text, "hello", 5) == 0);
	CHECK(rmdir("/tmp") < 0 && errno == EBUSY);
	CHECK(rename("/tmp/d", "/tmp/d/e") < 0 && errno == EINVAL);
	CHECK(rename("/tmp/d", "/tmp/e") == 0);
	FILE *a = fopen("/tmp/e/log", "a");
	CHECK(a && fputs("one", a) >= 0 && fputs("two", a) >= 0 && fclose(a) == 0);
	CHECK(stat("/tmp/e/log", &s) == 0 && s.st_size == 6);
	CHECK(entries("/tmp") == 4);
	close(f);
	printf("{\"body\":\"fine\"}");
	return 0;
}
`

// TestTmp: programs find their scratch space as they expect it, and empty, however many calls there
// are at a time.
func TestTmp(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"Go": {"main.go": scratchInGo, "go.mod": "module example.com/scratch\n\ngo 1.24\n"},
		"C":  {"main.c": scratchInC},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, lines("gojinn "+moduleFile(t, "scratch.wasm", built(t, files))+" {", "allow tmp /tmp 1MiB", "allow env TMPDIR /tmp", "}"))
			var calls sync.WaitGroup
			for range 4 {
				calls.Go(func() {
					for range 5 {
						if got := s.do(http.MethodPost, "/", nil, strings.NewReader("x")); got.status != 200 || got.body != "fine" {
							t.Errorf("got %d %q", got.status, got.body)
						}
					}
				})
			}
			calls.Wait()
		})
	}
}

// TestAuditOfC: not only Go programs tell what they want.
func TestAuditOfC(t *testing.T) {
	module := moduleFile(t, "scratch.wasm", built(t, map[string]string{"main.c": scratchInC}))
	stdout, stderr, err := runCommand(t, "", "audit", module)
	if err != nil {
		t.Fatal(err)
	}
	if want := "allow tmp /tmp\n"; !strings.HasPrefix(stdout, want) || strings.Count(stdout, "\nallow") > 0 {
		t.Errorf("got\n%s\nwant %s\n%s", stdout, want, stderr)
	}
	if !strings.Contains(stderr, "round 2, GET /: ok, status 200") {
		t.Errorf("with a stand-in: got\n%s", stderr)
	}
}
