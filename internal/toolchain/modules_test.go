package toolchain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

var guests = flag.String("guests", "", "`check`: rebuild the modules that are checked in and compare; update: replace them")

// roots are the folders whose functions in Rust, Zig and C are checked in as
// modules too, so that using and testing them needs only Go.
var roots = []string{"../../examples", "../../engine/testdata/guests"}

// Every module that is checked in is there, names no folder of the machine it was
// built on and, when asked for, is byte for byte what its source compiles to,
// wherever that lies.
func TestCheckedInModules(t *testing.T) {
	for _, root := range roots {
		functions, err := toolchain.Find(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range functions {
			if f.Language == toolchain.Go || f.Language.Interpreter() != nil {
				continue // too large: built by the tests; or never built
			}
			t.Run(f.Name, func(t *testing.T) {
				t.Parallel()
				if *guests != "" {
					checkRebuilt(t, f)
				}
				module, err := os.ReadFile(f.Dir + "/" + f.Name + ".wasm")
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{"/home/", "/root/", "/tmp/", "/Users/", filepath.Dir(t.TempDir()), "/cargo/registry"} {
					if bytes.Contains(module, []byte(path)) {
						t.Errorf("holds the path %s", path)
					}
				}
			})
		}
	}
}

// checkRebuilt builds a function in two folders and compares both modules with
// the one that is checked in. What its folder has by symbolic links goes along.
func checkRebuilt(t *testing.T, f toolchain.Function) {
	t.Helper()
	var built [2][]byte
	for i, folder := range []string{"a", "b with a space/longer"} {
		dir := filepath.Join(t.TempDir(), folder, f.Name)
		if err := copySources(f.Dir, dir); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.wasm")
		var stderr bytes.Buffer
		if err := toolchain.Build(context.Background(), dir, out, &stderr); err != nil {
			t.Log(stderr.String())
			toolchaintest.Check(t, err)
		}
		if stderr.Len() > 0 && f.Language == toolchain.C {
			t.Errorf("the compiler warns: %s", stderr.String())
		}
		var err error
		if built[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Fatalf("the folder shows in the module: %x, %x", sha256.Sum256(built[0]), sha256.Sum256(built[1]))
	}
	checkedIn := filepath.Join(f.Dir, f.Name+".wasm")
	if *guests == "update" {
		if err := os.WriteFile(checkedIn, built[0], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	module, err := os.ReadFile(checkedIn)
	if err != nil || !bytes.Equal(module, built[0]) {
		t.Errorf("checked in %x, %v, built %x: run .ci/check-guests update, with the compilers of .ci/install-guests", sha256.Sum256(module), err, sha256.Sum256(built[0]))
	}
}

// copySources copies what a build may read, and as files what symbolic links at the top
// lead to.
func copySources(from, to string) error {
	if err := copyFiles(from, to); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		path := filepath.Join(from, e.Name())
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case info.IsDir():
			err = copyFiles(path, filepath.Join(to, e.Name()))
		default:
			err = copyFile(path, filepath.Join(to, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFiles(from, to string) error {
	sources, err := toolchain.Sources(from, filepath.Join(from, "none.wasm"))
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := copyFile(filepath.Join(from, s.Path), filepath.Join(to, s.Path)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), fs.ModePerm); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
