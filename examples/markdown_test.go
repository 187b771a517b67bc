package examples

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// maxMarkdown is the longest text that markdown takes, in bytes.
const maxMarkdown = 256 << 10

func markdownRequest(tb testing.TB, method string, body string, contentType ...string) []byte {
	tb.Helper()
	headers := map[string][]string{}
	if len(contentType) > 0 {
		headers["Content-Type"] = contentType
	}
	request, err := json.Marshal(map[string]any{"method": method, "headers": headers, "body": body})
	if err != nil {
		tb.Fatal(err)
	}
	return request
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	program := compile(t, "markdown")
	tests := []struct{ name, source, want string }{
		{"nothing", "", ""},
		{"heading", "# Hello, *world*\n", "<h1>Hello, <em>world</em></h1>\n"},
		{"list", "- a\n- b\n", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"},
		{"code", "```go\na < b\n```\n", "<pre><code class=\"language-go\">a &lt; b\n</code></pre>\n"},
		{"table", "|a|\n|-|\n|b|\n", "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>b</td>\n</tr>\n</tbody>\n</table>\n"},
		{"bare link", "https://example.com/?a=1&b", "<p><a href=\"https://example.com/?a=1&amp;b\">https://example.com/?a=1&amp;b</a></p>\n"},
		{"strikethrough", "~~no~~", "<p><del>no</del></p>\n"},
		{"unicode", "é € 😀", "<p>é € 😀</p>\n"},
		{"NUL", "a\x00b", "<p>a\ufffdb</p>\n"},
		{"block of HTML", "<script>alert(1)</script>\n", "<!-- raw HTML omitted -->\n"},
		{"HTML in a line", "a <img src=x onerror=alert(1)> b", "<p>a <!-- raw HTML omitted --> b</p>\n"},
		{"link that runs a script", "[a](javascript:alert(1))", "<p><a href=\"\">a</a></p>\n"},
		{"link that hides it", "[a](JaVaScRiPt:alert(1)) ![b](vbscript:x)", "<p><a href=\"\">a</a> <img src=\"\" alt=\"b\"></p>\n"},
		{"autolink that runs a script", "<javascript:alert(1)>", "<p><a href=\"\">javascript:alert(1)</a></p>\n"},
		{"quotes in a title", `[a](/x "\"><script>")`, "<p><a href=\"/x\" title=\"&quot;&gt;&lt;script&gt;\">a</a></p>\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := call(t, program, toolchaintest.Call{Stdin: markdownRequest(t, "POST", test.source, "text/markdown; charset=UTF-8")})
			if got.Status != 200 || got.Body != test.want || got.Headers["Content-Type"] != "text/html; charset=utf-8" || got.Headers["X-Content-Type-Options"] != "nosniff" {
				t.Errorf("got %d %v %q, want %q", got.Status, got.Headers, got.Body, test.want)
			}
		})
	}
}

func TestMarkdownRefuses(t *testing.T) {
	t.Parallel()
	program := compile(t, "markdown")
	tests := []struct {
		name    string
		request []byte
		status  int
	}{
		{"get", markdownRequest(t, "GET", ""), 405},
		{"no content type", markdownRequest(t, "POST", "a"), 200},
		{"plain text", markdownRequest(t, "POST", "a", "text/plain"), 200},
		{"html", markdownRequest(t, "POST", "a", "text/html"), 415},
		{"latin 1", markdownRequest(t, "POST", "a", "text/plain; charset=iso-8859-1"), 415},
		{"no media type", markdownRequest(t, "POST", "a", "text"), 415},
		{"broken content type", markdownRequest(t, "POST", "a", "text/plain; ="), 415},
		{"not UTF-8", []byte(`{"method":"POST","body_base64":"/w=="}`), 400},
		{"base64", []byte(`{"method":"POST","body_base64":"YQ=="}`), 200},
		{"many paragraphs", markdownRequest(t, "POST", strings.Repeat("x\n\n", maxMarkdown/3)), 200},
		{"many brackets", markdownRequest(t, "POST", strings.Repeat("[", maxMarkdown/8)), 200},
		{"many quotes", markdownRequest(t, "POST", strings.Repeat(">", 1000)+"x"), 200},
		{"as long as can be", markdownRequest(t, "POST", strings.Repeat("x", maxMarkdown)), 200},
		{"too long", markdownRequest(t, "POST", strings.Repeat("x", maxMarkdown+1)), 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := call(t, program, toolchaintest.Call{Stdin: test.request})
			if got.Status != test.status || (got.Headers["Allow"] == "POST") != (test.status == 405) {
				t.Errorf("got %d %v %.100q, want %d", got.Status, got.Headers, got.Body, test.status)
			}
		})
	}
	result := program.Run(toolchaintest.Call{Stdin: []byte("{")})
	if result.Exit != 1 || len(result.Stdout) > 0 || !json.Valid(result.Stderr) {
		t.Errorf("broken request: got exit %d, %q, %q, want 1 and a message", result.Exit, result.Stdout, result.Stderr)
	}
}
