package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func buildZig(ctx context.Context, j *job) error {
	zig, err := exec.LookPath("zig")
	if err != nil {
		return &MissingError{Zig, "zig, version 0.12 or newer", "see https://ziglang.org/download"}
	}
	if exists(filepath.Join(j.dir, "build.zig")) {
		return j.zigPackage(ctx, zig)
	}
	root, err := mainFile(j.dir, ".zig")
	if err != nil {
		return err
	}
	// The intermediate cache is by absolute path, of no use to another build.
	return j.run(ctx, os.Environ(), nil, zig, "build-exe", root, "--name", "function", "-target", "wasm32-wasi", "-O", "ReleaseSmall", "-fstrip",
		"--cache-dir", filepath.Join(j.scratch, "cache"), "-femit-bin="+j.out)
}

// zigPackage builds a folder with a build.zig that takes the standard target and
// optimization options, and fetches the one module it installs.
func (j *job) zigPackage(ctx context.Context, zig string) error {
	prefix := filepath.Join(j.scratch, "prefix")
	if err := j.run(ctx, os.Environ(), nil, zig, "build", "-Dtarget=wasm32-wasi", "-Doptimize=ReleaseSmall", "--prefix", prefix); err != nil {
		return err
	}
	modules, err := filepath.Glob(filepath.Join(prefix, "bin", "*.wasm"))
	if err != nil {
		return err
	}
	if len(modules) != 1 {
		return fmt.Errorf("build.zig installed %d modules; a folder holds one function", len(modules))
	}
	return copyFile(modules[0], j.out)
}
