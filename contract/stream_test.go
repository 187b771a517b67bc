package contract

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAppendHead: a head is the object of the json contract without its body, and one line.
func TestAppendHead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/a?b=c\u2028d", strings.NewReader("not here"))
	r.Header.Set("X-Lines", "a\tb")
	meta := Meta{ID: "1", URI: "/a?b=c", OriginalURI: "/a", Scheme: "https", Path: "/a\nb", RemoteAddr: "192.0.2.1"}
	head := AppendHead([]byte("before"), r, meta)
	line, ok := bytes.CutPrefix(head, []byte("before"))
	if !ok || EndOfLine(line, 0) != len(line) {
		t.Fatalf("got %q", head)
	}
	var got, want map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(AppendRequest(nil, r, meta, []byte("body")), &want); err != nil {
		t.Fatal(err)
	}
	delete(want, "body")
	if gotText, wantText := mustJSON(t, got), mustJSON(t, want); gotText != wantText {
		t.Errorf("got %s, want %s", gotText, wantText)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDecodeHead(t *testing.T) {
	for _, test := range []struct {
		line   string
		status int // 0: it is refused
	}{
		{"{}\n", 200},
		{"{}", 200},
		{" {\"status\": 404} \r\n", 404},
		{`{"headers":{"A":["1","2"]}}`, 200},
		{"", 0},
		{"\n", 0},
		{"{}{}\n", 0},
		{`{"body":""}`, 0},
		{`{"body_base64":""}`, 0},
		{`{"status":101}`, 0},
		{`{"other":1}`, 0},
		{"null\n", 0},
		{"HTTP/1.1 200 OK\r\n", 0},
	} {
		response, err := DecodeHead([]byte(test.line))
		if (err != nil) != (test.status == 0) || err == nil && (response.Status != test.status || response.Body != nil) {
			t.Errorf("%q: got %+v, %v", test.line, response, err)
		}
	}
	if err := TooLong([]byte(strings.Repeat("x", 1000)), 10); !strings.Contains(err.Error(), "10 bytes") || len(err.Error()) > 500 {
		t.Errorf("got %v", err)
	}
}

// FuzzHead: what is taken for a head is a response of the json contract too, the same one.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{"{}", "{\"status\":201}\n", `{"headers":{"A":"b"}}`, `{"body":"x"}`, "", "\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		head, err := DecodeHead(line)
		whole, errWhole := DecodeResponse(line)
		if !bytes.Equal(line, before) {
			t.Fatal("it has changed what it was given")
		}
		if err != nil {
			if errWhole == nil && len(whole.Body) == 0 && !bytes.Contains(line, []byte("body")) && !bytes.Contains(line, []byte(`\u`)) {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		if errWhole != nil || head.Body != nil || head.Status != whole.Status || len(head.Header) != len(whole.Header) {
			t.Fatalf("got %+v, want %+v, %v", head, whole, errWhole)
		}
	})
}
