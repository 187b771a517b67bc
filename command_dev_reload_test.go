package gojinn

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// TestDevReloads: what is saved is served, without a failed request, and what is broken is
// told and not served.
func TestDevReloads(t *testing.T) {
	for _, test := range []struct {
		language       toolchain.Language
		hello, goodbye string // in the source
		broken         string // at its end
	}{
		{toolchain.Python, `{"hello":`, `{"goodbye":`, "def (:\n"},
		{toolchain.Ruby, `"hello" =>`, `"goodbye" =>`, "def (\n"},
		{toolchain.JavaScript, `hello:`, `goodbye:`, "serve((\n"},
	} {
		t.Run(string(test.language), func(t *testing.T) {
			module := interpreter(t, test.language)
			root, folder, addr := t.TempDir(), t.TempDir(), freeAddr(t)
			i := test.language.Interpreter()
			if err := os.Symlink(module, filepath.Join(folder, i.Module)); err != nil {
				t.Skip(err)
			}
			main := filepath.Join(newInterpreted(t, root, test.language), i.Main)
			hello, err := os.ReadFile(main)
			if err != nil {
				t.Fatal(err)
			}
			goodbye := bytes.Replace(hello, []byte(test.hello), []byte(test.goodbye), 1)
			said, stop := startDev(t, root, "--listen", addr, "--interpreters", folder)
			url := "http://" + addr + "/" + string(test.language) + "?name=Ada"
			saidBy(t, said, "\nserving:\n") // it has been started, so that changes are reloads
			comesTo(t, said, url, `{"hello":"Ada"}`)

			writeFile(t, main, string(goodbye))
			turnsInto(t, said, url, `{"hello":"Ada"}`, `{"goodbye":"Ada"}`)
			saidBy(t, said, string(test.language)+": reloaded\n")
			writeFile(t, main, string(goodbye)+test.broken)
			saidBy(t, said, string(test.language)+": its start-up: exit code 1: ")
			saidBy(t, said, string(test.language)+": the version before it goes on serving")
			turnsInto(t, said, url, `{"goodbye":"Ada"}`, `{"goodbye":"Ada"}`)
			writeFile(t, main, string(hello))
			turnsInto(t, said, url, `{"goodbye":"Ada"}`, `{"hello":"Ada"}`)
			if err := stop(); err != nil {
				t.Errorf("stopping: %v", err)
			}
		})
	}
}

// TestDevBrokenAtFirst: what keeps a function from starting is told before there is a request, and it is
// served when that is put right.
func TestDevBrokenAtFirst(t *testing.T) {
	module := interpreter(t, toolchain.Python)
	root, addr := t.TempDir(), freeAddr(t)
	dir := newInterpreted(t, root, toolchain.Python)
	if err := os.Symlink(module, filepath.Join(dir, "python.wasm")); err != nil {
		t.Skip(err)
	}
	main := filepath.Join(dir, "main.py")
	good, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, main, string(good)+"raise KeyError('of mine')\n"+"def (:\n")
	said, stop := startDev(t, root, "--listen", addr)
	saidBy(t, said, "python: its start-up: exit code 1\n")
	saidBy(t, said, "SyntaxError")
	writeFile(t, main, string(good))
	comesTo(t, said, "http://"+addr+"/python?name=Ada", `{"hello":"Ada"}`)
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// TestDevSite: a folder of PHP is served with its other files, and what is saved is served.
func TestDevSite(t *testing.T) {
	module := interpreter(t, toolchain.PHP)
	root, addr := t.TempDir(), freeAddr(t)
	dir := newInterpreted(t, root, toolchain.PHP)
	if err := os.Symlink(module, filepath.Join(dir, "php-cgi.wasm")); err != nil {
		t.Skip(err)
	}
	writeFile(t, filepath.Join(dir, "style.css"), "body { color: red }")
	writeFile(t, filepath.Join(dir, ".secret"), "mine")
	writeFile(t, filepath.Join(dir, "other.wasm"), "mine")
	writeFile(t, filepath.Join(dir, "deep", "who.php"), "<?php include __DIR__ . '/../lib.inc'; echo who(), ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-';")
	lib := filepath.Join(dir, "lib.inc")
	writeFile(t, lib, "<?php function who() { return 'me'; }")
	said, stop := startDev(t, root, "--listen", addr)
	base := "http://" + addr + "/php"
	comesTo(t, said, base+"?name=Ada", `{"hello":"Ada"}`) // by way of /php/
	for _, test := range []struct {
		path   string
		status int
		want   string
	}{
		{"/?name=Bob", 200, `{"hello":"Bob"}`},
		{"/style.css", 200, "body { color: red }"},
		{"/deep/who.php/more", 200, "me /php/deep/who.php /more"},
		{"/.secret", 404, "404"},
		{"/other.wasm", 404, "404"},
		{"/what/ever?name=Cy", 200, `{"hello":"Cy"}`},
	} {
		r, err := http.Get(base + test.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != test.status || !strings.HasPrefix(string(body), test.want) {
			t.Errorf("%s: got %d %q, %v, want %d %q\n%s", test.path, r.StatusCode, body, err, test.status, test.want, said)
		}
	}
	writeFile(t, lib, "<?php function who() { return 'another'; }")
	turnsInto(t, said, base+"/deep/who.php", "me /php/deep/who.php -", "another /php/deep/who.php -")
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// turnsInto waits until a URL answers with another text. Every answer until then must be the one before.
func turnsInto(t *testing.T, said *syncBuffer, url, before, after string) {
	t.Helper()
	for range 6000 {
		r, err := http.Get(url)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		switch {
		case string(body) == after:
			return
		case err != nil, r.StatusCode != 200, string(body) != before:
			t.Fatalf("%s: got %d %q, %v, want %q or %q\n%s", url, r.StatusCode, body, err, before, after, said)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s: want %q\n%s", url, after, said)
}

// saidBy waits until the server has said something.
func saidBy(t *testing.T, said *syncBuffer, want string) {
	t.Helper()
	for range 6000 {
		if strings.Contains(said.String(), want) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("want %q, got\n%s", want, said)
}
