package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// rustToolchain is a cargo and a rustc that belong together and can build for target.
type rustToolchain struct {
	cargo, rustc, target string
}

// rustTargets are WASI preview 1's names: today's, and the one up to Rust 1.83.
var rustTargets = []string{"wasm32-wasip1", "wasm32-wasi"}

// findRust looks through all toolchains, since one without the WebAssembly
// target often comes first in PATH. It asks in dir, for rustup picks the
// toolchain by folder.
func findRust(ctx context.Context, dir string) (rustToolchain, error) {
	var rustup []string
	if home, err := os.UserHomeDir(); err == nil {
		rustup = append(rustup, filepath.Join(home, ".cargo", "bin"))
	}
	candidates := lookEverywhere("rustc", rustup...)
	for _, target := range rustTargets {
		for _, rustc := range candidates {
			cargo := filepath.Join(filepath.Dir(rustc), "cargo"+filepath.Ext(rustc))
			if exists(cargo) && hasRustTarget(ctx, dir, rustc, target) {
				return rustToolchain{cargo, rustc, target}, nil
			}
		}
	}
	return rustToolchain{}, &MissingError{
		Rust, "cargo and rustc with the target " + strings.Join(rustTargets, " or "),
		"rustup target add wasm32-wasip1, or on Debian: apt install cargo rustc libstd-rust-dev-wasm32 lld",
	}
}

// hasRustTarget tells whether the target's standard library is installed: rustc
// names the folder even when it is not there.
func hasRustTarget(ctx context.Context, dir, rustc, target string) bool {
	lib := ask(ctx, dir, rustc, "--print", "target-libdir", "--target", target)
	if lib == "" {
		return false
	}
	std, _ := filepath.Glob(filepath.Join(lib, "libstd-*.rlib"))
	return len(std) > 0
}

func buildRust(ctx context.Context, j *job) error {
	tools, err := findRust(ctx, j.dir)
	if err != nil {
		return err
	}
	if exists(filepath.Join(j.dir, "Cargo.toml")) {
		return j.cargo(ctx, tools)
	}
	return j.rustc(ctx, tools)
}

// cargo builds a package and fetches the module from wherever cargo put it.
func (j *job) cargo(ctx context.Context, tools rustToolchain) error {
	var messages bytes.Buffer
	env := environ("RUSTC="+tools.rustc, "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS")
	args := []string{"build", "--release", "--target", tools.target, "--message-format=json-render-diagnostics"}
	err := j.run(ctx, env, &boundedWriter{w: &messages, left: 16 << 20}, tools.cargo, append(args, remapCargoHome()...)...)
	if err != nil {
		return err
	}
	programs := cargoPrograms(&messages)
	switch len(programs) {
	case 0:
		return errors.New("the package has no program: no src/main.rs or [[bin]]")
	case 1:
		return copyFile(programs[0], j.out)
	}
	return fmt.Errorf("the package has %d programs; a folder holds one function", len(programs))
}

// remapCargoHome keeps this machine's paths out of the panic messages of
// dependencies. Paths inside the package are relative anyway.
func remapCargoHome() []string {
	home := os.Getenv("CARGO_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		home = filepath.Join(user, ".cargo")
	}
	flag, err := json.Marshal("--remap-path-prefix=" + home + "=/cargo") // TOML's basic strings look like JSON's
	if err != nil {
		return nil
	}
	return []string{"--config", "build.rustflags=[" + string(flag) + "]"}
}

// cargoPrograms returns the programs that cargo's messages name.
func cargoPrograms(messages *bytes.Buffer) []string {
	var programs []string
	lines := bufio.NewScanner(messages)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var m struct {
			Reason     string
			Executable string
			Target     struct{ Kind []string }
		}
		if json.Unmarshal(lines.Bytes(), &m) == nil && m.Reason == "compiler-artifact" && m.Executable != "" {
			programs = append(programs, m.Executable)
		}
	}
	return programs
}

// rustc builds a folder without a manifest: main.rs and the modules it names.
func (j *job) rustc(ctx context.Context, tools rustToolchain) error {
	root, err := mainFile(j.dir, ".rs")
	if err != nil {
		return err
	}
	return j.run(ctx, environ("RUSTC"), nil, tools.rustc,
		"--edition", "2021", "--target", tools.target, "--crate-name", "function", "-C", "opt-level=s", "-C", "lto=fat", "-C", "codegen-units=1",
		"-C", "panic=abort", "-C", "strip=symbols", "--remap-path-prefix="+j.dir+"=.", "-o", j.out, root)
}

// mainFile returns the file that a build starts from, relative to dir: main, or
// src/main, or the only source file there is.
func mainFile(dir, extension string) (string, error) {
	for _, name := range []string{"main" + extension, filepath.Join("src", "main"+extension)} {
		if exists(filepath.Join(dir, name)) {
			return name, nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if isSource(e, extension) {
			found = append(found, e.Name())
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("no main%s, and not exactly one other file to start from", extension)
	}
	return found[0], nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
