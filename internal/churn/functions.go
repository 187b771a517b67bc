package churn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// function is a function that the server has, and the versions it may answer as.
type function struct {
	name, route string
	file        string
	size        int
	oldest      atomic.Int64 // that may still answer
	newest      atomic.Int64 // that has been written, or is about to be
}

// load is what the requests of some clients have met with.
type load struct {
	answered atomic.Int64
	resent   atomic.Int64 // by Go's client, as their connection had been closed while it was idle
	lost     atomic.Int64 // connections that ended before any byte of an answer
	failed   atomic.Int64

	mu       sync.Mutex
	failures []string // the first few
	losses   map[string]int
}

func (l *load) fail(format string, args ...any) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 10 {
		l.failures = append(l.failures, fmt.Sprintf(format, args...))
	}
}

// tries is how often a request is sent again that was lost each time before.
const tries = 20

// isLost tells whether a request came to nothing as its connection ended.
func isLost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (l *load) lose(err error) {
	l.lost.Add(1)
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.losses == nil {
		l.losses = make(map[string]int)
	}
	l.losses[err.Error()]++
}

// functionsIn makes functions below dir: half of them named by the configuration, half in a folder.
func functionsIn(dir string, count, size int) (all []*function, err error) {
	for i := range count {
		f := &function{name: fmt.Sprint("fn", i), size: size}
		f.route, f.file = "/"+f.name, filepath.Join(dir, f.name, f.name+".wasm")
		if i%2 == 1 {
			f.route, f.file = "/folder/"+f.name, filepath.Join(dir, "folder", f.name+".wasm")
		}
		if err := os.MkdirAll(filepath.Dir(f.file), 0o700); err != nil {
			return nil, err
		}
		if err := f.write(1); err != nil {
			return nil, err
		}
		f.oldest.Store(1)
		all = append(all, f)
	}
	return all, nil
}

// write puts a version in the place of the one before.
func (f *function) write(version int64) error {
	f.newest.Store(version)
	aside := filepath.Join(filepath.Dir(f.file), "."+f.name)
	if err := os.WriteFile(aside, Module(f.name, int(version), f.size), 0o600); err != nil {
		return err
	}
	return os.Rename(aside, f.file)
}

// check tells what is wrong with an answer.
func (f *function) check(oldest int64, status int, body string) error {
	if status != http.StatusOK {
		return fmt.Errorf("%s: status %d", f.name, status)
	}
	version, ok := versionOf(body, f.name)
	if !ok || body != Answer(f.name, version, f.size) {
		return fmt.Errorf("%s: the answer %q is no version's", f.name, body)
	}
	if newest := f.newest.Load(); int64(version) < oldest || int64(version) > newest {
		return fmt.Errorf("%s: answered as version %d, of %d to %d", f.name, version, oldest, newest)
	}
	return nil
}

// ask sends one request. begun tells whether anything came of an answer.
func ask(ctx context.Context, client *http.Client, route string) (status int, body string, begun bool, connections int, err error) {
	var first atomic.Bool
	var conns atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { conns.Add(1) },
		GotFirstResponseByte: func() { first.Store(true) },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+route, nil)
	if err != nil {
		return 0, "", false, 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", first.Load(), int(conns.Load()), err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), true, int(conns.Load()), err
}

// client asks one function after the other until ctx ends. target says what a request's route is and
// how its answer is checked. A request that is lost with its connection is sent again.
func (l *load) client(ctx context.Context, client *http.Client, seed uint64, target func(*rand.Rand) (string, func(int, string) error)) {
	defer client.CloseIdleConnections()
	random := rand.New(rand.NewPCG(2, seed))
	for ctx.Err() == nil {
		route, check := target(random)
		for try := 0; ; try++ {
			// Not with ctx: what has been sent is waited for.
			status, body, begun, connections, err := ask(context.Background(), client, route)
			l.resent.Add(int64(max(0, connections-1)))
			if isLost(err) && !begun && try < tries {
				l.lose(err)
				time.Sleep(time.Millisecond)
				continue
			}
			if err == nil {
				err = check(status, body)
			}
			if err != nil {
				l.fail("%s: %v", route, err)
			} else {
				l.answered.Add(1)
			}
			break
		}
	}
}

// swap writes another version and waits until it answers.
func (f *function) swap(ctx context.Context, client *http.Client) error {
	version := f.newest.Load() + 1
	if err := f.write(version); err != nil {
		return err
	}
	want := Answer(f.name, int(version), f.size)
	for deadline := time.Now().Add(time.Minute); ; {
		_, body, _, _, err := ask(ctx, client, f.route)
		if err == nil && body == want {
			f.oldest.Store(version)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: version %d is not served: got %q, %v", f.name, version, body, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// site is a configuration with all functions. Different marks make different ones.
func site(dir string, n network, functions []*function, mark int, cache string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "header X-Mark %d\n", mark)
	for i, f := range functions {
		if i%2 == 0 {
			fmt.Fprintf(&b, "gojinn %s %s\n", f.route, f.file)
		}
	}
	if len(functions) > 0 {
		fmt.Fprintf(&b, "handle_path /folder/* {\ngojinn_dir %s\n}\n", filepath.Join(dir, "folder"))
	}
	if len(functions) == 0 {
		b.WriteString("respond / ok\n")
	}
	return config(dir, n, b.String(), cache)
}

// config is a configuration with a site of these directives, and a code cache of this size.
func config(dir string, n network, site, cache string) string {
	bind, port := "unix/"+n.address, "80"
	if n.name == "tcp" {
		bind, port, _ = strings.Cut(n.address, ":")
	}
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	auto_https off
	grace_period 10s
	metrics
	log {
		format json
		level INFO
	}
	gojinn {
		cache_dir %s
		cache_size %s
	}
}
http://:%s {
	bind %s
	metrics /metrics
	%s
}
`, filepath.Join(dir, "admin"), filepath.Join(dir, "cache"), cache, port, bind, site)
}
