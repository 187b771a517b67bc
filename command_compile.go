package gojinn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/routes"
)

func compileCommand() *cobra.Command {
	var cacheDir string
	var compilers int
	cmd := subcommand("compile <dir>", "Fills the code cache ahead of time", `
Checks and compiles all modules of a folder, as gojinn_dir would serve them, or a
single module, and keeps the code in the cache of a server: the next one to be
started with that cache compiles none of them. Modules that the cache has are
not compiled again. For build pipelines and images: the code is that of the
machine's own kind of processor. A module that can't be served is an error, after
all others have been compiled.`,
		cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if compilers < 0 || compilers > maxCompilers {
				return fmt.Errorf("--compilers: %d is outside 1 to %d", compilers, maxCompilers)
			}
			if cacheDir == "" {
				cacheDir = filepath.Join(caddy.AppDataDir(), "gojinn")
			}
			modules, errFolder := modulesBelow(args[0])
			if len(modules) == 0 {
				return errFolder
			}
			e, err := engine.New(engine.Config{CacheDir: cacheDir, Compilers: compilers, Log: func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), err) }})
			if err != nil {
				return err
			}
			err = compileAll(ctx, e, modules, cmd.OutOrStdout(), cmd.ErrOrStderr())
			return errors.Join(errFolder, err, e.Close())
		})
	cmd.Flags().StringVar(&cacheDir, "cache-dir", "", "the server's cache_dir, if it is not the default")
	cmd.Flags().IntVar(&compilers, "compilers", 0, "how many modules are compiled at once (default: processors less one)")
	return cmd
}

// modulesBelow returns the module files of a folder, or the one that path is. The error says
// what else should have been one.
func modulesBelow(path string) (modules []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	files, problems, err := routes.Scan(path)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s: %w", printable(p.Path), p.Err))
	}
	for _, f := range files {
		modules = append(modules, filepath.Join(path, filepath.FromSlash(f.Path)))
	}
	if len(modules) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: there is no module", path))
	}
	return modules, errors.Join(errs...)
}

// compileAll prepares all modules, and says of each what became of it.
func compileAll(ctx context.Context, e *engine.Engine, modules []string, out, complaints io.Writer) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan struct{}, 2*maxParallel) // more than are compiled at once, so that reading goes on meanwhile
	failed := 0
	for _, module := range modules {
		if ctx.Err() != nil {
			break
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			start := time.Now()
			err := compileModule(ctx, e, module)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				fmt.Fprintf(complaints, "%s: %s\n", module, printable(err.Error()))
				return
			}
			fmt.Fprintf(out, "%s: %s\n", module, time.Since(start).Round(time.Millisecond))
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d modules can't be served", failed, len(modules))
	}
	return nil
}

const maxParallel = 8

// compileModule has a module in the cache when it returns.
func compileModule(ctx context.Context, e *engine.Engine, path string) error {
	digest, _, err := digests.of(path)
	if err != nil {
		return err
	}
	program, err := e.Open(digest, func() ([]byte, error) { return readModule(path) })
	if err != nil {
		return err
	}
	defer program.Close()
	if err := program.Prepare(ctx); err != nil {
		return err
	}
	if !program.Kept() {
		return errors.New("the code can't be kept")
	}
	return nil
}
