package kv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gojinn/gojinn/engine/vfs"
)

// ask sends a line to the device of a grant, and returns the answer.
func ask(ctx context.Context, g *grant, line string) (string, error) {
	f, err := directory{g}.Open(ctx, operations, vfs.Read|vfs.Write)
	if err != nil {
		return "", err
	}
	answer, err := exchangeLine(ctx, f, line)
	if errClose := f.Close(ctx); err == nil {
		err = errClose
	}
	return answer, err
}

func exchangeLine(ctx context.Context, f vfs.File, line string) (string, error) {
	for text := line + "\n"; len(text) > 0; {
		n, err := f.(vfs.Writer).Write(ctx, []byte(text))
		if err != nil {
			return "", err
		}
		text = text[n:]
	}
	var answer bytes.Buffer
	for piece := make([]byte, 1000); ; {
		n, err := f.(vfs.Reader).Read(ctx, piece)
		answer.Write(piece[:n])
		if n == 0 && (err == nil || err == io.EOF) {
			return answer.String(), nil
		}
		if err != nil {
			return answer.String(), err
		}
	}
}

// TestOperations runs lists of operations, each on a namespace of its own.
func TestOperations(t *testing.T) {
	t.Parallel()
	const none = `{"error":"not_found","message":"there is no such key"}`
	type step struct{ line, want string } // the answer, in which * is any number
	for _, test := range []struct {
		name, options string
		steps         []step
	}{
		{"put and get", "", []step{
			{`{"op":"get","key":"a"}`, none},
			{`{"op":"put","key":"a","value":"x"}`, `{"version":1}`},
			{`{"op":"get","key":"a"}`, `{"value":"x","version":1,"modified":*}`},
			{`{"op":"put","key":"a","value":"y"}`, `{"version":2}`},
			{`{"op":"delete","key":"a"}`, `{}`},
			{`{"op":"delete","key":"a"}`, none},
			{`{"op":"put","key":"a","value":""}`, `{"version":3}`},
			{`{"op":"get","key":"a"}`, `{"value":"","version":3,"modified":*}`},
			{`{"op":"put","key":"a","value":"<\"\n\u00e4\\>"}`, `{"version":4}`},
			{`{"op":"get","key":"a"}`, `{"value":"<\"\nä\\>","version":4,"modified":*}`},
		}},
		{"any bytes", "", []step{
			{`{"op":"put","key_base64":"AP8=","value_base64":"/wA="}`, `{"version":1}`},
			{`{"op":"get","key_base64":"AP8="}`, `{"value_base64":"/wA=","version":1,"modified":*}`},
			{`{"op":"put","key":".do","value_base64":"eA=="}`, `{"version":2}`},
			{`{"op":"get","key":".do"}`, `{"value":"x","version":2,"modified":*}`},
			{`{"op":"list"}`, `{"keys":[{"key_base64":"AP8=","size":2},{"key":".do","size":1}]}`},
		}},
		{"time to live", "", []step{
			{`{"op":"put","key":"a","value":"x","ttl":3600}`, `{"version":1,"expires":*}`},
			{`{"op":"get","key":"a"}`, `{"value":"x","version":1,"modified":*,"expires":*}`},
			{`{"op":"put","key":"a","value":"x"}`, `{"version":2}`},
			{`{"op":"cas","key":"a","version":2,"value":"x","ttl":0.5}`, `{"version":3,"expires":*}`},
			{`{"op":"incr","key":"n","ttl":3600}`, `{"value":"1","version":4,"expires":*}`},
			{`{"op":"incr","key":"n"}`, `{"value":"2","version":5,"expires":*}`},
			{`{"op":"put","key":"a","value":"x","ttl":1e300}`, `{"version":6,"expires":*}`},
		}},
		{"time to live of the grant", "ttl 1h", []step{
			{`{"op":"put","key":"a","value":"x"}`, `{"version":1,"expires":*}`},
			{`{"op":"incr","key":"n"}`, `{"value":"1","version":2,"expires":*}`},
		}},
		{"compare and swap", "", []step{
			{`{"op":"cas","key":"a","version":1,"value":"x"}`, `{"error":"conflict","message":"the key has another version","version":0}`},
			{`{"op":"cas","key":"a","version":0,"value":"x"}`, `{"version":1}`},
			{`{"op":"cas","key":"a","version":0,"value":"y"}`, `{"error":"exists","message":"there is such a key already","version":1}`},
			{`{"op":"cas","key":"a","version":1,"value":"y"}`, `{"version":2}`},
			{`{"op":"cas","key":"a","version":1,"value":"z"}`, `{"error":"conflict","message":"the key has another version","version":2}`},
			{`{"op":"delete","key":"a","version":1}`, `{"error":"conflict","message":"the key has another version","version":2}`},
			{`{"op":"delete","key":"a","version":2}`, `{}`},
			{`{"op":"delete","key":"a","version":2}`, none},
		}},
		{"increments", "", []step{
			{`{"op":"incr","key":"n","by":-3}`, `{"value":"-3","version":1}`},
			{`{"op":"incr","key":"n","by":9223372036854775807}`, `{"value":"9223372036854775804","version":2}`},
			{`{"op":"incr","key":"n","by":4}`, `{"error":"not_integer","message":"the sum is not an integer of 64 bits"}`},
			{`{"op":"incr","key":"n","by":0}`, `{"value":"9223372036854775804","version":3}`},
			{`{"op":"put","key":"n","value":"-9223372036854775808"}`, `{"version":4}`},
			{`{"op":"incr","key":"n","by":-1}`, `{"error":"not_integer","message":"the sum is not an integer of 64 bits"}`},
			{`{"op":"put","key":"n","value":"many"}`, `{"version":5}`},
			{`{"op":"incr","key":"n"}`, `{"error":"not_integer","message":"the value is not an integer of 64 bits"}`},
			{`{"op":"put","key":"n","value":"` + strings.Repeat("0", 33) + `1"}`, `{"version":6}`},
			{`{"op":"incr","key":"n"}`, `{"error":"not_integer","message":"the value is not an integer of 64 bits"}`},
		}},
		{"lists", "", []step{
			{`{"op":"list"}`, `{"keys":[]}`},
			{`{"op":"put","key":"b/2","value":"xx"}`, `{"version":1}`},
			{`{"op":"put","key":"b/1","value":"x"}`, `{"version":2}`},
			{`{"op":"put","key":"a","value":""}`, `{"version":3}`},
			{`{"op":"list"}`, `{"keys":[{"key":"a","size":0},{"key":"b/1","size":1},{"key":"b/2","size":2}]}`},
			{`{"op":"list","prefix":"b/"}`, `{"keys":[{"key":"b/1","size":1},{"key":"b/2","size":2}]}`},
			{`{"op":"list","prefix_base64":"YQ=="}`, `{"keys":[{"key":"a","size":0}]}`},
			{`{"op":"list","limit":2}`, `{"keys":[{"key":"a","size":0},{"key":"b/1","size":1}],"cursor":"Yi8x"}`},
			{`{"op":"list","limit":2,"cursor":"Yi8x"}`, `{"keys":[{"key":"b/2","size":2}]}`},
		}},
		{"bounds", "max_value 8\nmax_keys 1", []step{
			{`{"op":"put","key":"a","value":"12345678"}`, `{"version":1}`},
			{`{"op":"put","key":"a","value":"123456789"}`, `{"error":"too_large","message":"the value is too large"}`},
			{`{"op":"cas","key":"b","version":0,"value":"1"}`, `{"error":"full","message":"the namespace is full"}`},
			{`{"op":"incr","key":"b"}`, `{"error":"full","message":"the namespace is full"}`},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			line := "kv test"
			if test.options != "" {
				line += " {\n" + test.options + "\n}"
			}
			g := newGrant(t, line, newStore(t))
			for _, step := range test.steps {
				got, err := ask(t.Context(), g, step.line)
				number := regexp.MustCompile(`("(?:modified|expires)":)[0-9.]+`).ReplaceAllString(got, "$1*")
				if err != nil || number != step.want+"\n" {
					t.Errorf("%s: got %s, %v, want %s", step.line, got, err, step.want)
				}
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	g := newGrant(t, "kv test", newStore(t))
	for _, test := range []struct{ line, want string }{
		{``, "not a JSON object"},
		{`[]`, "not a JSON object"},
		{`{`, "not a JSON object"},
		{`{"op":"get","key":"a"`, "not a JSON object"},
		{`{"op":"get","key":}`, "not a JSON object"},
		{`{"op":"get","key":"a"} x`, "something follows"},
		{`{"op":"get","key":"a"}{}`, "something follows"},
		{`{}`, "no op"},
		{`{"op":""}`, "unknown op"},
		{`{"op":"GET","key":"a"}`, "unknown op"},
		{`{"Op":"get","key":"a"}`, `unknown member \"Op\"`},
		{`{"op":"get","key":"a","x":1}`, `unknown member \"x\"`},
		{`{"op":"get","key":"a","key":"a"}`, "key is given twice"},
		{`{"op":"get","key":"a","key_base64":"YQ=="}`, "key is given twice"},
		{`{"op":"get"}`, "get: no key"},
		{`{"op":"put","key":"a"}`, "put: no value"},
		{`{"op":"cas","key":"a","value":"x"}`, "cas: no version"},
		{`{"op":"get","key":"a","value":"x"}`, "get has no value"},
		{`{"op":"list","key":"a"}`, "list has no key"},
		{`{"op":"get","key":""}`, "the key has 0 bytes"},
		{`{"op":"get","key":"` + strings.Repeat("k", 256) + `"}`, "the key has 256 bytes"},
		{`{"op":"get","key":"` + strings.Repeat("k", 10<<10) + `"}`, "the key has 10240 bytes"},
		{`{"op":"list","prefix":"` + strings.Repeat("k", 256) + `"}`, "more than 255 bytes"},
		{`{"op":"get","key":1}`, "key: not a string"},
		{`{"op":"get","key":null}`, "key: not a string"},
		{`{"op":null}`, "op: not a string"},
		{`{"op":"get","key":"\ud800"}`, "key: not valid Unicode"},
		{"{\"op\":\"get\",\"key\":\"\xff\"}", "not valid UTF-8"},
		{`{"op":"get","key_base64":"YQ"}`, "key_base64: not base64"},
		{`{"op":"get","key_base64":"YR=="}`, "key_base64: not base64"},
		{`{"op":"get","key_base64":"Y\nQ=="}`, "key_base64: not base64"},
		{`{"op":"put","key":"a","value":"x","ttl":0}`, "ttl: less than a millisecond"},
		{`{"op":"put","key":"a","value":"x","ttl":-1}`, "ttl: less than a millisecond"},
		{`{"op":"put","key":"a","value":"x","ttl":"1s"}`, "ttl: not a number"},
		{`{"op":"cas","key":"a","value":"x","version":-1}`, "version: "},
		{`{"op":"cas","key":"a","value":"x","version":1.5}`, "version: "},
		{`{"op":"incr","key":"a","by":9223372036854775808}`, "by: "},
		{`{"op":"list","limit":0}`, "limit: 0 is outside 1 to 1000"},
		{`{"op":"list","limit":1001}`, "limit: 1001 is outside 1 to 1000"},
		{`{"op":"list","cursor":"?"}`, "cursor: not base64"},
	} {
		var got bytes.Buffer
		if err := g.serve(t.Context(), []byte(test.line), &got); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got.String(), `{"error":"invalid","message":"`) || !strings.Contains(got.String(), test.want) {
			t.Errorf("%.60s: got %s, want invalid: %s", test.line, got.String(), test.want)
		}
	}
}

// FuzzOperations: whatever the line, the answer is one line with one object.
func FuzzOperations(f *testing.F) {
	for _, line := range []string{
		`{"op":"put","key":"a","value":"x","ttl":1}`, `{"op":"get","key_base64":"AP8="}`, `{"op":"cas","key":"a","version":0,"value_base64":"AA=="}`,
		`{"op":"incr","key":"n","by":-1}`, `{"op":"list","prefix":"a","cursor":"YQ==","limit":2}`, `{"op":"delete","key":"a","version":3}`, `{`, `[]`,
	} {
		f.Add([]byte(line))
	}
	g := newGrant(f, "kv test {\n max_value 100\n max_keys 10\n}", newStore(f))
	f.Fuzz(func(t *testing.T, line []byte) {
		var answer bytes.Buffer
		if err := g.serve(t.Context(), line, &answer); err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(answer.Bytes(), &got); err != nil || bytes.Count(answer.Bytes(), []byte("\n")) != 1 || !bytes.HasSuffix(answer.Bytes(), []byte("}\n")) {
			t.Errorf("%q: got %q, %v", line, answer.Bytes(), err)
		}
		if code, failed := got["error"]; failed && code == codeUnavailable {
			t.Errorf("%q: got %s", line, answer.Bytes())
		}
	})
}

// TestDevice uses the device as a program does: several requests through several files.
func TestDevice(t *testing.T) {
	t.Parallel()
	g, ctx := newGrant(t, "kv test", newStore(t)), t.Context()
	root := directory{g}
	var files []vfs.File
	for range 3 {
		f, err := root.Open(ctx, operations, vfs.Read|vfs.Write)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for i := range 9 {
		got, err := exchangeLine(ctx, files[i%3], `{"op":"incr","key":"n"}`)
		if want := fmt.Sprintf(`{"value":"%d","version":%d}`+"\n", i+1, i+1); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	if _, err := files[0].(vfs.Writer).Write(ctx, []byte(`{"op"`)); err != nil {
		t.Fatal(err)
	}
	if _, err := files[0].(vfs.Reader).Read(ctx, make([]byte, 10)); vfs.ErrnoOf(err) != vfs.EINVAL {
		t.Errorf("reading in the middle of a line: got %v, want EINVAL", err)
	}
	// What was written, but not read, is done before the file is closed.
	if _, err := files[1].(vfs.Writer).Write(ctx, []byte(`{"op":"incr","key":"n"}`+"\n")); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if stat, err := f.Stat(ctx); err != nil || stat.Type != vfs.TypeCharacterDevice {
			t.Errorf("got %+v, %v, want a character device", stat, err)
		}
		if _, seekable := f.(vfs.ReaderAt); seekable {
			t.Error("the device has positions")
		}
		if err := f.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if got, err := ask(ctx, g, `{"op":"get","key":"n"}`); err != nil || !strings.HasPrefix(got, `{"value":"10",`) {
		t.Errorf("got %s, %v, want 10", got, err)
	}
	large := `{"op":"put","key":"a","value":"` + strings.Repeat(`\"`, 1<<20) + `"}`
	if got, err := ask(ctx, g, large); err != nil || !strings.HasPrefix(got, `{"version"`) {
		t.Errorf("a large value of escapes: got %.100s, %v", got, err)
	}
	large = `{"op":"put","key":"a","value_base64":"` + base64.StdEncoding.EncodeToString(make([]byte, 1<<20)) + `"}`
	if got, err := ask(ctx, g, large); err != nil || !strings.HasPrefix(got, `{"version"`) {
		t.Errorf("a large value: got %.100s, %v", got, err)
	}
	if got, err := ask(ctx, g, `{"op":"get","key":"a"}`); err != nil || !strings.Contains(got, strings.Repeat(`\u0000`, 1<<20)) {
		t.Errorf("a large value: got %.100s, %v", got, err)
	}
	if _, err := ask(ctx, g, strings.Repeat("x", 3<<20)); vfs.ErrnoOf(err) != vfs.EMSGSIZE {
		t.Errorf("a line that is too long: got %v, want EMSGSIZE", err)
	}
}

func TestConcurrentOperations(t *testing.T) {
	t.Parallel()
	g := newGrant(t, "kv test", newStore(t))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 10 {
				if got, err := ask(t.Context(), g, `{"op":"incr","key":"n"}`); err != nil || strings.Contains(got, "error") {
					t.Errorf("got %s, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if got, err := ask(t.Context(), g, `{"op":"get","key":"n"}`); err != nil || !strings.HasPrefix(got, `{"value":"640",`) {
		t.Errorf("got %s, %v, want 640", got, err)
	}
}

func TestReadOnlyOperations(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	if _, err := ask(t.Context(), newGrant(t, "kv test", store), `{"op":"put","key":"a","value":"x"}`); err != nil {
		t.Fatal(err)
	}
	g := newGrant(t, "kv test ro", store)
	for line, want := range map[string]string{
		`{"op":"get","key":"a"}`:                          `{"value":"x",`,
		`{"op":"list"}`:                                   `{"keys":[{"key":"a",`,
		`{"op":"put","key":"a","value":"y"}`:              `{"error":"read_only",`,
		`{"op":"delete","key":"a"}`:                       `{"error":"read_only",`,
		`{"op":"incr","key":"a"}`:                         `{"error":"read_only",`,
		`{"op":"cas","key":"a","version":1,"value":"y"}`:  `{"error":"read_only",`,
		`{"op":"cas","key":"a","version":-1,"value":"y"}`: `{"error":"invalid",`,
	} {
		if got, err := ask(t.Context(), g, line); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, %v, want %s", line, got, err, want)
		}
	}
}

// TestTrouble: a function learns that the store fails, the log why, and not too often.
func TestTrouble(t *testing.T) {
	t.Parallel()
	g := newGrant(t, "kv test", broken{err: errDown})
	core, logs := observer.New(zap.InfoLevel)
	g.trouble.logger = zap.New(core)
	for range 10 {
		got, err := ask(t.Context(), g, `{"op":"get","key":"a"}`)
		if want := `{"error":"unavailable","message":"the store can't do this at the moment"}` + "\n"; err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		if _, err := (directory{g}).Open(t.Context(), "a", vfs.Read); err != vfs.EIO {
			t.Errorf("open: got %v, want EIO", err)
		}
	}
	if logs.Len() != 1 || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), errDown.Error()) {
		t.Errorf("got %d log lines, %v, want one that says why", logs.Len(), logs.All())
	}
	g.trouble.mu.Lock()
	g.trouble.last = g.trouble.last.Add(-time.Hour)
	g.trouble.mu.Unlock()
	if _, err := ask(t.Context(), g, `{"op":"list"}`); err != nil {
		t.Error(err)
	}
	if last := logs.All()[logs.Len()-1].ContextMap(); logs.Len() != 2 || last["unreported"] != int64(19) {
		t.Errorf("got %d log lines, the last %v, want another one for 19 failures", logs.Len(), last)
	}
}

// TestHanging: no wait outlives the call.
func TestHanging(t *testing.T) {
	t.Parallel()
	g := newGrant(t, "kv test", broken{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := ask(ctx, g, `{"op":"get","key":"a"}`); vfs.ErrnoOf(err) != vfs.ETIMEDOUT {
		t.Errorf("got %v, want ETIMEDOUT", err)
	}
	if _, err := (directory{g}).Open(ctx, "a", vfs.Read); vfs.ErrnoOf(err) != vfs.ETIMEDOUT {
		t.Errorf("open: got %v, want ETIMEDOUT", err)
	}
	if err := (directory{g}).Unlink(ctx, "a"); vfs.ErrnoOf(err) != vfs.ETIMEDOUT {
		t.Errorf("unlink: got %v, want ETIMEDOUT", err)
	}
}
