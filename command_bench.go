package gojinn

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
)

const (
	defaultBenchCalls = 200
	maxBenchCalls     = 1_000_000
	// benchWarmup is how many calls go before those that are measured: what is
	// done once for a function is done by then.
	benchWarmup = 10
)

func benchCommand() *cobra.Command {
	var flags functionFlags
	var calls int
	cmd := subcommand("bench <module.wasm> [request.json] [--calls n]", "Measures what a call takes, for every way to start", fmt.Sprintf(`
Runs a function on one request again and again, one call at a time, and prints
what a call takes: as the function is configured, and in sandboxes that are made
for each call (idle 0), started again (snapshot off), and taken back to the
program's first read (snapshot on). The request is what it is for function call.
A call that fails is measured too, and the table says so.

    start        how most of the sandboxes came to be
    min p50 p99  time from the call to its end, HTTP excluded: the least, the
                 median, and what 99 of 100 calls don't exceed
    fuel         instructions executed; the median
    pages        pages of %s copied to take memory back; the median
    kept         what a waiting sandbox has for that, besides its memory
    memory       linear memory, the most there was
    garbage      what the host allocates for a call and to be ready for the next`, humanize.IBytes(uint64(os.Getpagesize()))),
		cobra.RangeArgs(1, 2),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if calls < 1 || calls > maxBenchCalls {
				return fmt.Errorf("--calls: %d is not between 1 and %d", calls, maxBenchCalls)
			}
			request, err := requestOf(cmd.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			config, err := flags.load(args[0])
			if err != nil {
				return err
			}
			b := bench{request: request, calls: calls, progress: cmd.ErrOrStderr()}
			if err := b.run(ctx, config); err != nil {
				return err
			}
			b.print(cmd.OutOrStdout())
			return nil
		})
	flags.register(cmd)
	cmd.Flags().IntVar(&calls, "calls", defaultBenchCalls, "how many calls are measured in each row")
	return cmd
}

// bench measures one function with several settings.
type bench struct {
	request  []byte
	calls    int
	progress io.Writer

	image int64
	start *programStart // as configured
	rows  []*benchRow
}

// benchSetting is a configuration to measure.
type benchSetting struct {
	name   string
	change func(*Options) // nil: as it is
	shows  string         // the start kind that it is there for
}

// benchIdle is longer than a benchmark.
const benchIdle = Duration(24 * time.Hour)

var benchSettings = []benchSetting{
	{"as configured", nil, ""},
	{"idle 0", keepNone, engine.StartFresh},
	{"snapshot off", func(o *Options) { o.Idle, o.Snapshot = new(benchIdle), "off" }, engine.StartReset},
	{"snapshot on", func(o *Options) { o.Idle, o.Snapshot = new(benchIdle), "on" }, engine.StartSnapshot},
}

// benchRow is what the calls with one setting took.
type benchRow struct {
	benchSetting
	why     string // its sandboxes start as they do
	answer  string // of the first call
	took    []time.Duration
	fuel    []int64
	pages   []int64
	kept    int64
	memory  int64
	garbage int64          // per call
	starts  map[string]int // calls by start kind
	endings map[string]int // and by reason
}

// run measures all settings. The function stays loaded as configured until the
// last, so that it is compiled once.
func (b *bench) run(ctx context.Context, config *functionConfig) error {
	h, unload, err := loadFunction(ctx, config)
	if err != nil {
		return err
	}
	defer unload()
	options, err := config.options(h.app)
	if err != nil {
		return err
	}
	if err := b.measure(ctx, h, benchSettings[0]); err != nil {
		return err
	}
	b.image = h.function().Program().ImageBytes()
	if b.start, err = h.programStart(ctx, &options); err != nil {
		return err
	}
	for _, setting := range benchSettings[1:] {
		kind, _ := h.function().StartKind()
		if kind == engine.StartFresh && setting.shows != kind {
			continue // no sandbox is used twice, whatever is set
		}
		if err := b.measureWith(ctx, config, setting); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureWith(ctx context.Context, config *functionConfig, setting benchSetting) error {
	config, err := config.with(setting.change)
	if err != nil {
		return err
	}
	h, unload, err := loadFunction(ctx, config)
	if err != nil {
		return err
	}
	defer unload()
	return b.measure(ctx, h, setting)
}

// measure makes a row of the calls of one function.
func (b *bench) measure(ctx context.Context, h *Handler, setting benchSetting) error {
	fmt.Fprintf(b.progress, "measuring %s\n", setting.name)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	row := &benchRow{
		benchSetting: setting,
		took:         make([]time.Duration, 0, b.calls),
		fuel:         make([]int64, 0, b.calls),
		pages:        make([]int64, 0, b.calls),
		starts:       make(map[string]int),
		endings:      make(map[string]int),
	}
	ctx, input, err := h.inputOf(ctx, b.request)
	if err != nil {
		return err
	}
	var in bytes.Reader
	var out bytes.Buffer
	var before, after runtime.MemStats
	for n := -benchWarmup; n < b.calls; n++ {
		if n == 0 {
			runtime.ReadMemStats(&before)
		}
		in.Reset(input)
		out.Reset()
		start := time.Now()
		receipt, errCall := h.function().Run(ctx, &in, &out, io.Discard)
		took := time.Since(start)
		if err := atRest(ctx, h.function()); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case n == -benchWarmup:
			row.answer = answerOf(h, out.Bytes(), errCall)
		case n >= 0:
			row.add(took, receipt, errCall)
			row.addParked(h.function())
		}
	}
	runtime.ReadMemStats(&after)
	row.garbage = int64(after.TotalAlloc-before.TotalAlloc) / int64(b.calls)
	report, err := h.function().Program().Report(ctx)
	if err != nil {
		return err
	}
	_, row.why = h.whyStart(report)
	b.rows = append(b.rows, row)
	return nil
}

// answerOf is the first answer in a word or two.
func answerOf(h *Handler, out []byte, err error) string {
	response, err := h.responseOf(out, err)
	switch {
	case err != nil:
		_, reason := statusOf(err)
		return fmt.Sprintf("none, %s: %s", reason, printable(err.Error()))
	case response.Status == 0:
		return "that of another path"
	}
	return fmt.Sprintf("status %d", response.Status)
}

func (r *benchRow) add(took time.Duration, receipt engine.Receipt, err error) {
	_, reason := statusOf(err)
	r.took = append(r.took, took)
	r.fuel = append(r.fuel, receipt.Fuel)
	r.memory = max(r.memory, receipt.Memory)
	r.starts[receipt.Start]++
	r.endings[reason]++
}

// addParked adds what the sandbox that now waits has cost.
func (r *benchRow) addParked(f *engine.Function) {
	if parked, ok := f.Parked(); ok {
		r.pages = append(r.pages, int64(parked.Restored))
		r.kept = max(r.kept, parked.Kept)
	}
}

func (b *bench) print(to io.Writer) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	b.start.print(line)
	line("image", "%s, shared by its sandboxes", humanize.IBytes(uint64(b.image)))
	line("answer", "%s", b.rows[0].answer)
	line("calls", "%d in each row, one at a time", b.calls)
	fmt.Fprintln(table)
	_ = table.Flush() // standard output, or a test's buffer: as below

	fmt.Fprintln(table, "\tstart\tmin\tp50\tp99\tfuel\tpages\tkept\tmemory\tgarbage")
	for _, r := range b.rows {
		r.print(table)
	}
	_ = table.Flush()

	var notes []string
	for _, r := range b.rows {
		notes = append(notes, r.notes(b.calls)...)
	}
	if notes != nil {
		fmt.Fprintf(to, "\n%s\n", strings.Join(notes, "\n"))
	}
}

func (r *benchRow) print(to io.Writer) {
	pages, kept := "-", "-" // no sandbox waits
	if len(r.pages) > 0 {
		pages, kept = fmt.Sprint(quantile(r.pages, 0.5)), humanize.IBytes(uint64(r.kept))
	}
	fmt.Fprintf(to, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.name, r.start(),
		short(quantile(r.took, 0)), short(quantile(r.took, 0.5)), short(quantile(r.took, 0.99)),
		quantile(r.fuel, 0.5), pages, kept, humanize.IBytes(uint64(r.memory)), humanize.IBytes(uint64(r.garbage)))
}

// start is how most of the sandboxes came to be.
func (r *benchRow) start() string {
	most := "none"
	for _, kind := range slices.Sorted(maps.Keys(r.starts)) {
		if kind != "" && r.starts[kind] > r.starts[most] {
			most = kind
		}
	}
	return most
}

// notes say what in a row is not as one would expect.
func (r *benchRow) notes(calls int) (notes []string) {
	if r.shows != "" && r.start() != r.shows {
		notes = append(notes, fmt.Sprintf("%s: no %s: %s", r.name, r.shows, r.why))
	}
	for _, reason := range slices.Sorted(maps.Keys(r.endings)) {
		if reason != "ok" {
			notes = append(notes, fmt.Sprintf("%s: %d of %d calls ended with %s", r.name, r.endings[reason], calls, reason))
		}
	}
	return notes
}

// quantile is the smallest of the values that the share q of all is not above. It
// sorts them. There must be one.
func quantile[T ~int64](values []T, q float64) T {
	slices.Sort(values)
	return values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
}

// short is a duration with about three digits that count.
func short(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
