package gojinn

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// adminOf makes a site be served with Caddy's admin endpoint on a port of its own, and returns
// that.
func adminOf(t *testing.T, site string) (s, admin *server) {
	t.Helper()
	admin = &server{t: t, addr: freeAddr(t)}
	admin.url = "http://" + admin.addr
	s = serveWith(t, "admin "+admin.addr, site)
	return s, admin
}

// decoded decodes a good answer of the admin API.
func decoded[T any](t *testing.T, got reply) (v T) {
	t.Helper()
	if ct := got.header.Get("Content-Type"); got.status != 200 || ct != "application/json" {
		t.Fatalf("got %d %s %q", got.status, ct, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &v); err != nil {
		t.Fatalf("%v in %q", err, got.body)
	}
	return v
}

func TestAdminFunctions(t *testing.T) {
	const hidden = "nobody-may-see-this"
	root := functionDir(t, map[string][]byte{
		"a/[id].wasm": reads(), "bad.wasm": []byte("bad"), "%2F ü.wasm": says("odd"), "index.wasm": says("index"),
	})
	one := moduleFile(t, "one.wasm", reads())
	s, admin := adminOf(t, lines(
		"gojinn /one "+one+" {", "allow env PASSWORD "+hidden, "allow env USER "+hidden, "}",
		"gojinn_dir "+root+" {", "allow env TOKEN "+hidden, "}"))
	for _, path := range []string{"/one", "/a/1"} {
		if got := s.get(path); got.status != 200 {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
	eventually(t, "the bad one is known to be", func() bool { return len(refusals(t, "fns/bad")) > 0 })
	eventually(t, "sandboxes are parked", func() bool {
		return strings.Count(admin.get("/gojinn/functions").body, `"parked":1`) == 2
	})
	got := admin.get("/gojinn/functions")
	if strings.Contains(got.body, hidden) {
		t.Errorf("a value of the environment is shown: %s", got.body)
	}
	all := decoded[[]functionInfo](t, got)
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	if want := []string{"fns/", "fns/%2F ü", "fns/a/[id]", "fns/bad", "one"}; !slices.Equal(names, want) {
		t.Fatalf("got %q, want %q", names, want)
	}
	loaded := all[4]
	if loaded.Module != one || len(loaded.SHA256) != 64 || loaded.State != "loaded" || loaded.Start != "reset" || loaded.Reason == "" ||
		loaded.Memory <= 0 || *loaded.Sandboxes != (sandboxesInfo{Parked: 1}) || loaded.Error != "" || loaded.Since != nil || loaded.Route != "" {
		t.Errorf("got %+v", loaded)
	}
	slices.Sort(loaded.Env)
	if want := []string{"PASSWORD", "USER"}; !slices.Equal(loaded.Env, want) {
		t.Errorf("got variables %q, want %q", loaded.Env, want)
	}
	if f := all[2]; f.Route != "/a/[id]" || f.Module != filepath.Join(root, "a", "[id].wasm") || !slices.Equal(f.Env, []string{"TOKEN"}) {
		t.Errorf("got %+v", f)
	}
	if f := all[3]; f.State != "failed" || f.Error == "" || f.Since == nil || f.SHA256 != "" || f.Sandboxes != nil || f.Memory != 0 {
		t.Errorf("got %+v", f)
	}
	for path, name := range map[string]string{
		"/one": "one", "/fns/a/[id]": "fns/a/[id]", "/fns/a/%5Bid%5D": "fns/a/[id]", "/fns%2Fa%2F%5Bid%5D": "fns/a/[id]",
		"/fns/%252F%20%C3%BC": "fns/%2F ü", "/fns/": "fns/",
	} {
		if f := decoded[functionInfo](t, admin.get("/gojinn/functions"+path)); f.Name != name {
			t.Errorf("%s: got %q, want %q", path, f.Name, name)
		}
	}
	for _, test := range []struct {
		method, path, allow string
		status              int
	}{
		{"GET", "/none", "", 404},
		{"GET", "/fns/a", "", 404},
		{"GET", "/one/", "", 404},
		{"GET", "/%zz", "", 400},
		{"POST", "", "GET", 405},
		{"DELETE", "/one", "GET", 405},
		{"GET", "/reload", "POST", 405},
		{"PUT", "/reload", "GET", 405},
	} {
		if test.path == "/%zz" {
			if got := admin.raw("GET /gojinn/functions/%zz HTTP/1.1\r\nHost: " + admin.addr + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("a bad escape: got %q", got)
			}
			continue
		}
		got := admin.do(test.method, "/gojinn/functions"+test.path, nil, nil)
		if got.status != test.status || got.header.Get("Allow") != test.allow {
			t.Errorf("%s %s: got %d, allowed %q", test.method, test.path, got.status, got.header.Get("Allow"))
		}
	}
}

func TestAdminReload(t *testing.T) {
	root := functionDir(t, map[string][]byte{"a.wasm": says("a 0"), "b.wasm": says("b 0"), "c.wasm": says("c 0")})
	one := moduleFile(t, "one.wasm", says("one 0"))
	s, admin := adminOf(t, "gojinn /one "+one+"\ngojinn_dir "+root)
	reload := func() []reloadInfo {
		t.Helper()
		return decoded[[]reloadInfo](t, admin.do("POST", "/gojinn/functions/reload", nil, nil))
	}
	if got := s.get("/b"); got.body != "b 0" { // which has been compiled then
		t.Errorf("/b: got %d %q", got.status, got.body)
	}
	// The files are looked at when the configuration starts, too.
	eventually(t, "nothing is new", func() bool { return len(reload()) == 0 })
	for i := range 5 {
		put(t, filepath.Join(root, "a.wasm"), says(fmt.Sprint("a ", i+1)))
		put(t, filepath.Join(root, "new.wasm"), says(fmt.Sprint("new ", i+1)))
		put(t, one, says(fmt.Sprint("one ", i+1)))
		put(t, filepath.Join(root, "b.wasm"), []byte(fmt.Sprint("bad ", i)))
		results := reload()
		// What serves already when it's asked for, as the change has been noticed, isn't told.
		for _, r := range results {
			bad := r.Name == "fns/b"
			if bad != (r.Result == "refused") || bad != (r.Error != "") || !bad && r.Result != "live" {
				t.Errorf("got %+v", r)
			}
		}
		if !slices.ContainsFunc(results, func(r reloadInfo) bool { return r.Name == "fns/b" }) {
			t.Errorf("got %+v, want fns/b refused", results)
		}
		for path, want := range map[string]string{"/a": "a ", "/new": "new ", "/one": "one "} {
			if got := s.get(path); got.body != fmt.Sprint(want, i+1) {
				t.Errorf("%s: got %d %q after reload %d", path, got.status, got.body, i+1)
			}
		}
		if got := s.get("/b"); got.body != "b 0" {
			t.Errorf("/b: got %d %q", got.status, got.body)
		}
		if f := decoded[functionInfo](t, admin.get("/gojinn/functions/fns/b")); f.Error == "" || f.State == "failed" || f.SHA256 == "" {
			t.Errorf("got %+v", f)
		}
	}
	if err := os.Remove(filepath.Join(root, "b.wasm")); err != nil {
		t.Fatal(err)
	}
	if results := reload(); len(results) != 0 {
		t.Errorf("got %+v after the bad file is gone", results)
	}
	if got := admin.get("/gojinn/functions/fns/b"); got.status != 404 {
		t.Errorf("got %d for a function that is gone", got.status)
	}
}

// TestAdminAfterReload: functions are those of the running configuration.
func TestAdminAfterReload(t *testing.T) {
	s, admin := adminOf(t, "gojinn /a "+moduleFile(t, "a.wasm", says("a")))
	if err := s.load("admin "+admin.addr, "gojinn /b "+moduleFile(t, "b.wasm", says("b"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "only b is there", func() bool {
		all := decoded[[]functionInfo](t, admin.get("/gojinn/functions"))
		return len(all) == 1 && all[0].Name == "b"
	})
	if err := s.load("admin "+admin.addr, "respond none"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "none is there", func() bool { return admin.get("/gojinn/functions").body == "[]\n" })
}
