package gojinn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// logged feeds pieces of a guest's standard error to a log that keeps so many
// bytes, and returns the entries.
func logged(keep int64, pieces ...string) []observer.LoggedEntry {
	core, logs := observer.New(zapcore.DebugLevel)
	l := &stderrLog{
		logger: zap.New(core),
		fields: []zap.Field{zap.String("function", "fn"), zap.String("request_id", "id")},
		keep:   keep,
	}
	for _, piece := range pieces {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			panic("a write failed")
		}
	}
	l.finish()
	return logs.All()
}

func TestStderr(t *testing.T) {
	t.Parallel()
	const dropped = "the rest of the function's standard error is dropped"
	tests := []struct {
		name   string
		keep   int64
		pieces []string
		want   []string // level, message and fields, besides function and request_id
	}{
		{"nothing", 100, nil, nil},
		{"one line", 100, []string{"hello\n"}, []string{"info hello"}},
		{"no line end", 100, []string{"hello"}, []string{"info hello"}},
		{"CR LF", 100, []string{"hello\r\nyou\r\n"}, []string{"info hello", "info you"}},
		{"empty lines", 100, []string{"\n\n\r\na\n\n"}, []string{"info a"}},
		{"split", 100, []string{"he", "l", "lo\nyo", "u\n"}, []string{"info hello", "info you"}},
		{"not UTF-8", 100, []string{"a\xff\xfeb\n"}, []string{"info a\ufffd\ufffdb"}},
		{"half a rune, then the rest", 100, []string{"\xc3", "\xa4\n"}, []string{"info ä"}},
		{"terminal escape", 100, []string{"\x1b[2Jgone\x07\n"}, []string{`info \x1b[2Jgone\a`}},
		{"turned text", 100, []string{"a\u202eb\u2028c\n"}, []string{`info a\u202eb\u2028c`}},
		{"tab stays", 100, []string{"a\tb\n"}, []string{"info a\tb"}},
		{"over the limit", 5, []string{"hello you\n", "more\n"}, []string{"info hello", "warn " + dropped + " truncated=true"}},
		{"exactly the limit", 6, []string{"hello\n"}, []string{"info hello"}},
		{"one byte over", 6, []string{"hello\nx"}, []string{"info hello", "warn " + dropped + " truncated=true"}},
		{"nothing kept", 0, []string{"hello\n"}, nil},

		{"JSON", 1000, []string{`{"level":"warn","msg":"m","n":1.50,"s":"x","b":true,"o":{"a":[1,null]},"z":null}` + "\n"},
			[]string{`warn m b=true n=1.50 o={"a":[1,null]} s=x z=null`}},
		{"JSON levels", 1000, []string{
			`{"level":"DEBUG","msg":"1"}` + "\n" + `{"level":"Info","msg":"2"}` + "\n" + `{"level":"warning","msg":"3"}` + "\n" +
				`{"level":"error","msg":"4"}` + "\n" + `{"level":"fatal","msg":"5"}` + "\n" + `{"level":"panic","msg":"6"}` + "\n"},
			[]string{"debug 1", "info 2", "warn 3", "error 4", "error 5", "error 6"}},
		{"JSON without a level", 1000, []string{`{"msg":"m"}` + "\n"}, []string{`info {"msg":"m"}`}},
		{"JSON with a strange level", 1000, []string{`{"level":"shout","msg":"m"}` + "\n"}, []string{`info {"level":"shout","msg":"m"}`}},
		{"JSON with a number for a level", 1000, []string{`{"level":30,"msg":"m"}` + "\n"}, []string{`info {"level":30,"msg":"m"}`}},
		{"JSON without a message", 1000, []string{`{"level":"info"}` + "\n"}, []string{`info {"level":"info"}`}},
		{"JSON with a message that is none", 1000, []string{`{"level":"info","msg":null}` + "\n"}, []string{`info {"level":"info","msg":null}`}},
		{"half of JSON", 1000, []string{`{"level":"info","msg":"m"` + "\n"}, []string{`info {"level":"info","msg":"m"`}},
		{"JSON twice", 1000, []string{`{"level":"info","msg":"m"}{}` + "\n"}, []string{`info {"level":"info","msg":"m"}{}`}},
		{"JSON, escapes in the message", 1000, []string{`{"level":"info","msg":"a\nERROR forged\u001b[0m","f":"x\ny"}` + "\n"},
			[]string{`info a\nERROR forged\x1b[0m f=x\ny`}},
		{"forged fields", 1000, []string{`{"level":"info","msg":"m","function":"other","request_id":"x","logger":"l","ts":1,"FUNCTION":"o"}` + "\n"},
			[]string{`info m guest_FUNCTION=o guest_function=other guest_logger=l guest_request_id=x guest_ts=1`}},
		{"long value", 100_000, []string{`{"level":"info","msg":"m","v":[` + strings.Repeat("1,", 5000) + `1]}` + "\n"},
			[]string{"info m v=" + ("[" + strings.Repeat("1,", 5000))[:maxFieldValue] + "…"}},
		{"long name", 100_000, []string{`{"level":"info","msg":"m","` + strings.Repeat("n", 1000) + `":1}` + "\n"},
			[]string{"info m " + strings.Repeat("n", maxFieldName) + "…=1"}},
		{"long line", 1 << 20, []string{strings.Repeat("x", 100_000) + "\nnext\n"},
			[]string{"info " + strings.Repeat("x", maxLine) + " truncated=true", "info next"}},
		{"long line in pieces", 1 << 20, slices.Repeat([]string{"xxxxxxxxxx"}, 10_000),
			[]string{"info " + strings.Repeat("x", maxLine) + " truncated=true"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, entry := range logged(test.keep, test.pieces...) {
				fields := entry.ContextMap()
				if fields["function"] != "fn" || fields["request_id"] != "id" {
					t.Errorf("got function %v and request_id %v", fields["function"], fields["request_id"])
				}
				text := entry.Level.String() + " " + entry.Message
				for _, field := range entry.Context[2:] {
					value := fields[field.Key]
					if raw, ok := value.([]byte); ok {
						value = string(raw)
					}
					if raw, ok := field.Interface.(interface{ MarshalJSON() ([]byte, error) }); ok {
						b, _ := raw.MarshalJSON()
						value = string(b)
					}
					text += fmt.Sprintf(" %s=%v", field.Key, value)
				}
				got = append(got, text)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestStderrBounds: few bytes must not become many entries or fields.
func TestStderrBounds(t *testing.T) {
	t.Parallel()
	entries := logged(1<<20, strings.Repeat("x\n", 100_000))
	if got := len(entries); got != maxLines+1 {
		t.Errorf("got %d entries, want %d and a note", got, maxLines)
	}
	var line strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&line, `,"f%d":1`, i)
	}
	entries = logged(1<<20, `{"level":"info","msg":"m"`+line.String()+"}\n")
	if got := len(entries[0].Context); got != 2+maxFields+1 {
		t.Errorf("got %d fields, want %d and a note", got, 2+maxFields)
	}
	if deep := logged(1<<20, strings.Repeat("{\"a\":", 3000)+"\n"); len(deep) != 1 {
		t.Errorf("got %d entries", len(deep))
	}
}

func FuzzStderr(f *testing.F) {
	f.Add([]byte("plain\n{\"level\":\"info\",\"msg\":\"m\",\"function\":\"f\"}\n"), uint8(3))
	f.Add([]byte("{\"level\":\"warn\",\"msg\":\"\xff\x1b\",\"a\":{\"b\":\"\xff\"}}"), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		var pieces []string
		for chunk := range slices.Chunk(text, int(piece)+1) {
			pieces = append(pieces, string(chunk))
		}
		// The same entries, however the text was cut.
		whole, cut := logged(4096, string(text)), logged(4096, pieces...)
		if len(whole) != len(cut) {
			t.Fatalf("got %d entries in pieces, %d at once", len(cut), len(whole))
		}
		encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
		for i, entry := range whole {
			if entry.Level > zapcore.ErrorLevel {
				t.Fatalf("level %s", entry.Level)
			}
			if cut[i].Message != entry.Message {
				t.Fatalf("got %q in pieces, %q at once", cut[i].Message, entry.Message)
			}
			out, err := encoder.EncodeEntry(entry.Entry, entry.Context)
			if err != nil {
				t.Fatal(err)
			}
			if b := out.Bytes(); !utf8.Valid(b) || strings.Count(out.String(), "\n") != 1 || strings.Contains(out.String(), "\x1b") {
				t.Fatalf("an entry is not one clean line: %q", b)
			}
			if got := entry.ContextMap()["function"]; got != "fn" {
				t.Fatalf("function forged: %v", got)
			}
		}
	})
}

func TestStderrInLog(t *testing.T) {
	text := "plain\n" + `{"level":"warn","msg":"structured","order":7,"function":"forged"}` + "\nlast"
	s := serve(t, lines(
		"gojinn /talk "+moduleFile(t, "talk.wasm", talks(text)),
		"gojinn /flood "+moduleFile(t, "flood.wasm", talks(strings.Repeat("x", 60_000)+"\n"+strings.Repeat("y", 60_000)+"\n")),
		"gojinn /quiet "+moduleFile(t, "quiet.wasm", talks("shh\n"))+" {\n max_log 0\n}",
	))
	for _, path := range []string{"/talk", "/flood", "/quiet"} {
		if got := s.get(path); got.status != 200 {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	for message, want := range map[string]string{
		"plain":      "info talk <nil> <nil>",
		"structured": "warn talk 7 forged",
		"last":       "info talk <nil> <nil>",
		"the rest of the function's standard error is dropped": "warn flood <nil> <nil>",
		"shh": "",
	} {
		entries, got := logBuffer.find(t, message), ""
		for _, e := range entries {
			got += fmt.Sprint(e["level"], " ", e["function"], " ", e["order"], " ", e["guest_function"])
			if id, _ := e["request_id"].(string); len(id) != 36 {
				t.Errorf("%s: got request_id %v", message, e["request_id"])
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", message, got, want)
		}
	}
}
