package gojinn

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/rewrite"
)

func inspectCommand() *cobra.Command {
	var flags functionFlags
	cmd := subcommand("inspect <module.wasm>", "Shows what a module needs and how it is started", `
Checks and compiles a module as a server would, runs nothing of it, and prints
what it imports, exports and uses. A module that can't be served is an error.`,
		cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			config, err := flags.load(args[0])
			if err != nil {
				return err
			}
			h, unload, err := loadFunction(ctx, config)
			if err != nil {
				return err
			}
			defer unload()
			printProgram(cmd.OutOrStdout(), h.function.Program())
			return nil
		})
	flags.register(cmd)
	return cmd
}

func printProgram(to io.Writer, p *engine.Program) {
	r := p.Report()
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	line("sha256", "%s", p.Digest())
	if r.ModuleName != "" {
		line("name", "%s", printable(r.ModuleName))
	}
	line("compiled in", "%s", p.CompileTime().Round(time.Millisecond))
	line("start", "%s: every call gets a sandbox made for it", engine.StartFresh)
	line("code", "%s in %d functions", humanize.IBytes(uint64(r.CodeBytes)), r.Functions)
	line("data", "%s in %d segments, merged into %d", humanize.IBytes(uint64(r.DataBytes)), r.DataSegments, r.MergedSegments)
	line("memory", "%s", limitsOf(r.Memory))
	for _, t := range r.Tables {
		line("table", "%s, %d entries at the start", t.Type, t.Min)
	}
	line("globals", "%d", r.Globals)
	if r.HasStart {
		line("start section", "runs before _start in every call")
	}
	for _, i := range r.Imports {
		line("import", "%s.%s %s", printable(i.Module), printable(i.Name), i.Type)
	}
	for _, e := range r.Exports {
		line("export", "%s", strings.TrimSpace(printable(e.Name)+" "+e.Kind+" "+e.Type))
	}
	_ = table.Flush() // standard output, or a test's buffer
}

func limitsOf(m *rewrite.Limits) string {
	const page = 64 << 10
	text := humanize.IBytes(uint64(m.Min)*page) + " at the start"
	if m.HasMax {
		text += ", at most " + humanize.IBytes(uint64(m.Max)*page) + " by its own word"
	}
	return text
}
