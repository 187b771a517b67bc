package gojinn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/internal/toolchain"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "function",
		Usage: "new|build|call|dev|compile|bench|inspect|audit",
		Short: "Works on WebAssembly functions",
		Long: `
Starts, compiles, tries out, serves and examines functions: WASI programs that
answer HTTP requests. See "function <command> --help".`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(newCommand(), buildCommand(), callCommand(), devCommand(), compileCommand(), benchCommand(), inspectCommand(), auditCommand())
		},
	})
}

// subcommand makes a command whose context ends with an interrupt.
func subcommand(use, short, long string, args cobra.PositionalArgs, run func(context.Context, *cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(long), Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			// What follows is no matter of usage; and Caddy prints errors.
			cmd.SilenceUsage = true
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, cmd, args)
		},
	}
}

func newCommand() *cobra.Command {
	var language string
	cmd := subcommand("new <name> [--lang go|rust|zig|c|python|ruby|js|php]", "Starts a function from a template", `
Makes a folder with a small function that is ready to be served, and a README
that says how.`,
		cobra.ExactArgs(1),
		func(_ context.Context, cmd *cobra.Command, args []string) error {
			dir := args[0]
			if err := toolchain.New(filepath.Base(dir), language, dir); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is ready. Serve it, and reload it on save:\n\n    %s function dev %s\n", dir, program(), dir)
			return nil
		})
	cmd.Flags().StringVarP(&language, "lang", "l", string(toolchain.Go), "the language: "+languages())
	return cmd
}

func buildCommand() *cobra.Command {
	var out string
	cmd := subcommand("build <dir> [-o out.wasm]", "Compiles a function with its own toolchain", `
Compiles the function in a folder. The language is told by what the folder
holds: go.mod or .go files, Cargo.toml or .rs files, build.zig or .zig files,
.c files. Without -o the module is put into the folder, under the folder's name.
A build that fails leaves the module that was there as it was. Functions in Python,
Ruby, JavaScript and PHP are not compiled: see "function dev".`,
		cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if out == "" {
				var err error
				if out, err = toolchain.Output(args[0]); err != nil {
					return err
				}
			}
			if err := toolchain.Build(ctx, args[0], out, cmd.ErrOrStderr()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), out)
			return nil
		})
	cmd.Flags().StringVarP(&out, "output", "o", "", "where to put the module")
	return cmd
}

// program is what the user calls this binary.
func program() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

func languages() string {
	var names []string
	for _, l := range toolchain.Languages() {
		names = append(names, string(l))
	}
	return strings.Join(names, ", ")
}

// loadFunction provisions a function outside of a server, as the configuration
// or the flags have it. unload releases it.
func loadFunction(ctx context.Context, config *functionConfig) (h *Handler, unload func(), err error) {
	outside := &caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, Logging: quiet()}
	base, err := caddy.ProvisionContext(outside)
	if err != nil {
		return nil, nil, err
	}
	// Not before: apps that Caddy loads by itself are only released by a server's
	// end. This one is loaded for the handler, and released with it. Caddy takes
	// out of the map what it has read.
	outside.AppsRaw = maps.Clone(config.apps)
	base.Context = ctx
	scope, unload := caddy.NewContext(base)
	module, err := scope.LoadModuleByID("http.handlers.gojinn", config.handler)
	if err != nil {
		unload()
		return nil, nil, err
	}
	h, ok := module.(*Handler)
	if !ok {
		unload()
		return nil, nil, errors.New("the gojinn handler is of another type")
	}
	return h, unload, nil
}

// quiet keeps Caddy's own messages below warnings away from a command's output.
func quiet() *caddy.Logging {
	log := new(caddy.CustomLog)
	log.Level = "WARN"
	return &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: log}}
}
