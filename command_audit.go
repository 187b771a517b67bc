package gojinn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
)

func auditCommand() *cobra.Command {
	var flags functionFlags
	cmd := subcommand("audit <module.wasm> [request.json …]", "Shows the allow lines that a module needs", `
Runs a function on one request after the other (GET / if there is none), and
prints the allow lines that it would have needed, ready for its block in a
Caddyfile. What it may use already is told as for the other commands; nothing
else of the host is touched.

Programs often stop at the first thing that they are refused. So the function is
run again, up to eight times, with stand-ins for what it has asked for: empty
directories, an empty store, and a network that leads nowhere. What it would do
with real files and answers can't be known. Lines with /CHANGE-ME are refused by a
server until they name a directory of the host.

What it looks up in its environment can't be seen: a program gets all of its
variables at once. Nor can what it would do with other requests than these.

What the function logs, and how its calls end, goes to standard error.`,
		cobra.MinimumNArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			requests, err := requestsOf(cmd.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			config, err := flags.load(args[0])
			if err != nil {
				return err
			}
			a := &auditing{config: config, requests: requests, names: args[1:], said: cmd.ErrOrStderr()}
			if err := a.run(ctx); err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout())
		})
	flags.register(cmd)
	return cmd
}

// requestsOf reads requests, or makes one.
func requestsOf(stdin io.Reader, files []string) (requests [][]byte, err error) {
	for i := range max(len(files), 1) {
		request, err := requestOf(stdin, files[min(i, len(files)):min(i+1, len(files))])
		if err != nil {
			return nil, err
		}
		requests = append(requests, request)
	}
	return requests, nil
}

// auditing finds out what a function needs.
type auditing struct {
	config   *functionConfig
	requests [][]byte
	names    []string // of the requests' files
	said     io.Writer

	granted  []json.RawMessage // by the configuration
	refused  map[engine.Refusal]bool
	more     bool // was refused than is recorded
	rounds   int
	failures []string // of calls, in the last round
	empty    string   // a directory of the host without anything in it
}

// auditRounds bounds how often a function is run anew.
const auditRounds = 8

// run runs the function until it asks for nothing new.
func (a *auditing) run(ctx context.Context) (err error) {
	h := new(Handler)
	if err := json.Unmarshal(a.config.handler, h); err != nil {
		return err
	}
	a.granted, a.refused = h.AllowRaw, make(map[engine.Refusal]bool)
	if a.empty, err = os.MkdirTemp("", "gojinn-audit-"); err != nil {
		return err
	}
	defer os.Remove(a.empty)
	var unload []func() // at the end: what one round has compiled the next one uses
	defer func() {
		for _, f := range unload {
			f()
		}
	}()
	var standIns []string
	for a.rounds = 1; ; a.rounds++ {
		h, end, err := a.load(ctx, standIns)
		if err != nil && a.rounds > 1 {
			fmt.Fprintf(a.said, "round %d can't be run: %s\n", a.rounds, printable(err.Error()))
			a.rounds--
			return nil
		} else if err != nil {
			return err
		}
		unload = append(unload, end)
		before := len(a.refused)
		if err := a.call(ctx, h); err != nil {
			return err
		}
		next := a.standIns()
		if a.rounds == auditRounds || len(a.refused) == before || slices.Equal(next, standIns) {
			return nil
		}
		standIns = next
	}
}

// load provisions the function with stand-ins beside what it is granted.
func (a *auditing) load(ctx context.Context, standIns []string) (*Handler, func(), error) {
	config, err := a.config.with(keepNone)
	if err != nil {
		return nil, nil, err
	}
	h := new(Handler)
	if err := json.Unmarshal(config.handler, h); err != nil {
		return nil, nil, err
	}
	if config.apps, err = withStore(config.apps); err != nil {
		return nil, nil, err
	}
	for _, line := range append([]string{"audit"}, standIns...) {
		grant, err := parseAllowLine(line)
		if err != nil {
			return nil, nil, fmt.Errorf("allow %s: %w", line, err)
		}
		h.AllowRaw = append(h.AllowRaw, grant)
	}
	if config.handler, err = json.Marshal(h); err != nil {
		return nil, nil, err
	}
	return loadFunction(ctx, config)
}

// call runs the function on each request.
func (a *auditing) call(ctx context.Context, h *Handler) error {
	a.failures = nil
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	for i, request := range a.requests {
		name := "GET /"
		if i < len(a.names) {
			name = a.names[i]
		}
		ctx, input, err := h.inputOf(ctx, request)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		_, err = h.function().Run(ctx, bytes.NewReader(input), &out, a.said)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		status := 0
		response, err := h.responseOf(out.Bytes(), err)
		if err == nil {
			status = response.Status
		}
		_, reason := statusOf(err)
		fmt.Fprintf(a.said, "round %d, %s: %s", a.rounds, printable(name), reason)
		if err != nil {
			fmt.Fprintf(a.said, ": %s\n", printable(err.Error()))
			a.failures = append(a.failures, fmt.Sprintf("%s ended with %s", name, reason))
		} else {
			fmt.Fprintf(a.said, ", status %d\n", status)
		}
	}
	all, more := h.served.denied.Refusals()
	a.more = a.more || more
	for _, r := range all {
		a.refused[r] = true
	}
	return nil
}

func (a *auditing) needs() *needs {
	return needsOf(slices.Collect(maps.Keys(a.refused)), a.granted)
}

// standInStore is a key-value store in memory.
const standInStore = "gojinn-audit"

// withStore adds standInStore to the configuration of the app.
func withStore(apps caddy.ModuleMap) (caddy.ModuleMap, error) {
	app := make(map[string]json.RawMessage)
	if raw, ok := apps["gojinn"]; ok {
		if err := json.Unmarshal(raw, &app); err != nil {
			return nil, err
		}
	}
	all := make(map[string]json.RawMessage)
	if raw, ok := app["store"]; ok {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, err
		}
	}
	all[standInStore] = json.RawMessage(`{"kind":"memory"}`)
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	app["store"] = text
	if text, err = json.Marshal(app); err != nil {
		return nil, err
	}
	with := maps.Clone(apps)
	if with == nil {
		with = make(caddy.ModuleMap)
	}
	with["gojinn"] = text
	return with, nil
}

// standInHost is a name that leads nowhere (RFC 6761, section 6.4).
const standInHost = "gojinn-audit.invalid"

// standIns are lines for what the function has asked for: with them it gets further, or tells more,
// and they lead to nothing of the host. A directory is empty, and can be changed once that
// has been tried.
func (a *auditing) standIns() (lines []string) {
	n := a.needs()
	granted := grantedDirs(a.granted)
	stand := func(dir string, change bool) {
		if dir == "/" || over(dir, granted) == dir || !plain(dir) {
			return // it would hide all others, or be there twice
		}
		if change {
			lines = append(lines, "tmp "+word(dir))
		} else {
			lines = append(lines, `dir "`+a.empty+`" `+word(dir))
		}
	}
	for dir, change := range n.dirs {
		if change || n.listed[dir] {
			stand(dir, change)
		}
	}
	for space, change := range n.spaces {
		at := "/kv/" + space
		if over(at, granted) == at || !plain(space) {
			continue
		}
		line := "kv " + word(space)
		if !change {
			line += " ro"
		}
		lines = append(lines, line+" {\n\tstore "+standInStore+"\n}")
	}
	if n.http {
		lines = append(lines, "http https://"+standInHost)
	}
	slices.Sort(lines)
	return lines
}

// print writes what was found, as a part of a Caddyfile.
func (a *auditing) print(to io.Writer) error {
	n := a.needs()
	lines, remarks := n.lines(a.granted)
	var text strings.Builder
	if len(lines) == 0 {
		fmt.Fprintln(&text, remark("It needs no other allow lines for these requests."))
	}
	for _, line := range lines {
		fmt.Fprintf(&text, "allow %s\n", line)
	}
	if len(n.probes) > 0 {
		remarks = append(remarks, "it also looked for what most programs do without:")
		for _, path := range slices.Sorted(maps.Keys(n.probes)) {
			remarks = append(remarks, "    "+path)
		}
	}
	for _, failure := range a.failures {
		remarks = append(remarks, failure+", even so: it may need more")
	}
	if a.more {
		remarks = append(remarks, "it asked for more than is recorded")
	}
	remarks = append(remarks, "variables of the environment can't be seen from outside: see its documentation")
	for _, r := range remarks {
		fmt.Fprintln(&text, remark(r))
	}
	_, err := io.WriteString(to, text.String())
	return err
}
