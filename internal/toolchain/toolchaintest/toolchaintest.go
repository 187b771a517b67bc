// Package toolchaintest builds functions for tests and runs them as the plain
// WASI programs they are.
package toolchaintest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// Require is the environment variable that, set to 1, makes a missing toolchain
// fail a test that would be skipped without it. Continuous integration sets it.
const Require = "GOJINN_REQUIRE_TOOLCHAINS"

// builds holds one sync.OnceValues for each folder that was asked for. Nobody
// empties it: it lives as long as the test process.
var builds sync.Map

// Build returns the module that the function in dir compiles to. Each folder is
// built once in a test process. Without its toolchain the test is skipped, or
// fails when Require says so.
func Build(tb testing.TB, dir string) []byte {
	tb.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		tb.Fatal(err)
	}
	once, _ := builds.LoadOrStore(dir, sync.OnceValues(func() ([]byte, error) { return build(dir) }))
	module, err := once.(func() ([]byte, error))()
	Check(tb, err)
	return module
}

// Check ends the test when a build's error is not nil: missing toolchains skip it
// unless Require forbids that.
func Check(tb testing.TB, err error) {
	tb.Helper()
	missing, ok := errors.AsType[*toolchain.MissingError](err)
	switch {
	case ok && os.Getenv(Require) != "1":
		tb.Skip(missing)
	case err != nil:
		tb.Fatal(err)
	}
}

// RequireInterpreters is the environment variable that, set to 1, makes a missing interpreter
// fail a test that would be skipped without it. Continuous integration sets it.
const RequireInterpreters = "GOJINN_REQUIRE_INTERPRETERS"

// FindInterpreter returns the path of an interpreter's module, which an environment variable names, see
// .ci/install-interpreters. It is empty if the variable is, unless RequireInterpreters fails the test.
func FindInterpreter(tb testing.TB, variable string) string {
	tb.Helper()
	path := os.Getenv(variable)
	if path == "" && os.Getenv(RequireInterpreters) == "1" {
		tb.Fatalf("%s names no module, and %s forbids to go on; see .ci/install-interpreters", variable, RequireInterpreters)
	}
	return path
}

// Interpreter is FindInterpreter for a test that can't do without: it is skipped.
func Interpreter(tb testing.TB, variable string) string {
	tb.Helper()
	path := FindInterpreter(tb, variable)
	if path == "" {
		tb.Skipf("%s names no module; see .ci/install-interpreters", variable)
	}
	return path
}

func build(dir string) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "gojinn-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var output bytes.Buffer
	out := filepath.Join(scratch, "module.wasm")
	if err := toolchain.Build(ctx, dir, out, &output); err != nil {
		return nil, errors.Join(err, errors.New(output.String()))
	}
	return os.ReadFile(out)
}

// Program is a compiled module that can run any number of times.
type Program struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
}

// cache keeps machine code for the test process: several tests run the same modules.
var cache = sync.OnceValue(wazero.NewCompilationCache)

// Compile prepares a module to run under plain wazero, without anything of ours
// between it and its host. It is closed when the test ends.
func Compile(tb testing.TB, module []byte) *Program {
	tb.Helper()
	ctx := context.Background()
	config := wazero.NewRuntimeConfig().WithCompilationCache(cache()).WithMemoryLimitPages(2048)
	p := &Program{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	tb.Cleanup(func() { p.runtime.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, p.runtime)
	var err error
	p.module, err = p.runtime.CompileModule(ctx, module)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// Call is one run of a program.
type Call struct {
	Args  []string // without the program's name
	Env   [][2]string
	Stdin []byte
	Mount map[string]string // guest path → host folder, writable
}

// Result is how a run ended.
type Result struct {
	Stdout, Stderr []byte
	Exit           uint32
	Err            error // a trap
}

// Run runs the program once. It is safe for concurrent use.
func (p *Program) Run(call Call) Result {
	ctx := context.Background()
	var stdout, stderr bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithArgs(append([]string{"function"}, call.Args...)...).
		WithStdin(bytes.NewReader(call.Stdin)).WithStdout(&stdout).WithStderr(&stderr).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep()
	for _, pair := range call.Env {
		config = config.WithEnv(pair[0], pair[1])
	}
	mounts := wazero.NewFSConfig()
	for guest, host := range call.Mount {
		mounts = mounts.WithDirMount(host, guest)
	}
	module, err := p.runtime.InstantiateModule(ctx, p.module, config.WithFSConfig(mounts))
	if err == nil {
		module.Close(ctx)
	}
	result := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Err: err}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		result.Exit, result.Err = exit.ExitCode(), nil
	}
	return result
}
