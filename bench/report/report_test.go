package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values []int
		want   int
	}{
		{"one", []int{7}, 7},
		{"odd", []int{9, 1, 5}, 5},
		{"even: the lower", []int{4, 1, 3, 2}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := Median(test.values); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{1234567890, "1.235s"}, {123456789, "123ms"}, {12345678, "12.3ms"}, {1234567, "1.23ms"}, {123456, "123µs"}, {12345, "12.3µs"}, {0, "0s"},
	} {
		if got := Short(test.d); got != test.want {
			t.Errorf("%d ns: got %s, want %s", test.d, got, test.want)
		}
	}
}

func TestSlug(t *testing.T) {
	t.Parallel()
	m := Machine{CPU: "Intel(R) Xeon(R) Processor @ 2.50GHz", Cores: 2}
	if got, want := m.slug(), "intel-xeon-processor-2-50ghz-2cores"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.md")
	for _, out := range []string{"", file, dir} {
		if err := Record(out, "what", "text"); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(files) != 2 {
		t.Fatalf("got %q, %v, want two files", files, err)
	}
	for _, path := range files {
		if path != file && !strings.HasSuffix(path, ThisMachine().slug()+"-what.md") {
			t.Errorf("a report is called %s", path)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "text" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}
