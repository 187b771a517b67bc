package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cFlags make a program that is small and fast.
var cFlags = []string{"-O2", "-s", "-Wall"}

// clangFlags make a program trap when its stack overflows: with the stack at the
// bottom of memory there is nothing below it to overwrite. Zig does so by itself.
var clangFlags = []string{"-Wl,--stack-first", "-Wl,-z,stack-size=1048576"}

func buildC(ctx context.Context, j *job) error {
	compiler, err := findC(ctx, j.scratch)
	if err != nil {
		return err
	}
	var sources []string
	for _, pattern := range []string{"*.c", "src/*.c"} {
		found, err := filepath.Glob(filepath.Join(globQuote(j.dir), pattern))
		if err != nil {
			return fmt.Errorf("looking for C files: %w", err)
		}
		for _, path := range found {
			relative, err := filepath.Rel(j.dir, path) // so that __FILE__ names no folder of this machine
			if err != nil {
				return err
			}
			sources = append(sources, "./"+filepath.ToSlash(relative))
		}
	}
	args := append(append(compiler[1:], cFlags...), "-ffile-prefix-map="+j.dir+"=.", "-I.", "-o", j.out)
	return j.run(ctx, os.Environ(), nil, compiler[0], append(args, sources...)...)
}

// globQuote escapes what filepath.Glob would take for a pattern.
func globQuote(path string) string {
	if os.PathSeparator == '\\' {
		return path // Windows has no escape, and no * or ? in names
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// findC returns a command line that compiles C for WASI: the WASI SDK's clang when
// $WASI_SDK_PATH names one, else a clang whose system has a WASI C library, else zig cc.
func findC(ctx context.Context, scratch string) ([]string, error) {
	for _, candidate := range clangs() {
		// Cheap first: most clangs have no C library for this target at all.
		if !filepath.IsAbs(ask(ctx, scratch, candidate[0], append(candidate[1:len(candidate):len(candidate)], "-print-file-name=libc.a")...)) {
			continue
		}
		if links(ctx, scratch, candidate) {
			return append(candidate, clangFlags...), nil
		}
	}
	if zig, err := exec.LookPath("zig"); err == nil {
		return []string{zig, "cc", "-target", "wasm32-wasi"}, nil
	}
	return nil, &MissingError{
		C, "clang with wasm-ld and wasi-libc, or zig",
		"on Debian: apt install clang lld wasi-libc libclang-rt-dev-wasm32; elsewhere unpack https://github.com/WebAssembly/wasi-sdk and set WASI_SDK_PATH",
	}
}

// clangs returns the command lines worth trying, best first.
func clangs() [][]string {
	var compilers []string
	if sdk := os.Getenv("WASI_SDK_PATH"); sdk != "" {
		compilers = append(compilers, filepath.Join(sdk, "bin", "clang"))
	}
	compilers = append(compilers, lookEverywhere("clang")...)
	for version := 30; version >= 11; version-- {
		compilers = append(compilers, lookEverywhere(fmt.Sprintf("clang-%d", version))...)
	}
	sysroots := []string{"", "/usr/share/wasi-sysroot", "/opt/wasi-sysroot"}
	if sysroot := os.Getenv("WASI_SYSROOT"); sysroot != "" {
		sysroots = append([]string{sysroot}, sysroots...)
	}
	var lines [][]string
	for _, compiler := range compilers {
		for _, sysroot := range sysroots {
			if sysroot != "" && !exists(sysroot) {
				continue
			}
			for _, target := range []string{"wasm32-wasip1", "wasm32-wasi"} {
				line := []string{compiler, "--target=" + target}
				if sysroot != "" {
					line = append(line, "--sysroot="+sysroot)
				}
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// links tells whether a command line makes a program: compiler, linker, C library
// and run-time library often come in packages of their own.
func links(ctx context.Context, scratch string, line []string) bool {
	probe := filepath.Join(scratch, "probe.c")
	if os.WriteFile(probe, []byte("int main(void) { return 0; }\n"), 0o600) != nil {
		return false
	}
	cmd := command(ctx, scratch, nil, line[0], append(line[1:len(line):len(line)], "-o", probe+".wasm", probe)...)
	return cmd.Run() == nil
}
