// App is a function in Go as it is written with the SDK: a router, middleware
// and handlers that know nothing of functions.
package main

import (
	"bufio"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	gojinn "github.com/gojinn/gojinn/guest/go"
	"github.com/gojinn/gojinn/guest/go/kv"
)

// served counts what this program has answered: all see 1, besides what Warm has.
var served int

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("/about", func(w http.ResponseWriter, r *http.Request) {
		more := gojinn.RequestFrom(r.Context())
		json.NewEncoder(w).Encode([]any{len(more.ID), more.OriginalURI, r.RequestURI, r.Host, r.RemoteAddr, r.TLS != nil, r.URL.Query()["q"]})
	})
	mux.HandleFunc("/random", func(w http.ResponseWriter, r *http.Request) {
		var key [8]byte
		crand.Read(key[:])
		fmt.Fprint(w, rand.Uint64(), " ", key)
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/fetch", failing(fetch))
	mux.HandleFunc("/upload", failing(upload))
	mux.HandleFunc("/cancel", failing(cancel))
	mux.HandleFunc("/refused", failing(refused))
	mux.HandleFunc("/dial", failing(dial))
	mux.HandleFunc("/silent", failing(silent))
	mux.HandleFunc("/unreachable", failing(unreachable))
	mux.HandleFunc("/kv", failing(keys))
	handler := counting(mux)
	request, err := http.NewRequest("GET", "/hello/warm", nil)
	if err != nil {
		panic(err)
	}
	gojinn.Warm(handler, request)
	gojinn.Serve(handler)
}

func counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		w.Header().Set("X-Served", strconv.Itoa(served))
		next.ServeHTTP(w, r)
	})
}

// failing answers "ok", or 500 with what has gone wrong.
func failing(do func(r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := do(r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "ok")
	}
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// fetch gets the URL that it is given.
func fetch(r *http.Request) error {
	target := r.FormValue("url")
	response, err := http.Get(target + "/text?a=b#fragment")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	form, err := http.Post(target+"/echo", "text/plain", strings.NewReader("posted\xff"))
	if err != nil {
		return err
	}
	defer form.Body.Close()
	posted, err := io.ReadAll(form.Body)
	if err != nil {
		return err
	}
	head, err := http.Head(target + "/text")
	if err != nil {
		return err
	}
	defer head.Body.Close()
	moved, err := http.Get(target + "/moved")
	if err != nil {
		return err
	}
	defer moved.Body.Close()
	return errors.Join(
		expect("status", response.Status, "418 I'm a teapot"), expect("body", string(body), "GET /text?a=b"),
		expect("header", response.Header.Get("X-Answer"), "42"),
		expect("posted", string(posted), "POST /echo 7 text/plain posted\xff"), expect("length", form.ContentLength, int64(len(posted))),
		expect("head", head.ContentLength, 9), expect("redirect", moved.StatusCode, http.StatusTeapot),
		expect("moved to", moved.Request.URL.Path, "/text"),
	)
}

// upload streams a large body, and reads a large answer as it comes.
func upload(r *http.Request) error {
	const size = 3 << 20
	body := io.LimitReader(endless{}, size)
	response, err := http.Post(r.FormValue("url")+"/count", "application/octet-stream", body)
	if err != nil {
		return err
	}
	counted, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := errors.Join(response.Body.Close(), expect("counted", string(counted), strconv.Itoa(size))); err != nil {
		return err
	}
	response, err = http.Get(r.FormValue("url") + "/large")
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close(), expect("got", n, size))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// cancel gives up requests that aren't answered, or not wholly.
func cancel(r *http.Request) error {
	for _, path := range []string{"/never", "/half"} {
		for _, method := range []string{"GET", "POST"} {
			ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, method, r.FormValue("url")+path, strings.NewReader("body"))
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("%s %s: got %v, want that it took too long", method, path, err)
			}
		}
	}
	return nil
}

func refused(r *http.Request) error {
	_, err := http.Get("https://other.example/")
	var why *gojinn.Error
	if !errors.As(err, &why) || why.Code != "refused" {
		return fmt.Errorf("got %v, want that it is refused", err)
	}
	if _, err := gojinn.Dial("tcp", "other.example:1"); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("got %v, want that it is refused", err)
	}
	if _, err := gojinn.Dial("udp", "other.example:1"); err == nil {
		return errors.New("there is UDP")
	}
	return nil
}

// dial sends lines and reads them again.
func dial(r *http.Request) error {
	conn, err := gojinn.DialContext(r.Context(), "tcp", r.FormValue("address"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	lines := bufio.NewReader(conn)
	for i := range 100 {
		line := strconv.Itoa(i) + "\n"
		if _, err := io.WriteString(conn, line); err != nil {
			return err
		}
		if got, err := lines.ReadString('\n'); err != nil || got != line {
			return fmt.Errorf("got %q, %v, want %q", got, err, line)
		}
	}
	return nil
}

// silent waits for what doesn't come, and something else is done meanwhile.
func silent(r *http.Request) error {
	conn, err := gojinn.Dial("tcp", r.FormValue("address"))
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan error)
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	go func() {
		_, err := conn.Read(make([]byte, 1))
		done <- err
	}()
	for turns := 0; ; turns++ {
		select {
		case err := <-done:
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || turns == 0 {
				return fmt.Errorf("got %v after %d turns, want a timeout", err, turns)
			}
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

// unreachable is told that nobody listens.
func unreachable(r *http.Request) error {
	_, err := gojinn.Dial("tcp", r.FormValue("address"))
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.ECONNREFUSED) || op.Addr.String() != r.FormValue("address") {
		return fmt.Errorf("got %v, want that it is refused", err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if _, err := gojinn.DialContext(ctx, "tcp", r.FormValue("address")); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("got %v, want %v", err, context.Canceled)
	}
	return nil
}

type order struct{ Item string }

// keys does everything that can be done with keys.
func keys(*http.Request) error {
	n := kv.Open("test")
	if _, err := n.Get("none"); !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("got %v of no key", err)
	}
	if _, err := n.Item("none"); !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("got %v of no key", err)
	}
	if err := kv.Put(n, "orders/1", order{"lamp"}, kv.TTL(time.Hour)); err != nil {
		return err
	}
	o, err := kv.Get[order](n, "orders/1")
	if err := errors.Join(err, expect("order", o, order{"lamp"})); err != nil {
		return err
	}
	if err := n.Put("\xff", []byte("\x00\xfe")); err != nil {
		return err
	}
	item, err := n.Item("\xff")
	if err := errors.Join(err, expect("value", string(item.Value), "\x00\xfe"), expect("expires", item.Expires.IsZero(), true)); err != nil {
		return err
	}
	version, err := n.CAS("cas", 0, []byte("a"))
	if err != nil {
		return err
	}
	if _, err := n.CAS("cas", 0, []byte("b")); !errors.Is(err, kv.ErrExists) {
		return fmt.Errorf("got %v, want that there is one", err)
	}
	if _, err := n.CAS("cas", version+1000, []byte("b")); !errors.Is(err, kv.ErrConflict) {
		return fmt.Errorf("got %v, want a conflict", err)
	}
	if _, err := n.CAS("cas", version, []byte("b")); err != nil {
		return err
	}
	sum, err := n.Incr("n", 3)
	if err == nil {
		sum, err = n.Incr("n", -5)
	}
	if err := errors.Join(err, expect("sum", sum, -2)); err != nil {
		return err
	}
	if _, err := n.Incr("cas", 1); !errors.Is(err, kv.ErrNotInteger) {
		return fmt.Errorf("got %v, want that it is no integer", err)
	}
	var all []string
	for cursor := ""; ; {
		entries, next, err := n.List("", cursor, 2)
		if err != nil {
			return err
		}
		for _, e := range entries {
			all = append(all, e.Key)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if err := expect("keys", strings.Join(all, " "), "cas n orders/1 \xff"); err != nil {
		return err
	}
	if entries, _, err := n.List("ord", "", 0); err != nil || len(entries) != 1 || entries[0] != (kv.Entry{Key: "orders/1", Size: 15}) {
		return fmt.Errorf("got %v, %v", entries, err)
	}
	for _, key := range all {
		if err := n.Delete(key); err != nil {
			return err
		}
	}
	if err := n.Delete("n"); !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("got %v of no key", err)
	}
	return nil
}
