package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// begin answers with the request, and with the body of those that begin with "body"; "fail" fails
// after a part of its answer, "hang" waits until it is given up, and "panic" panics.
func begin(line []byte) (Serve, bool) {
	request := string(line)
	return func(ctx context.Context, body io.ReadCloser, answer io.Writer) error {
		switch {
		case request == "hang":
			<-ctx.Done()
			return ctx.Err()
		case request == "panic":
			panic("a fault")
		case request == "fail":
			fmt.Fprint(answer, "some")
			return vfs.EFBIG
		case request == "body closed":
			body.Close()
		case body != nil:
			all, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			request += "+" + string(all)
		}
		_, err := fmt.Fprintf(answer, "<%s>", request)
		return err
	}, strings.HasPrefix(request, "body")
}

// TestFraming runs dialogues: w writes and wants what follows "=" (all of it, or an error number);
// r reads up to the end, r1 once, r3 three bytes at most.
func TestFraming(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps []string
	}{
		{"one", []string{"w a\n", "r =<a>", "r ="}},
		{"several", []string{"w a\n", "r =<a>", "w b\n", "r =<b>"}},
		{"in pieces", []string{"w a", "w b", "w c\n", "r =<abc>"}},
		{"newline alone", []string{"w abc", "w \n", "r =<abc>"}},
		{"before any request", []string{"r =", "w a\n", "r =<a>"}},
		{"empty lines", []string{"w \n\n", "r =", "w \na\n\n", "w \n", "r =<a>", "w \n", "r =", "w \n\nb\n", "r =<b>"}},
		{"read in a line", []string{"w a", "r =EINVAL", "w b\n", "r =<ab>"}},
		{"read in small pieces", []string{"w abc\n", "r3 =<ab", "r1 =c>", "r1 ="}},
		{"the rest is given up", []string{"w abc\n", "r3 =<ab", "w d\n", "r =<d>"}},
		{"the rest is given up, in pieces", []string{"w abc\n", "r3 =<ab", "w d", "r =EINVAL", "w \n", "r =<d>"}},
		{"two requests in one write", []string{"w a\nb\n=EINVAL", "r =", "w c\n", "r =<c>"}},
		{"bytes behind a line of several writes", []string{"w a", "w b\nc=EINVAL", "w c\n", "r =<c>"}},
		{"two requests without a read", []string{"w a\n", "w b=EINVAL", "r =<a>"}},
		{"body", []string{"w body\n", "w xyz", "w \n", "w w", "r =<body+xyz\nw>"}},
		{"body in one write with its request", []string{"w body\nxyz", "r =<body+xyz>"}},
		{"no body", []string{"w body\n", "r =<body+>", "w a\n", "r =<a>"}},
		{"polling ends a body", []string{"w body\n", "w xyz", "p", "w z=EINVAL", "w \n", "r =<body+xyz>"}},
		{"nobody wants the body", []string{"w body closed\n", "w " + strings.Repeat("x", 1<<20), "r =<body closed>"}},
		{"longest", []string{"w " + strings.Repeat("x", 100) + "\n", "r =<" + strings.Repeat("x", 100) + ">"}},
		{"too long", []string{"w " + strings.Repeat("x", 101) + "=EMSGSIZE", "r =EINVAL", "w more=EMSGSIZE", "w end\n=EMSGSIZE", "r =", "w a\n", "r =<a>"}},
		{"too long at once", []string{"w " + strings.Repeat("x", 101) + "\n=EMSGSIZE", "w a\n", "r =<a>"}},
		{"too long in pieces", []string{"w " + strings.Repeat("x", 60), "w " + strings.Repeat("x", 41) + "=EMSGSIZE", "w \n=EMSGSIZE", "w a\n", "r =<a>"}},
		{"failing", []string{"w fail\n", "r1 =some", "r1 =EFBIG", "r1 =EFBIG", "w a\n", "r =<a>"}},
		{"hanging", []string{"w hang\n", "c"}},
		{"half a line", []string{"w a", "c"}},
		{"unread", []string{"w a\n", "c"}},
		{"half a body", []string{"w body\n", "w x", "c"}},
		{"nothing", []string{"w ", "c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, ctx := newFile(t, begin), callContext(t)
			for i, step := range test.steps {
				what, want, checked := strings.Cut(step, "=")
				if got := do(t, ctx, f, what); checked && got != want || !checked && got != "" {
					t.Fatalf("step %d, %.20q: got %q, want %q", i, what, got, want)
				}
			}
		})
	}
}

// newFile returns a file with a budget of which everything is given back by the end.
func newFile(t *testing.T, begin Begin) *File {
	f := New(begin, Options{MaxLine: 100})
	f.budget = engine.NewBudget(10 << 20)
	t.Cleanup(func() {
		f.Discard()
		wait(t, "memory is given back", func() bool { return f.budget.Used() == 0 })
	})
	return f
}

func callContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	for range 3000 {
		if until() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("waited too long until %s", what)
}

func do(t *testing.T, ctx context.Context, f *File, step string) string {
	what, text, _ := strings.Cut(step, " ")
	var out []byte
	var err error
	switch what {
	case "w":
		err = writeAll(ctx, f, text)
	case "r":
		out, err = readAll(ctx, f)
	case "r1", "r3":
		out = make([]byte, map[string]int{"r1": 100, "r3": 3}[what])
		var n int
		n, err = f.Read(ctx, out)
		out = out[:n]
	case "p":
		f.Ready(vfs.Readable)
	case "c":
		err = f.Close(ctx)
	default:
		t.Fatalf("no such step: %s", step)
	}
	if err != nil {
		return vfs.ErrnoOf(err).Error()
	}
	return string(out)
}

func writeAll(ctx context.Context, f *File, text string) error {
	for len(text) > 0 {
		n, err := f.Write(ctx, []byte(text))
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("nothing was written")
		}
		text = text[n:]
	}
	return nil
}

func readAll(ctx context.Context, f *File) (out []byte, _ error) {
	for buffer := make([]byte, 7); ; {
		n, err := f.Read(ctx, buffer)
		out = append(out, buffer[:n]...)
		if n == 0 || err != nil {
			return out, err
		}
	}
}

func TestNoMemory(t *testing.T) {
	t.Parallel()
	budget := engine.NewBudget(1000)
	ctx := t.Context()
	f := New(begin, Options{MaxLine: 1 << 20})
	f.budget = budget
	for _, text := range []string{strings.Repeat("x", 1001), strings.Repeat("x", 1001) + "\n", "body\n"} {
		if _, err := f.Write(ctx, []byte(text)); err != vfs.ENOMEM {
			t.Errorf("%d bytes: got %v, want ENOMEM", len(text), err)
		}
		if got := budget.Used(); got != 0 {
			t.Errorf("got %d bytes in use, want none", got)
		}
	}
	if err := writeAll(ctx, f, "a\n"); err != nil {
		t.Fatal(err)
	}
	if out, err := readAll(ctx, f); err != nil || string(out) != "<a>" {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestLimit: files can share a ceiling.
func TestLimit(t *testing.T) {
	t.Parallel()
	limit := engine.NewBudget(1000)
	one, two := New(begin, Options{MaxLine: 1 << 20, Limit: limit}), New(begin, Options{MaxLine: 1 << 20, Limit: limit})
	ctx := t.Context()
	if _, err := one.Write(ctx, []byte(strings.Repeat("x", 600))); err != nil {
		t.Fatal(err)
	}
	long := []byte(strings.Repeat("x", 600) + "\n")
	if _, err := two.Write(ctx, long); err != vfs.ENOMEM {
		t.Errorf("got %v, want ENOMEM", err)
	}
	one.Discard()
	if _, err := two.Write(ctx, long); err != nil {
		t.Errorf("the other is gone: got %v", err)
	}
	two.Discard()
	wait(t, "memory is given back", func() bool { return limit.Used() == 0 })
}

// TestFault: a panic ends up with the guest that caused it.
func TestFault(t *testing.T) {
	t.Parallel()
	f := New(begin, Options{MaxLine: 100})
	if err := writeAll(t.Context(), f, "panic\n"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "a fault") || !strings.Contains(fmt.Sprint(r), "file_test.go") {
			t.Errorf("got %v, want the fault and where it was", r)
		}
	}()
	f.Read(t.Context(), make([]byte, 1))
}

// TestFinish: with the option, closing lets requests end.
func TestFinish(t *testing.T) {
	t.Parallel()
	for _, finish := range []bool{true, false} {
		f := New(func([]byte) (Serve, bool) {
			return func(ctx context.Context, _ io.ReadCloser, answer io.Writer) error {
				for range 10 {
					if _, err := answer.Write([]byte("answer")); err != nil {
						return err
					}
				}
				return vfs.EROFS
			}, false
		}, Options{MaxLine: 10, Finish: finish})
		if err := writeAll(t.Context(), f, "a\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(t.Context()); finish && err != vfs.EROFS || !finish && err != nil {
			t.Errorf("finish %v: got %v", finish, err)
		}
	}
	f := New(begin, Options{MaxLine: 10, Finish: true})
	if err := writeAll(t.Context(), f, "hang\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := f.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closing a request that hangs: got %v", err)
	}
}

// TestWaits: whatever waits ends with the context of the call.
func TestWaits(t *testing.T) {
	t.Parallel()
	never := func([]byte) (Serve, bool) {
		return func(ctx context.Context, body io.ReadCloser, _ io.Writer) error { <-ctx.Done(); return ctx.Err() }, true
	}
	for _, wait := range []string{"r", "w " + strings.Repeat("x", bodyRoom+1)} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		f := New(never, Options{MaxLine: 10})
		if err := writeAll(ctx, f, "a\n"); err != nil {
			t.Fatal(err)
		}
		if got := do(t, ctx, f, wait); got != "ETIMEDOUT" && got != "ECANCELED" {
			t.Errorf("%.5q: got %s", wait, got)
		}
		f.Discard()
		cancel()
	}
}

// poll waits for events as poll_oneoff does.
func poll(t *testing.T, f *File, want vfs.Events) int64 {
	t.Helper()
	woken := make(chan struct{}, 1)
	stop := f.Notify(want, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	defer stop()
	for {
		if got, n := f.Ready(want); got&want != 0 {
			return n
		}
		select {
		case <-woken:
		case <-time.After(time.Minute):
			t.Fatal("nothing happened")
		}
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	ctx := callContext(t)
	f := newFile(t, begin)
	if got, _ := f.Ready(vfs.Readable | vfs.Writable); got != vfs.Readable|vfs.Writable {
		t.Errorf("before a request: got %b", got)
	}
	if err := writeAll(ctx, f, "a\n"); err != nil {
		t.Fatal(err)
	}
	if n := poll(t, f, vfs.Readable); n != 3 {
		t.Errorf("got %d bytes to read, want 3", n)
	}
	if out, err := readAll(ctx, f); err != nil || string(out) != "<a>" {
		t.Errorf("got %q, %v", out, err)
	}
	poll(t, f, vfs.Readable) // the end

	// A body goes as fast as it is taken.
	proceed := make(chan struct{})
	f = newFile(t, func([]byte) (Serve, bool) {
		return func(_ context.Context, body io.ReadCloser, answer io.Writer) error {
			<-proceed
			n, err := io.Copy(io.Discard, body)
			fmt.Fprint(answer, n)
			return err
		}, true
	})
	if err := writeAll(ctx, f, "a\n"+strings.Repeat("x", bodyRoom)); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.Ready(vfs.Writable); got != 0 {
		t.Errorf("no room: got %b", got)
	}
	close(proceed)
	poll(t, f, vfs.Writable)
	if err := writeAll(ctx, f, "xx"); err != nil {
		t.Fatal(err)
	}
	poll(t, f, vfs.Readable)
	if out, err := readAll(ctx, f); err != nil || string(out) != fmt.Sprint(bodyRoom+2) {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestHammer has many guests do what they like.
func TestHammer(t *testing.T) {
	before := runtime.NumGoroutine()
	budget := engine.NewBudget(64 << 20)
	var guests sync.WaitGroup
	for seed := range uint64(16) {
		guests.Go(func() {
			random := rand.New(rand.NewPCG(seed, 0))
			for range 60 {
				hammer(t, random, budget)
			}
		})
	}
	guests.Wait()
	wait(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	wait(t, "memory is given back", func() bool { return budget.Used() == 0 })
}

func hammer(t *testing.T, random *rand.Rand, budget *engine.Budget) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := New(begin, Options{MaxLine: 100})
	f.budget = budget
	defer f.Discard()
	for range random.IntN(20) {
		switch random.IntN(8) {
		case 0:
			f.Write(ctx, []byte("hang\n"))
			f.Discard()
		case 1:
			f.Write(ctx, []byte("body\n"))
			f.Write(ctx, make([]byte, random.IntN(3*bodyRoom)))
		case 2:
			f.Write(ctx, []byte("fail\n"))
		case 3:
			f.Write(ctx, []byte("x"))
		case 4:
			f.Notify(vfs.Readable|vfs.Writable, func() {})()
		case 5:
			f.Read(ctx, make([]byte, random.IntN(5)))
		case 6:
			if random.IntN(10) == 0 {
				cancel()
			}
		case 7:
			f.Discard()
			text := fmt.Sprint(random.Uint64())
			if err := writeAll(ctx, f, text+"\n"); err != nil {
				t.Errorf("writing: %v", err)
			}
			if out, err := readAll(ctx, f); err == nil && string(out) != "<"+text+">" {
				t.Errorf("got %q, want <%s>", out, text)
			}
		}
	}
}

// FuzzFraming: the same bytes are the same requests, however they are cut into writes.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("a\n"), []byte{1})
	f.Add([]byte("\n\nabc\n\n"), []byte{2, 1})
	f.Add([]byte("body\nabc\ndef"), []byte{3, 3})
	f.Add(bytes.Repeat([]byte("x"), 101), []byte{100})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		if bytes.Contains(text, []byte("hang")) || bytes.Contains(text, []byte("panic")) {
			t.Skip()
		}
		ctx := context.Background()
		file := New(begin, Options{MaxLine: 100})
		defer file.Discard()
		var failed error
		for rest := text; len(rest) > 0 && failed == nil; {
			n := len(rest)
			if len(cuts) > 0 {
				n, cuts = min(n, 1+int(cuts[0])), cuts[1:]
			}
			failed = writeAll(ctx, file, string(rest[:n]))
			rest = rest[n:]
		}
		if failed != nil {
			return
		}
		request, rest, whole := bytes.Cut(bytes.TrimLeft(text, "\n"), []byte("\n"))
		out, err := readAll(ctx, file)
		switch want := "<" + string(request) + ">"; {
		case !whole && len(request) == 0:
			if err != nil || len(out) != 0 {
				t.Errorf("no request: got %q, %v", out, err)
			}
		case !whole:
			if err != vfs.EINVAL {
				t.Errorf("half a line: got %q, %v", out, err)
			}
		case string(request) == "fail":
			if err != vfs.EFBIG {
				t.Errorf("got %v", err)
			}
		case bytes.HasPrefix(request, []byte("body")) && string(request) != "body closed":
			want = "<" + string(request) + "+" + string(rest) + ">"
			fallthrough
		default:
			if err != nil || string(out) != want {
				t.Errorf("got %q, %v, want %q", out, err, want)
			}
		}
	})
}
