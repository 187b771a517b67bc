package gojinn

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

// streaming is the configuration of a function with contract stream.
func streaming(t *testing.T, path, name string, wasm []byte, options ...string) string {
	t.Helper()
	return fmt.Sprintf("gojinn %s %s {\ncontract stream\nname %s\n%s\n}", path, moduleFile(t, "fn.wasm", wasm), name, strings.Join(options, "\n"))
}

const failures = "handle_errors {\nrespond \"{http.error.status_code} {http.gojinn.reason}\"\n}"

// ended waits until a function's only call has ended, and says how.
func (s *server) ended(name, reason string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Log(logBuffer.find(s.t, "call failed"))
		}
	}()
	eventually(s.t, name+" has ended with "+reason, func() bool {
		for _, entry := range logBuffer.find(s.t, "call failed") {
			if entry["function"] == name && entry["reason"] == reason {
				return runningCalls(name) == 0
			}
		}
		return false
	})
}

// TestStreamAnswers has a program for each way in which an answer can be written, and a call can end, over
// each version of HTTP.
func TestStreamAnswers(t *testing.T) {
	forever := sleeps(time.Hour)
	tests := []struct {
		name    string
		wasm    []byte
		options string
		method  string // of the request; "": GET
		request string // its body
		status  int
		body    string
		cut     bool // the client learns that the answer is incomplete
	}{
		{name: "head and body", wasm: steps(prints(`{"status":201,"headers":{"X-A":"b"}}` + "\nbody")), status: 201, body: "body"},
		{name: "byte by byte", wasm: steps(spells(`{"status":202}` + "\nbody")), status: 202, body: "body"},
		{name: "in two writes", wasm: steps(prints(`{"stat`), prints("us\":202}\nbo"), prints("dy")), status: 202, body: "body"},
		{name: "no newline", wasm: steps(prints(`{"status":203}`)), status: 203},
		{name: "no body", wasm: steps(prints(line)), status: 200},
		{name: "body before head", wasm: steps(prints(secret+"\n"), prints(line)), status: 502, body: "502 bad_response"},
		{name: "no head at all", wasm: steps(fills(2, "x")), status: 502, body: "502 bad_response"},
		{name: "head twice", wasm: steps(prints(line), prints(line+"x")), status: 200, body: line + "x"},
		{name: "head with a body", wasm: steps(prints(`{"body":"` + secret + `"}` + "\n")), status: 502, body: "502 bad_response"},
		{name: "head without end", wasm: steps(prints("{"), fills(33, " "), forever), status: 502, body: "502 bad_response"},
		{name: "empty", wasm: steps(), status: 502, body: "502 bad_response"},
		{name: "only a line end", wasm: steps(prints("\n")), status: 502, body: "502 bad_response"},
		{name: "after the output is closed", wasm: steps(prints(line+"a"), closes(1), prints("b")), status: 200, body: "a"},
		{name: "Content-Length of its own", wasm: steps(prints(`{"headers":{"Content-Length":"3","Transfer-Encoding":"identity"}}` + "\nabcdef")), status: 200, body: "abcdef"},
		{name: "large", wasm: steps(prints(line), fills(16, "y")), status: 200, body: strings.Repeat("y", 1<<20)},
		{name: "204", wasm: steps(prints("{\"status\":204}\n" + secret)), status: 204},
		{name: "304", wasm: steps(prints("{\"status\":304}\n" + secret)), status: 304},
		{name: "HEAD", wasm: steps(prints("{\"status\":203}\n"+secret), sleeps(time.Millisecond)), method: "HEAD", status: 203},
		{name: "HEAD without newline", wasm: steps(prints("{\"status\":203}")), method: "HEAD", status: 203},
		{name: "echo", wasm: steps(skipsHead(), prints(line), repeats()), method: "POST", request: "some bytes", status: 200, body: "some bytes"},
		{name: "large echo", wasm: steps(skipsHead(), prints(line), repeats()), method: "POST", request: strings.Repeat("z", 1<<20), status: 200, body: strings.Repeat("z", 1<<20)},
		{name: "body unread", wasm: steps(prints(line + "x")), method: "POST", request: "some bytes", status: 200, body: "x"},

		{name: "exit before the head", wasm: steps(prints(`{"status"`), leaves(3)), status: 502, body: "502 exit"},
		{name: "exit with a head without newline", wasm: steps(prints(`{}`), leaves(3)), status: 502, body: "502 exit"},
		{name: "trap before the head", wasm: steps(crashes()), status: 502, body: "502 trap"},
		{name: "trap before the head, body unread", wasm: steps(crashes()), method: "POST", request: "some bytes", status: 502, body: "502 trap"},
		{name: "timeout before the head", wasm: steps(computes()), options: "timeout 200ms", status: 504, body: "504 timeout"},
		{name: "timeout asleep", wasm: steps(forever), options: "timeout 200ms", status: 504, body: "504 timeout"},
		{name: "fuel before the head", wasm: steps(computes()), options: "fuel 1000000", status: 504, body: "504 fuel"},
		{name: "too much before the head", wasm: steps(fills(1, " ")), options: "max_response 100", status: 502, body: "502 response_too_large"},
		{name: "idle asleep", wasm: steps(forever), options: "idle_timeout 200ms", status: 504, body: "504 timeout"},
		{name: "idle computing", wasm: steps(computes()), options: "idle_timeout 200ms", status: 504, body: "504 timeout"},
		{name: "over max_request, announced", wasm: steps(prints(line)), options: "max_request 5", method: "POST", request: "sixsix", status: 413, body: "413 request_too_large"},
		{name: "within max_request", wasm: steps(drains(), prints(line+"x")), options: "max_request 6", method: "POST", request: "sixsix", status: 200, body: "x"},

		{name: "exit after the head", wasm: steps(prints(line+"part"), leaves(3)), cut: true},
		{name: "trap after the head", wasm: steps(prints(line+"part"), crashes()), cut: true},
		{name: "trap after a long part", wasm: steps(prints(line), fills(4, "p"), crashes()), cut: true},
		{name: "timeout after the head", wasm: steps(prints(line+"part"), computes()), options: "timeout 200ms", cut: true},
		{name: "timeout after the head, asleep", wasm: steps(prints(line+"part"), forever), options: "timeout 200ms", cut: true},
		{name: "fuel after the head", wasm: steps(prints(line+"part"), computes()), options: "fuel 1000000", cut: true},
		{name: "too much after the head", wasm: steps(prints(line), fills(1, "p")), options: "max_response 100", cut: true},
		{name: "idle after the head", wasm: steps(prints(line+"part"), forever), options: "idle_timeout 200ms", cut: true},
	}
	site := []string{failures}
	for i, test := range tests {
		site = append(site, streaming(t, fmt.Sprintf("/%d", i), fmt.Sprintf("f%d", i), test.wasm, test.options))
	}
	s, protocols := serveProtocols(t, lines(site...))
	for _, p := range protocols {
		for i, test := range tests {
			t.Run(p.name+"/"+test.name, func(t *testing.T) {
				method := test.method
				if method == "" {
					method = "GET"
				}
				r, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("%s/%d", s.url, i), strings.NewReader(test.request))
				if err != nil {
					t.Fatal(err)
				}
				status, body, header, err := ask(p.client, r)
				if strings.Contains(body, secret) || strings.Contains(fmt.Sprint(header), secret) {
					t.Errorf("the client sees guest text: %.200q", body)
				}
				if test.cut {
					if err == nil {
						t.Errorf("got %d %.200q as a whole answer", status, body)
					}
					return
				}
				if err != nil || status != test.status || body != test.body || header.Get("Content-Length") == "3" {
					t.Errorf("got %d %.200q, %v", status, body, err)
				}
			})
		}
	}
}

// ask sends a request. Its error says that the answer is not there as a whole.
func ask(client *http.Client, r *http.Request) (status int, body string, header http.Header, err error) {
	response, err := client.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), response.Header, err
}

// TestStreamConnections: whatever becomes of a request, no part of it is taken for the next, nor has
// the next to pay for it.
func TestStreamConnections(t *testing.T) {
	programs := []struct {
		name    string
		wasm    []byte
		options string
	}{
		{"reads all", steps(drains(), prints(line+"x")), ""},
		{"echoes", steps(skipsHead(), prints(line), repeats()), ""},
		{"reads nothing", steps(prints(line + "x")), ""},
		{"reads nothing, head without newline", steps(prints("{}")), ""},
		{"reads a part", steps(skipsHead(), takes(2), prints(line+"x")), ""},
		{"answers while it reads", steps(skipsHead(), takes(2), prints(line+"x"), sleeps(20*time.Millisecond)), ""},
		{"no content", steps(prints("{\"status\":204}\n")), ""},
		{"writes much", steps(prints(line), fills(4, "p")), ""},
		{"traps", steps(crashes()), ""},
		{"traps when it has read", steps(skipsHead(), takes(2), crashes()), ""},
		{"traps when it has begun", steps(prints(line+"x"), sleeps(time.Millisecond), crashes()), ""},
		{"bad head", steps(skipsHead(), takes(2), prints("x\n")), ""},
		{"times out", steps(computes()), "timeout 50ms"},
		{"times out reading", steps(drains(), prints(line)), "timeout 50ms"},
		{"idle", steps(drains(), prints(line)), "idle_timeout 50ms"},
		{"too large", steps(drains(), prints(line)), "max_request 8"},
		{"too large when it has begun", steps(prints(line), sleeps(time.Millisecond), drains()), "max_request 8"},
	}
	site := []string{
		failures,
		"gojinn /next " + moduleFile(t, "next.wasm", answer(`{"body":"next"}`)),
		"respond /smuggled smuggled",
		"gojinn /smuggled2 " + moduleFile(t, "smuggled.wasm", answer(`{"body":"smuggled"}`)),
	}
	for i, program := range programs {
		site = append(site, streaming(t, fmt.Sprintf("/%d", i), fmt.Sprintf("f%d", i), program.wasm, program.options))
	}
	s := serve(t, lines(site...))
	const smuggled, next = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
	requests := []struct{ name, head, sooner, later string }{
		{"at once", fmt.Sprintf("Content-Length: %d\r\n", len(smuggled)), smuggled, ""},
		{"nothing", "", "", ""},
		{"later", fmt.Sprintf("Content-Length: %d\r\n", len(smuggled)), "", smuggled},
		{"in two parts", fmt.Sprintf("Content-Length: %d\r\n", 2+len(smuggled)), "ab", smuggled},
		{"chunked", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), ""},
		{"chunked, later", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n", 2+len(smuggled)) + "ab", smuggled + "\r\n0\r\n\r\n"},
		{"expected", fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n", len(smuggled)), "", smuggled},
	}
	for i, program := range programs {
		for _, request := range requests {
			t.Run(program.name+"/"+request.name, func(t *testing.T) {
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
					t.Fatal(err)
				}
				send := func(text string) { _, _ = io.WriteString(conn, text) } // it may be closed already
				send(fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: x\r\n%s\r\n%s", i, request.head, request.sooner))
				in := bufio.NewReader(conn)
				asked := &http.Request{Method: "POST"}
				first := make(chan *http.Response, 1)
				if request.later != "" {
					// Before the answer has come to its end, or after it.
					go func() {
						time.Sleep(100 * time.Millisecond)
						send(request.later)
					}()
				}
				response, err := http.ReadResponse(in, asked)
				for err == nil && response.StatusCode == http.StatusContinue {
					response, err = http.ReadResponse(in, asked)
				}
				if err != nil {
					return // it has been closed
				}
				first <- response
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					return
				}
				if request.later != "" {
					time.Sleep(150 * time.Millisecond)
				}
				send(next)
				rest, _ := io.ReadAll(io.LimitReader(in, 1)) // that it is closed may be seen as an error
				if len(rest) == 0 {
					if !response.Close && request.later == "" && request.head == "" {
						t.Error("the connection is closed though it need not be")
					}
					return
				}
				if response.Close {
					t.Error("the connection goes on though it was to be closed")
				}
				second, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(rest), in)), asked)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(second.Body)
				if second.StatusCode != 200 || string(body) != "next" || err != nil {
					t.Errorf("the next request: got %d %q, %v", second.StatusCode, body, err)
				}
			})
		}
	}
	if entries := logBuffer.find(t, "call failed"); len(entries) > 0 {
		for _, entry := range entries {
			if entry["function"] == "next" {
				t.Errorf("got %v", entry)
			}
		}
	}
}

// TestStreamDuplex: requests and answers go on at the same time.
func TestStreamDuplex(t *testing.T) {
	s, protocols := serveProtocols(t, lines(
		streaming(t, "/echo", "echo", steps(skipsHead(), prints(line), repeats())),
		streaming(t, "/early", "early", steps(skipsHead(), takes(1), prints(line), fills(16, "e"))),
		streaming(t, "/all", "all", steps(drains(), prints(line+"all"))),
	))
	for _, p := range protocols {
		t.Run(p.name+"/in turns", func(t *testing.T) {
			body, sender := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/echo", body)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(sender, "first") }()
			response, err := p.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			got := make([]byte, 5)
			for _, text := range []string{"first", "again", "third"} {
				if text != "first" {
					if _, err := io.WriteString(sender, text); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != text {
					t.Fatalf("got %q, %v, want %q", got, err, text)
				}
			}
			sender.Close()
			if rest, err := io.ReadAll(response.Body); err != nil || len(rest) > 0 {
				t.Errorf("got %q, %v", rest, err)
			}
		})
		t.Run(p.name+"/early exit", func(t *testing.T) {
			for range 3 { // also of a connection that has been used
				r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/early", struct{ io.Reader }{letters{}}) // without end
				if err != nil {
					t.Fatal(err)
				}
				if status, got, _, err := ask(p.client, r); status != 200 || err != nil || len(got) != 1<<20 {
					t.Errorf("got %d, %d bytes, %v", status, len(got), err)
				}
			}
		})
		t.Run(p.name+"/byte by byte", func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/echo", &bytewise{text: strings.Repeat("slow", 50)})
			if err != nil {
				t.Fatal(err)
			}
			if status, got, _, err := ask(p.client, r); status != 200 || err != nil || got != strings.Repeat("slow", 50) {
				t.Errorf("got %d %q, %v", status, got, err)
			}
		})
	}
}

// TestRequestStreamOver: who reads ahead may begin when the call is over, and its buffer is another's.
func TestRequestStreamOver(t *testing.T) {
	head := []byte("head\n")
	s := &requestStream{head: head, body: strings.NewReader("body"), progress: new(progress)}
	p := make([]byte, 2)
	if n, err := s.Read(p); n != 2 || err != nil || string(p) != "he" {
		t.Fatalf("got %d, %v, %q", n, err, p)
	}
	s.end()
	if n, err := s.Read(p); n != 0 || !errors.Is(err, errOver) {
		t.Errorf("got %d, %v, %q", n, err, p)
	}
}

// bytewise is a body that comes byte by byte.
type bytewise struct{ text string }

func (b *bytewise) Read(p []byte) (int, error) {
	if b.text == "" {
		return 0, io.EOF
	}
	time.Sleep(time.Millisecond)
	p[0], b.text = b.text[0], b.text[1:]
	return 1, nil
}

// TestStreamClientLeaves: a client that goes away ends its call, whatever that is about.
func TestStreamClientLeaves(t *testing.T) {
	forever := sleeps(time.Hour)
	tests := []struct {
		name string
		wasm []byte
	}{
		{"asleep", steps(prints(line+"x"), forever)},
		{"reading", steps(prints(line+"x"), drains(), logs(secret))},
		{"writing", steps(prints(line), fills(1<<20, "x"))},
		{"computing", steps(prints("{\"headers\":{\"Content-Type\":\"text/event-stream\"}}\nx"), computes())},
	}
	var site []string
	for i, test := range tests {
		site = append(site, streaming(t, fmt.Sprintf("/%d", i), fmt.Sprintf("f%d", i), test.wasm))
	}
	s, protocols := serveProtocols(t, lines(site...))
	for _, p := range protocols {
		for i, test := range tests {
			t.Run(p.name+"/"+test.name, func(t *testing.T) {
				logBuffer.reset()
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				var body io.Reader
				method := "GET"
				if test.name == "reading" {
					reader, writer := io.Pipe()
					defer writer.Close()
					go func() { _, _ = io.WriteString(writer, "part") }()
					body, method = reader, "POST"
				}
				r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/%d", s.url, i), body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := p.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				left := time.Now()
				leave()
				response.Body.Close() // a client that waits for its request's body may not notice
				s.ended(fmt.Sprintf("f%d", i), "canceled")
				if took := time.Since(left); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
				for _, entry := range logBuffer.entries(t) {
					if strings.Contains(fmt.Sprint(entry), secret) {
						t.Error("a part of the request was taken for all of it")
					}
				}
			})
		}
	}
}

// TestStreamTruncatedUpload: what is not a whole request doesn't look like one, however it was cut.
func TestStreamTruncatedUpload(t *testing.T) {
	s := serve(t, lines(failures, streaming(t, "/all", "all", steps(drains(), logs(secret), prints(line)))))
	for name, text := range map[string]string{
		"counted": "Content-Length: 100\r\n\r\nhalf",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"cut":     "Transfer-Encoding: chunked\r\n\r\n10\r\nhalf",
		"broken":  "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			logBuffer.reset()
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST /all HTTP/1.1\r\nHost: x\r\n"+text); err != nil {
				t.Fatal(err)
			}
			if name == "broken" {
				answer, err := io.ReadAll(conn)
				if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.HasSuffix(string(answer), "400 canceled") {
					t.Errorf("got %q, %v", answer, err)
				}
			}
			conn.Close()
			s.ended("all", "canceled")
			for _, entry := range logBuffer.entries(t) {
				if strings.Contains(fmt.Sprint(entry), secret) {
					t.Error("a part was taken for the whole")
				}
			}
		})
	}
}

// TestStreamTooLarge: a body that turns out to be too large is refused as long as there is no answer, and
// cuts the answer after that.
func TestStreamTooLarge(t *testing.T) {
	s, protocols := serveProtocols(t, lines(failures,
		streaming(t, "/before", "before", steps(drains(), prints(line)), "max_request 100KiB"),
		streaming(t, "/after", "after", steps(skipsHead(), prints(line), repeats()), "max_request 100KiB"),
	))
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			body := func() io.Reader { return struct{ io.Reader }{io.LimitReader(letters{}, 200<<10)} }
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/before", body())
			if err != nil {
				t.Fatal(err)
			}
			if status, got, _, err := ask(p.client, r); status != 413 || got != "413 request_too_large" || err != nil {
				t.Errorf("got %d %q, %v", status, got, err)
			}
			if r, err = http.NewRequestWithContext(t.Context(), "POST", s.url+"/after", body()); err != nil {
				t.Fatal(err)
			}
			if status, got, _, err := ask(p.client, r); err == nil {
				t.Errorf("got %d and %d bytes as a whole answer", status, len(got))
			}
		})
	}
}

// TestStreamSlowReader: a client that doesn't take what it asked for holds nobody else and next to no memory,
// and not for ever.
func TestStreamSlowReader(t *testing.T) {
	flood := steps(prints(line), fills(1<<20, "x")) // 64 GiB
	s, protocols := serveProtocols(t, lines(
		streaming(t, "/idle", "idle", flood, "idle_timeout 1s"),
		streaming(t, "/timeout", "timeout", flood, "timeout 1s"),
		streaming(t, "/slow", "slow", flood),
		"gojinn /other "+moduleFile(t, "other.wasm", answer(`{"body":"other"}`)),
	))
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			logBuffer.reset()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			try := func(path string) (*http.Response, error) {
				r, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				return p.client.Do(r)
			}
			open := func(path string) *http.Response {
				response, err := try(path)
				if err != nil {
					t.Fatal(err)
				}
				return response
			}
			slow := open("/slow")
			defer slow.Body.Close()
			stalled := open("/idle")
			defer stalled.Body.Close()
			late, errLate := try("/timeout") // which may be over before the client has seen anything of it
			if errLate == nil {
				defer late.Body.Close()
			}
			for range 3 { // it takes a byte a second
				if _, err := io.ReadFull(slow.Body, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				other := open("/other")
				if got, err := io.ReadAll(other.Body); string(got) != "other" || err != nil {
					t.Errorf("beside it: got %q, %v", got, err)
				}
				other.Body.Close()
				time.Sleep(time.Second)
			}
			s.ended("idle", "timeout")
			s.ended("timeout", "timeout")
			if got := runningCalls("slow"); got != 1 {
				t.Errorf("got %d calls of the slow client, want 1", got)
			}
			runtime.GC()
			runtime.ReadMemStats(&now)
			if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 { // both ends of three connections
				t.Errorf("memory has grown by %d bytes", grown)
			}
			if errLate == nil {
				_, errLate = io.Copy(io.Discard, late.Body)
			}
			if errLate == nil {
				t.Error("a part was taken for the whole")
			}
			leave()
			s.ended("slow", "canceled")
		})
	}
}

// TestStreamIdle: what moves, in either direction, is not idle.
func TestStreamIdle(t *testing.T) {
	s := serve(t, lines(failures,
		streaming(t, "/writes", "writes", steps(prints(line), times(10, prints("x"), sleeps(200*time.Millisecond))), "idle_timeout 1500ms"),
		streaming(t, "/reads", "reads", steps(drains(), prints(line)), "idle_timeout 1500ms"),
		streaming(t, "/waits", "waits", steps(drains(), prints(line)), "idle_timeout 200ms"),
	))
	if got := s.get("/writes"); got.body != "xxxxxxxxxx" {
		t.Errorf("got %+v", got)
	}
	slowly := func(pause time.Duration) io.Reader {
		body, sender := io.Pipe()
		go func() {
			for range 10 {
				if _, err := sender.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(pause)
			}
			sender.Close()
		}()
		return body
	}
	if got := s.do("POST", "/reads", nil, slowly(200*time.Millisecond)); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	if got := s.do("POST", "/waits", nil, slowly(2*time.Second)); got.body != "504 timeout" {
		t.Errorf("got %+v", got)
	}
}

// TestStreamFlush: events are sent one by one, whatever the program does next, and all else before it waits.
func TestStreamFlush(t *testing.T) {
	const events = "{\"headers\":{\"Content-Type\":\"text/event-stream; charset=utf-8\"}}\n"
	s, protocols := serveProtocols(t, lines(
		"encode",
		streaming(t, "/events", "events", steps(prints(events), prints("data: 1\n\n"), computes())),
		streaming(t, "/before-sleep", "sleep", steps(prints(line), prints("some"), prints("thing"), sleeps(time.Hour))),
		streaming(t, "/before-read", "read", steps(skipsHead(), prints(line), prints("something"), takes(1), prints("more"), sleeps(time.Hour))),
		streaming(t, "/head", "head", steps(prints(events), sleeps(time.Hour))),
		streaming(t, "/busy", "busy", steps(prints(line), times(1<<30, prints("x"), times(1000)))),
	))
	for _, p := range protocols {
		for _, test := range []struct{ path, method, want string }{
			{"/events", "GET", "data: 1\n\n"},
			{"/before-sleep", "GET", "something"},
			{"/before-read", "POST", "something"},
			{"/head", "GET", ""},
			{"/busy", "GET", "xxxxx"},
		} {
			for _, encoding := range []string{"identity", "gzip"} {
				t.Run(p.name+test.path+"/"+encoding, func(t *testing.T) {
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					var body io.Reader
					if test.method == "POST" {
						reader, sender := io.Pipe()
						defer sender.Close()
						body = reader
					}
					r, err := http.NewRequestWithContext(ctx, test.method, s.url+test.path, body)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Accept-Encoding", encoding)
					response, err := p.client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					var from io.Reader = response.Body
					if got := response.Header.Get("Content-Encoding"); got == "gzip" && test.want != "" {
						if from, err = gzip.NewReader(response.Body); err != nil {
							t.Fatal(err)
						}
					} else if test.path == "/events" && encoding == "gzip" {
						t.Error("events are not compressed")
					}
					got := make([]byte, len(test.want))
					if _, err := io.ReadFull(from, got); err != nil || string(got) != test.want {
						t.Errorf("got %q, %v", got, err)
					}
					name := strings.TrimPrefix(strings.TrimPrefix(test.path, "/"), "before-")
					leave()
					response.Body.Close() // a client that waits for its request's body may not notice
					eventually(t, "it has ended", func() bool { return runningCalls(name) == 0 })
				})
			}
		}
	}
}

// TestStreamEncoded: an encoder in front neither makes a part look whole nor spoils an error page.
func TestStreamEncoded(t *testing.T) {
	s := serve(t, lines("encode {\nminimum_length 1\n}", failures,
		streaming(t, "/whole", "whole", steps(prints(line), fills(4, "w"))),
		streaming(t, "/part", "part", steps(prints(line), fills(4, "w"), crashes())),
		streaming(t, "/short", "short", steps(prints(line), prints("part"), crashes())),
		streaming(t, "/none", "none", steps(crashes())),
	))
	for path, want := range map[string]string{"/whole": strings.Repeat("w", 4<<16), "/part": "", "/short": "", "/none": "502 trap"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		status, got, _, err := ask(oneShot, r) // which asks for gzip
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%s: got %d and %d bytes, %v", path, status, len(got), err)
		}
	}
}

// TestStreamReload: a stream goes on when the configuration is replaced, for as long as the grace period.
func TestStreamReload(t *testing.T) {
	events := steps(prints("{\"headers\":{\"Content-Type\":\"text/event-stream\"}}\n"), times(1<<30, prints("x"), sleeps(10*time.Millisecond)))
	s := serveWith(t, "", streaming(t, "/events", "events", events))
	for _, test := range []struct {
		grace string
		cut   bool
	}{{"30s", false}, {"300ms", true}} {
		t.Run(test.grace, func(t *testing.T) {
			logBuffer.reset()
			if err := s.load("grace_period "+test.grace, streaming(t, "/events", "events", events)); err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := doAgain(oneShot, r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			read := func() error { _, err := io.ReadFull(response.Body, make([]byte, 1)); return err }
			if err := read(); err != nil {
				t.Fatal(err)
			}
			reloaded := make(chan error, 1)
			go func() { reloaded <- s.load("grace_period "+test.grace, "respond new") }()
			if test.cut {
				if _, err := io.Copy(io.Discard, response.Body); err == nil {
					t.Error("a part was taken for the whole")
				}
			} else {
				eventually(t, "the new configuration answers", func() bool { return s.get("/new").body == "new" })
				for range 200 {
					if err := read(); err != nil {
						t.Fatal(err)
					}
				}
				leave()
			}
			if err := <-reloaded; err != nil {
				t.Fatal(err)
			}
			eventually(t, "the call has ended", func() bool { return runningCalls("events") == 0 })
		})
	}
}

// TestStreamCheck: a check asks for the status, and waits for nothing that follows.
func TestStreamCheck(t *testing.T) {
	s := serve(t, "respond ok")
	route := 0
	for name, test := range map[string]struct {
		wasm []byte
		ok   bool
	}{
		"endless":   {steps(prints(line), times(1<<30, prints("x"), sleeps(time.Millisecond))), true},
		"silent":    {steps(prints("{\"status\":204}\n"), sleeps(time.Hour)), true},
		"no end":    {steps(prints(`{}`)), true},
		"500":       {steps(prints("{\"status\":500}\n"), sleeps(time.Hour)), false},
		"traps":     {steps(crashes()), false},
		"no answer": {steps(), false},
	} {
		t.Run(name, func(t *testing.T) {
			// A first version is not tried out: what replaces it is.
			path := moduleFile(t, "fn.wasm", steps(prints(line+"old")))
			route++ // Caddy may answer the next request by the configuration before
			site := fmt.Sprintf("gojinn /%d %s {\ncontract stream\ncheck /health\n}", route, path)
			if err := s.load("", site); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is there", func() bool { return s.get(fmt.Sprintf("/%d", route)).body == "old" })
			logBuffer.reset()
			put(t, path, test.wasm)
			want := "module changed"
			if !test.ok {
				want = "module refused; the version before it goes on serving"
			}
			eventually(t, "the new module has been looked at", func() bool { return len(logBuffer.find(t, want)) == 1 })
		})
	}
}

// TestStreamAborted: an answer that is cut is logged and counted as what it is.
func TestStreamAborted(t *testing.T) {
	s := serve(t, lines("log", "metrics /metrics",
		streaming(t, "/cut", "cut", steps(prints(line), fills(1, "x"), crashes()))))
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, got, _, err := ask(oneShot, r); err == nil {
		t.Errorf("got %d %.20q", status, got)
	}
	s.ended("cut", "trap")
	if got := grep(s.get("/metrics").body, `gojinn_requests_total{function="cut"`); got != "gojinn_requests_total{function=\"cut\",reason=\"trap\"} 1\n" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the access log has it", func() bool {
		for _, entry := range logBuffer.entries(t) {
			if entry["logger"] == "http.log.access" && strings.Contains(fmt.Sprint(entry["request"]), "/cut") {
				return true
			}
		}
		return false
	})
}

// TestStreamConcurrency: a stream has a turn as long as it goes on.
func TestStreamConcurrency(t *testing.T) {
	s := serve(t, lines(failures, streaming(t, "/", "events", steps(prints(line+"x"), sleeps(time.Hour)), "concurrency 2 queue 0")))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for range 2 {
		r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := oneShot.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
	}
	for _, body := range []io.Reader{nil, strings.NewReader("unread")} {
		if got := s.do("POST", "/", nil, body); got.body != "503 overloaded" || got.header.Get("Retry-After") != "1" {
			t.Errorf("got %+v", got)
		}
	}
	leave()
	eventually(t, "both have ended", func() bool { return runningCalls("events") == 0 })
}

// TestStreamExpect: a client that waits to be told to go on is told when the program reads, and not
// if it answers without.
func TestStreamExpect(t *testing.T) {
	s := serve(t, lines(
		streaming(t, "/echo", "echo", steps(skipsHead(), drains(), prints(line+"done"))),
		streaming(t, "/refuse", "refuse", steps(prints("{\"status\":403}\nno")))))
	const head = " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
	if got := s.raw("POST /refuse" + head); !strings.HasPrefix(got, "HTTP/1.1 403 ") || strings.Contains(got, "100 Continue") {
		t.Errorf("got %q", got)
	}
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /echo"+head); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if got, err := in.ReadString('\n'); got != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "body"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); !strings.Contains(string(got), "HTTP/1.1 200 ") || !strings.Contains(string(got), "done") {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestStreamMany: streams come and go, each in its own way, and none is left over.
func TestStreamMany(t *testing.T) {
	paths := []struct {
		path string
		wasm []byte
	}{
		{"/echo", steps(skipsHead(), prints(line), repeats())},
		{"/part", steps(skipsHead(), takes(10), prints(line+"x"))},
		{"/flood", steps(prints(line), fills(1<<20, "x"))},
		{"/trap", steps(prints(line+"x"), drains(), crashes())},
		{"/sleep", steps(prints(line+"x"), sleeps(time.Hour))},
	}
	var site []string
	for _, p := range paths {
		site = append(site, streaming(t, p.path, p.path[1:], p.wasm, "concurrency 200", "idle_timeout 5s"))
	}
	s, protocols := serveProtocols(t, lines(site...))
	var clients sync.WaitGroup
	var answered atomic.Int64
	for _, p := range protocols {
		for i := range 40 {
			clients.Go(func() {
				ctx, leave := context.WithTimeout(t.Context(), time.Duration(50+i*100)*time.Millisecond)
				defer leave()
				r, err := http.NewRequestWithContext(ctx, "POST", s.url+paths[i%len(paths)].path, struct{ io.Reader }{io.LimitReader(letters{}, int64(i)<<12)})
				if err != nil {
					t.Error(err)
					return
				}
				if status, _, _, err := ask(p.client, r); err == nil && status == 200 {
					answered.Add(1)
				}
			})
		}
	}
	clients.Wait()
	eventually(t, "all have ended", func() bool {
		for _, p := range paths {
			if runningCalls(p.path[1:]) > 0 {
				return false
			}
		}
		return true
	})
	if answered.Load() == 0 {
		t.Error("none was answered")
	}
}

// newResponseStream returns one that writes to w.
func newResponseStream(t *testing.T, e *engine.Engine, w http.ResponseWriter, method string) *responseStream {
	head := newBuffer(e.Budget())
	t.Cleanup(head.free)
	s := &responseStream{w: w, peer: &peer{ResponseController: http.NewResponseController(w)}, method: method, framing: streamFraming, head: head, progress: new(progress)}
	s.Begin(t.Context())
	return s
}

// TestResponseStreamSplits: it doesn't matter where a program's writes end.
func TestResponseStreamSplits(t *testing.T) {
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	const out = "{\"status\":201,\"headers\":{\"X\":\"é\"}}\nline one\nline two\n"
	for i := range len(out) + 1 {
		for j := i; j <= len(out); j++ {
			w := &recordedAnswer{header: make(http.Header)}
			s := newResponseStream(t, e, w, "GET")
			for _, part := range []string{out[:i], out[i:j], out[j:]} {
				if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
					t.Fatalf("split at %d and %d: %d, %v", i, j, n, err)
				}
			}
			if err := s.finish(); err != nil || w.status != 201 || w.body.String() != "line one\nline two\n" || w.header.Get("X") != "é" {
				t.Fatalf("split at %d and %d: got %d %q, %v", i, j, w.status, w.body.String(), err)
			}
		}
	}
}

// FuzzResponseStream: writes, however they are split, have the head that their whole has.
func FuzzResponseStream(f *testing.F) {
	f.Add([]byte("{\"status\":201}\nbody"), uint64(3))
	f.Add([]byte("{}"), uint64(1))
	f.Add([]byte("\n{}"), uint64(0))
	f.Add([]byte("{\"body\":\"x\"}\n"), uint64(1<<40|5))
	e, err := engine.New(engine.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	f.Fuzz(func(t *testing.T, out []byte, splits uint64) {
		head, body, _ := bytes.Cut(out, []byte("\n"))
		want, wantErr := contract.DecodeHead(head)
		w := &recordedAnswer{header: make(http.Header)}
		s := newResponseStream(t, e, w, "GET")
		var err error
		for rest := out; len(rest) > 0 && err == nil; splits = splits>>3 | splits<<61 {
			n := min(len(rest), int(splits&7)) // perhaps nothing
			if splits == 0 {
				n = len(rest)
			}
			_, err = s.Write(rest[:n])
			rest = rest[n:]
		}
		if err == nil {
			err = s.finish()
		}
		var bad *contract.DecodeError
		if (err != nil) != (wantErr != nil) || err != nil && !errors.As(err, &bad) {
			t.Fatalf("got %v, want %v", err, wantErr)
		}
		if err != nil {
			if w.status != 0 || w.body.Len() > 0 {
				t.Errorf("got %d %q of what is not an answer", w.status, w.body.String())
			}
			return
		}
		if want.Status == http.StatusNoContent || want.Status == http.StatusNotModified {
			body = nil
		}
		if w.status != want.Status || !bytes.Equal(w.body.Bytes(), body) {
			t.Errorf("got %d %q, want %d %q", w.status, w.body.String(), want.Status, body)
		}
		for name := range want.Header {
			if strings.Join(w.header[name], "\n") != strings.Join(want.Header[name], "\n") {
				t.Errorf("%s: got %q, want %q", name, w.header[name], want.Header[name])
			}
		}
	})
}

// recordedAnswer is a client that keeps what it is sent.
type recordedAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recordedAnswer) Header() http.Header         { return r.header }
func (r *recordedAnswer) WriteHeader(status int)      { r.status = status }
func (r *recordedAnswer) Write(p []byte) (int, error) { return r.body.Write(p) }
