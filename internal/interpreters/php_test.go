package interpreters

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
)

// servePHP serves a folder, with a site of these directives in which it is the working folder, until the
// test ends. Only one test at a time can have Caddy.
func servePHP(t *testing.T, directives, dir string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	directives = strings.NewReplacer(
		"gojinn php-cgi.wasm", "gojinn "+modulePath(t, "PHP_CGI"), "root * www", "root * "+filepath.Join(dir, "www"),
		"allow dir . ", "allow dir "+dir+" ", "allow dir data ", "allow dir "+filepath.Join(dir, "data")+" ").Replace(directives)
	load(t, fmt.Sprintf(
		"{\nadmin off\npersist_config off\nauto_https off\ngojinn {\ncache_dir %s\n}\n}\nhttp://%s {\n%s\n}\n",
		filepath.Join(cache, "gojinn-interpreters-caddy"), address, directives))
	return address
}

// copyExample copies an example to a folder that may be written to.
func copyExample(t *testing.T, name string) (dir string, directives string) {
	t.Helper()
	dir = t.TempDir()
	from := filepath.Join("..", "..", "examples", name)
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(from, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, directives, ok := strings.Cut(string(text), "http://localhost:8080 {\n")
	if !ok {
		t.Fatal("the example serves something else than http://localhost:8080")
	}
	return dir, strings.TrimSuffix(directives, "}\n")
}

// TestPHPGuestbook: an application of several files with sessions, forms, uploads, redirects, path info, and
// files that are none of PHP's.
func TestPHPGuestbook(t *testing.T) {
	dir, directives := copyExample(t, "php-guestbook")
	for name, text := range map[string]string{
		"www/throws.php": "<?php throw new Exception('secret');", "www/input.php": "<?php echo $_SERVER['REQUEST_METHOD'], ' ', file_get_contents('php://input');",
		"www/broken.php": "<?php this is no PHP", "www/long.php": "<?php for ($i = 0; $i < 10; $i++) { echo str_repeat('x', 1 << 17); flush(); }",
		"www/file.php": "<?php header('Content-Length: 6'); echo 'abcdef';", "www/go.php": "<?php header('Location: https://example.com/', true, 301);",
	} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	site := "http://" + servePHP(t, directives, dir)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host == "example.com" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	read := func(response *http.Response, err error) (int, string, http.Header) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body), response.Header
	}
	get := func(path string) (int, string, http.Header) { t.Helper(); return read(client.Get(site + path)) }

	if status, body, _ := get("/"); status != 200 || !strings.Contains(body, "<h1>Guestbook</h1>") {
		t.Fatalf("got %d %s", status, body)
	}
	form := url.Values{"name": {"Zoë <b>"}, "text": {"Hello & goodbye"}}
	if status, body, _ := read(client.PostForm(site+"/", form)); status != 200 || !strings.Contains(body, "<p>Hello &amp; goodbye</p>") || !strings.Contains(body, `value="Zoë &lt;b&gt;"`) {
		t.Errorf("after a form, its redirect, with a session: got %d %s", status, body)
	}
	if status, body, _ := read(client.PostForm(site+"/", url.Values{})); status != 422 {
		t.Errorf("an empty form: got %d %s", status, body)
	}
	var entry struct{ ID, Text string }
	text, err := os.ReadFile(filepath.Join(dir, "data", "entries.jsonl"))
	if err == nil {
		err = json.Unmarshal(text, &entry)
	}
	if err != nil {
		t.Fatal(err)
	}
	if status, body, _ := get("/entry.php/" + entry.ID); status != 200 || !strings.Contains(body, "goodbye") {
		t.Errorf("path info: got %d %s", status, body)
	}
	if status, body, _ := get("/admin"); status != 200 || body != `{"entries":1,"script":"\/admin\/index.php","self":"\/admin\/index.php"}` {
		t.Errorf("a folder: got %d %s", status, body)
	}
	if status, body, _ := get("/no/such?page"); status != 404 || !strings.Contains(body, "There is no /no/such.") {
		t.Errorf("a path without a file: got %d %s", status, body)
	}
	if status, body, header := get("/style.css"); status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/css") || !strings.HasPrefix(body, "body") {
		t.Errorf("style.css: got %d %s", status, body)
	}
	var picture, upload bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 300, 200))); err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewWriter(&upload)
	part, err := parts.CreateFormFile("picture", "a.png")
	if err != nil {
		t.Fatal(err)
	}
	part.Write(picture.Bytes())
	parts.Close()
	if status, body, _ := read(client.Post(site+"/picture.php", parts.FormDataContentType(), &upload)); status != 200 || !strings.Contains(body, `"width":300,"height":200`) {
		t.Errorf("an upload: got %d %s", status, body)
	}
	if _, body, _ := read(client.Post(site+"/input.php", "application/json", strings.NewReader(`{"a":1}`))); body != `POST {"a":1}` {
		t.Errorf("php://input: got %q", body)
	}
	if status, body, _ := get("/throws.php"); status != 500 || strings.Contains(body, "secret") {
		t.Errorf("an exception: got %d %q", status, body)
	}
	if status, body, _ := get("/broken.php"); status != 500 || strings.Contains(body, "broken") {
		t.Errorf("a syntax error: got %d %q", status, body)
	}
	if _, body, _ := get("/long.php"); len(body) != 10<<17 {
		t.Errorf("a long answer: got %d bytes", len(body))
	}
	if _, body, header := get("/file.php"); body != "abcdef" || header.Get("Content-Length") != "6" {
		t.Errorf("a file: got %q %q", body, header)
	}
	if status, _, header := get("/go.php"); status != 301 || header.Get("Location") != "https://example.com/" {
		t.Errorf("a redirect: got %d %q", status, header)
	}
}

// TestPHPRandom: no request gets the random numbers of another. lcg_value is left out: PHP seeds it with
// the microsecond and its process id, which is always the same here, and two of 3,000 requests may well agree.
func TestPHPRandom(t *testing.T) {
	requests := 3000
	if testing.Short() {
		requests = 300
	}
	dir := folder(t, "www/index.php", "<?php echo mt_rand(), ' ', mt_rand(), '|', random_int(0, PHP_INT_MAX), '|', uniqid('', true), '|', rand(), ' ', rand(), '|', bin2hex(random_bytes(8)), '|', spl_object_hash(new stdClass) === '' ? '' : str_shuffle('abcdefghijklmnopqrstuvwxyz');")
	site := "http://" + servePHP(t, "gojinn php-cgi.wasm {\ncontract cgi\nscript_root /app/www\nmemory 256MiB\nallow dir . /app\n}", dir)
	seen := make(map[string]int)
	for i := range requests {
		response, err := http.Get(site + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("got %d %q, %v", response.StatusCode, body, err)
		}
		for kind, value := range strings.Split(string(body), "|") {
			key := fmt.Sprint(kind, " ", value)
			if before, twice := seen[key]; twice {
				t.Errorf("requests %d and %d both have %s", before, i, key)
			}
			seen[key] = i
		}
	}
	if len(seen) != 6*requests {
		t.Errorf("%d values, want %d", len(seen), 6*requests)
	}
}

// TestPHPArguments: a client can't have PHP ignore settings in its arguments, and a body of unknown length is read.
func TestPHPArguments(t *testing.T) {
	dir := folder(t, "www/index.php", `<?php echo ini_get("open_basedir"), " ", json_encode($_GET), " ", json_encode($_POST);`)
	site := "http://" + servePHP(t, "gojinn php-cgi.wasm {\ncontract cgi\nscript_root /app/www\nargs php-cgi -d open_basedir=/app\nmemory 256MiB\nallow dir . /app\n}", dir)
	client := &http.Client{Timeout: time.Minute}
	for query, want := range map[string]string{"": "/app [] []", "?-s": `/app {"-s":""} []`, "?+-d%20a": `/app {"-d_a":""} []`, "?a=-s": `/app {"a":"-s"} []`} {
		r, err := client.Get(site + "/" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || string(body) != want {
			t.Errorf("%q: got %d %q, %v, want %q", query, r.StatusCode, body, err, want)
		}
	}
	r, err := client.Post(site+"/", "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader("a=b")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != `/app [] {"a":"b"}` {
		t.Errorf("a form in chunks: got %q, %v", body, err)
	}
}
