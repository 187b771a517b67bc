package toolchain

import (
	"context"
	"os/exec"
)

func buildGo(ctx context.Context, j *job) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		return &MissingError{Go, "go, version 1.24 or newer", "see https://go.dev/dl"}
	}
	env := environ(
		"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWASM",
		// Empty would fall back to what `go env -w` set: flags of another kind of build.
		"GOFLAGS=-trimpath",
	)
	return j.run(ctx, env, nil, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", j.out, ".")
}
