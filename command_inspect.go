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
Checks and compiles a module as a server would, and prints what it imports,
exports and uses, and how it gets ready for a request. To know that, its program
is started as a server starts it ahead of a request: up to its first read of
standard input, within its timeout, and no further than to the first thing that
would have an effect outside of it. A module that can't be served is an error.`,
		cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			config, err := flags.load(args[0])
			if err != nil {
				return err
			}
			warm, err := config.with(func(o *Options) { o.Warm = new(Count(1)) })
			if err != nil {
				return err
			}
			h, unload, err := loadFunction(ctx, warm)
			if err != nil {
				return err
			}
			defer unload()
			options, err := config.options(h.app)
			if err != nil {
				return err
			}
			start, err := h.startOnce(ctx, &options)
			if err != nil {
				return err
			}
			return printProgram(ctx, cmd.OutOrStdout(), h.function().Program(), start)
		})
	flags.register(cmd)
	return cmd
}

// programStart is how a function's sandboxes get ready for a call.
type programStart struct {
	kind, why string
	restored  string        // how memory is taken back; "" if it is not
	parked    engine.Parked // the zero value if no sandbox waits for a call
}

// startOnce has the program started ahead of a call, if a server with these options
// would. The function must keep one sandbox warm.
func (h *Handler) startOnce(ctx context.Context, options *Options) (*programStart, error) {
	if options.keepsSandboxes() {
		h.function().Start()
		if err := atRest(ctx, h.function()); err != nil {
			return nil, err
		}
	}
	return h.programStart(ctx, options)
}

// programStart is what is known of it by now.
func (h *Handler) programStart(ctx context.Context, options *Options) (*programStart, error) {
	if !options.keepsSandboxes() {
		return &programStart{kind: engine.StartFresh, why: "idle and warm are 0, so that every call gets a sandbox made for it"}, nil
	}
	report, err := h.function().Program().Report(ctx)
	if err != nil {
		return nil, err
	}
	s := new(programStart)
	s.kind, s.why = h.whyStart(report)
	s.parked, _ = h.function().Parked()
	if s.kind != engine.StartFresh {
		s.restored = howRestored(h.app.engine)
	}
	return s, nil
}

// whyStart is the function's start kind and the reason, for people.
func (h *Handler) whyStart(report *rewrite.Report) (kind, why string) {
	kind, why = h.function().StartKind()
	switch {
	case kind == "":
		return "not known", "its start-up could not be run ahead of a call; function call says why"
	case kind != engine.StartFresh:
	case why == report.Unrestorable:
		why = "the module " + why
	default:
		why = "no sandbox can be taken back here: " + why
	}
	return kind, printable(why)
}

// keepsSandboxes tells whether a server keeps sandboxes for another call.
func (o *Options) keepsSandboxes() bool {
	e := engine.Options{Concurrency: o.concurrency()}
	o.keep(&e)
	return e.Idle > 0 || e.Warm > 0
}

// atRest waits until no sandbox of the function serves a call or gets ready for one.
func atRest(ctx context.Context, f *engine.Function) error {
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		if running, restoring, _ := f.Sandboxes(); running+restoring == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// howRestored says how memory is taken back, where it is, and why not in a faster way.
func howRestored(e *engine.Engine) string {
	how, why := e.Restoring()
	if why != "" {
		return fmt.Sprintf("by %s, since there is no %s", how, why)
	}
	return "by " + how
}

// print writes what the start is, line by line.
func (s *programStart) print(line func(name, format string, args ...any)) {
	line("start", "%s: %s", s.kind, s.why)
	if s.parked.Reseeded {
		line("repeats", "what initialisers drew from math/rand and hash/maphash, and what select chooses, is the same in every call")
	}
	if s.restored != "" {
		line("restored", "%s", s.restored)
	}
}

func printProgram(ctx context.Context, to io.Writer, p *engine.Program, start *programStart) error {
	r, err := p.Report(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	line("sha256", "%s", p.Digest())
	if r.ModuleName != "" {
		line("name", "%s", printable(r.ModuleName))
	}
	line("compiled in", "%s", p.CompileTime().Round(time.Millisecond))
	start.print(line)
	line("image", "%s, shared by its sandboxes", humanize.IBytes(uint64(p.ImageBytes())))
	if start.parked.Kept > 0 {
		line("kept", "%s in each sandbox that waits for a call", humanize.IBytes(uint64(start.parked.Kept)))
	}
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
	return table.Flush()
}

func limitsOf(m *rewrite.Limits) string {
	const page = 64 << 10
	text := humanize.IBytes(uint64(m.Min)*page) + " at the start"
	if m.HasMax {
		text += ", at most " + humanize.IBytes(uint64(m.Max)*page) + " by its own word"
	}
	return text
}
