package gojinn

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/units"
)

// Options says how a function is run. An option that is not set is taken from
// the `defaults` of the `gojinn` app, then from the default named here.
type Options struct {
	// The function's name in logs, metrics and placeholders: letters, digits,
	// `-`, `_` and `.`. When several functions of a configuration have the same
	// name, `#2`, `#3`, … is appended in the order in which Caddy loads them.
	// Default: the module file's base name without `.wasm`.
	Name string `json:"name,omitempty"`

	// How HTTP meets the program's standard streams. `json`: one JSON object in, one
	// out. `stream`: a line with one JSON object, then the body, in and out, as they come.
	// `cgi`: that of RFC 3875, also as they come. Default: `json`.
	Contract string `json:"contract,omitempty"`

	// The program's arguments, after its own name. Placeholders of the request
	// are computed per call, all others when the configuration is loaded.
	Args []string `json:"args,omitempty"`

	// How long a call may take by the wall clock, from the moment the program
	// gets the request; or `off`. A call that takes longer ends with 504.
	// Default: `10s`, for the contract stream `off`.
	Timeout *Duration `json:"timeout,omitempty"`

	// How long a call may go on without a byte of the request or the response coming or
	// going; or `off`. For the contracts stream and cgi only. Default: `60s`.
	IdleTimeout *Duration `json:"idle_timeout,omitempty"`

	// How many instructions a call may execute; or `off`. A call that needs
	// more ends with 504. Default: `off`.
	Fuel *Count `json:"fuel,omitempty"`

	// The most linear memory that a call can have. Default: `128MiB`.
	Memory *Size `json:"memory,omitempty"`

	// The largest request body that is accepted, or `off`. A larger one is
	// answered with 413. Default: `8MiB`.
	MaxRequest *Size `json:"max_request,omitempty"`

	// The most that a program may write as its response, or `off`. A larger
	// one is answered with 502. Default: `8MiB`, for the contracts stream and cgi `off`.
	MaxResponse *Size `json:"max_response,omitempty"`

	// How much of what a call writes to standard error is kept for the log;
	// the rest is dropped. Default: `64KiB`.
	MaxLog *Size `json:"max_log,omitempty"`

	// How many files a call may have open at once. Default: 64.
	MaxFiles *Count `json:"max_files,omitempty"`

	// How many calls run at once and how many wait for their turn.
	// Default: 4 for each CPU, with a queue of 64 for each CPU and a wait of 1s.
	Concurrency *Concurrency `json:"concurrency,omitempty"`

	// How many sandboxes are kept ready for a call however long there is none. They
	// are made when the configuration is loaded, at most as many as calls run at once.
	// Default: 0.
	Warm *Count `json:"warm,omitempty"`

	// How long a sandbox that has served a call is kept ready for another. With 0 and
	// without `warm`, every call gets a sandbox made for it. Default: `30s`.
	Idle *Duration `json:"idle,omitempty"`

	// How long the compiled code of a function that has no sandbox any more is kept in
	// memory, if it can be loaded again from the code cache. Default: `5m`.
	Unload *Duration `json:"unload,omitempty"`

	// Whether calls may begin where the program first reads its input, its start-up
	// done once for all of them: `auto` if no call could tell or the program says that
	// none minds, `on` in any case where it is possible, `off` never. Default: `auto`.
	Snapshot string `json:"snapshot,omitempty"`

	// What a changed module must answer, with a status below 500, to a GET of this path, with a
	// query or without, before it takes the place of the one that serves. The first
	// version is not tried out. Default: nothing.
	Check string `json:"check,omitempty"`

	// The directory, as the program sees it, below which the path of a request is looked
	// up: the first part of it that is a script (`.php`, `.cgi`, `.pl`, `.py`, `.rb`) is what the program
	// is to run, what follows is its path info. A folder's script is its `index`, and that of the root
	// answers when nothing is found. Other files, and requests for which there is no
	// script, go to the next handler. For the contract cgi only. Default: the program
	// gets all requests.
	ScriptRoot string `json:"script_root,omitempty"`
}

// Concurrency bounds the calls of one function. What is over the bound is
// answered with 503 and Retry-After.
type Concurrency struct {
	// How many calls run at once.
	Calls Count `json:"calls"`

	// How many more calls may wait for their turn; 0 means that none waits.
	// Default: 64 for each CPU.
	Queue *Count `json:"queue,omitempty"`

	// How long a call waits for its turn. Default: `1s`.
	Wait *Duration `json:"wait,omitempty"`
}

const (
	defaultTimeout     = 10 * time.Second
	defaultMemory      = 128 << 20
	defaultMaxRequest  = 8 << 20
	defaultMaxResponse = 8 << 20
	defaultMaxLog      = 64 << 10
	defaultMaxFiles    = 64
	defaultWait        = time.Second
	defaultIdleTimeout = time.Minute
	defaultIdle        = 30 * time.Second
	defaultUnload      = 5 * time.Minute

	minMemory   = 64 << 10 // one page
	maxMemory   = 4 << 30  // all that 32-bit addresses reach
	maxMaxLog   = 1 << 30
	maxMaxFiles = 1 << 16
	maxCalls    = 100_000
	maxQueue    = 1_000_000
	maxName     = 100 // bytes
)

// option describes one option of a function: how it is written in a
// Caddyfile and which values it can have. The same check serves JSON.
type option struct {
	name  string
	usage string // its arguments
	parse func(o *Options, args []string) error
	check func(o *Options) error
}

var errArgCount = errors.New("wrong number of arguments")

// options lists what a function can be told, in the order of the documentation.
var options = []option{
	{"name", "<name>",
		func(o *Options, args []string) error { return one(args, setText(&o.Name)) },
		func(o *Options) error { return checkName(o.Name) }},
	{"contract", "json | stream | cgi",
		func(o *Options, args []string) error { return one(args, setText(&o.Contract)) },
		func(o *Options) error { return checkContract(o.Contract) }},
	{"args", "<arg> …",
		func(o *Options, args []string) error {
			if len(args) == 0 {
				return errArgCount
			}
			o.Args = args
			return nil
		},
		func(o *Options) error { return checkArgs(o.Args) }},
	{"timeout", "<duration> | off",
		func(o *Options, args []string) error { return one(args, set(&o.Timeout, units.ParseDuration)) },
		func(o *Options) error {
			if o.Timeout != nil && *o.Timeout == 0 {
				return errors.New("must be more than 0; for no limit write off")
			}
			return nil
		}},
	{"idle_timeout", "<duration> | off",
		func(o *Options, args []string) error { return one(args, set(&o.IdleTimeout, units.ParseDuration)) },
		func(o *Options) error {
			if o.IdleTimeout != nil && *o.IdleTimeout == 0 {
				return errors.New("must be more than 0; for no limit write off")
			}
			return nil
		}},
	{"fuel", "<n> | off",
		func(o *Options, args []string) error { return one(args, set(&o.Fuel, units.ParseCount)) },
		func(o *Options) error {
			if o.Fuel != nil && *o.Fuel == 0 {
				return errors.New("must be at least 1; for no limit write off")
			}
			return nil
		}},
	{"memory", "<size>",
		func(o *Options, args []string) error { return one(args, set(&o.Memory, units.ParseSize)) },
		func(o *Options) error { return within(o.Memory, minMemory, maxMemory) }},
	{"max_request", "<size> | off",
		func(o *Options, args []string) error { return one(args, set(&o.MaxRequest, units.ParseSize)) },
		func(o *Options) error { return nil }},
	{"max_response", "<size> | off",
		func(o *Options, args []string) error { return one(args, set(&o.MaxResponse, units.ParseSize)) },
		func(o *Options) error {
			if o.MaxResponse != nil && *o.MaxResponse == 0 {
				return errors.New("must be at least 1; for no limit write off")
			}
			return nil
		}},
	{"max_log", "<size>",
		func(o *Options, args []string) error { return one(args, set(&o.MaxLog, units.ParseSize)) },
		func(o *Options) error { return within(o.MaxLog, 0, maxMaxLog) }},
	{"max_files", "<n>",
		func(o *Options, args []string) error { return one(args, set(&o.MaxFiles, units.ParseCount)) },
		func(o *Options) error { return within(o.MaxFiles, 1, maxMaxFiles) }},
	{"concurrency", "<n> [queue <n>] [wait <duration>]",
		func(o *Options, args []string) (err error) {
			o.Concurrency, err = parseConcurrency(args)
			return err
		},
		func(o *Options) error { return o.Concurrency.check() }},
	{"warm", "<n>",
		func(o *Options, args []string) error { return one(args, set(&o.Warm, units.ParseCount)) },
		func(o *Options) error { return within(o.Warm, 0, maxCalls) }},
	{"idle", "<duration>",
		func(o *Options, args []string) error { return one(args, set(&o.Idle, units.ParseDuration)) },
		func(o *Options) error { return within(o.Idle, 0, math.MaxInt64) }},
	{"unload", "<duration>",
		func(o *Options, args []string) error { return one(args, set(&o.Unload, units.ParseDuration)) },
		func(o *Options) error { return within(o.Unload, 0, math.MaxInt64) }},
	{"snapshot", "auto | on | off",
		func(o *Options, args []string) error { return one(args, setText(&o.Snapshot)) },
		func(o *Options) error { _, err := parseSnapshot(o.Snapshot); return err }},
	{"check", "<path>",
		func(o *Options, args []string) error { return one(args, setText(&o.Check)) },
		func(o *Options) error { return checkCheck(o.Check) }},
	{"script_root", "<guest dir>",
		func(o *Options, args []string) error { return one(args, setText(&o.ScriptRoot)) },
		func(o *Options) error { return checkScriptRoot(o.ScriptRoot) }},
}

// one gives the only argument to set.
func one(args []string, set func(string) error) error {
	if len(args) != 1 {
		return errArgCount
	}
	return set(args[0])
}

func setText(to *string) func(string) error {
	return func(text string) error {
		if text == "" {
			return errors.New("must not be empty")
		}
		*to = text
		return nil
	}
}

func set[T any](to **T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		v, err := parse(text)
		if err != nil {
			return err
		}
		*to = &v
		return nil
	}
}

// within refuses a value outside least…most, and "off".
func within[T interface {
	~int64
	String() string
}](v *T, least, most T) error {
	switch {
	case v == nil:
		return nil
	case *v == off:
		return errors.New("can't be off")
	case *v < least, *v > most:
		return fmt.Errorf("%s is outside %s to %s", *v, least, most)
	}
	return nil
}

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("is longer than %d bytes", maxName)
	}
	// What a placeholder becomes is checked when it has become that.
	if strings.Contains(name, "{") {
		return nil
	}
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r) {
			return fmt.Errorf("%q has something else than letters, digits, '-', '_' and '.'", name)
		}
	}
	return nil
}

func checkContract(contract string) error {
	switch contract {
	case "", contractJSON, contractStream, contractCGI:
		return nil
	}
	return fmt.Errorf("%q is not one of json, stream, cgi", contract)
}

func checkCheck(path string) error {
	if path == "" {
		return nil
	}
	if _, err := url.ParseRequestURI(path); err != nil || path[0] != '/' {
		return fmt.Errorf("%q is not a path such as /health", path)
	}
	return nil
}

func parseSnapshot(text string) (engine.Snapshot, error) {
	switch text {
	case "", "auto":
		return engine.SnapshotAuto, nil
	case "on":
		return engine.SnapshotOn, nil
	case "off":
		return engine.SnapshotOff, nil
	}
	return 0, fmt.Errorf("%q is not one of auto, on, off", text)
}

func checkArgs(args []string) error {
	for _, arg := range args {
		if strings.Contains(arg, "\x00") {
			return fmt.Errorf("%q holds a NUL byte", arg)
		}
	}
	return nil
}

func parseConcurrency(args []string) (*Concurrency, error) {
	if len(args) == 0 {
		return nil, errArgCount
	}
	calls, err := units.ParseCount(args[0])
	if err != nil {
		return nil, err
	}
	c := &Concurrency{Calls: calls}
	for rest := args[1:]; len(rest) > 0; rest = rest[2:] {
		word := rest[0]
		if word != "queue" && word != "wait" {
			return nil, fmt.Errorf("%q is neither queue nor wait", word)
		}
		if len(rest) == 1 {
			return nil, fmt.Errorf("%s needs a value", word)
		}
		if word == "queue" && c.Queue != nil || word == "wait" && c.Wait != nil {
			return nil, fmt.Errorf("%s is given twice", word)
		}
		if word == "queue" {
			err = set(&c.Queue, units.ParseCount)(rest[1])
		} else {
			err = set(&c.Wait, units.ParseDuration)(rest[1])
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
	}
	return c, nil
}

func (c *Concurrency) check() error {
	if c == nil {
		return nil
	}
	if err := within(&c.Calls, 1, maxCalls); err != nil {
		return fmt.Errorf("calls: %w", err)
	}
	if err := within(c.Queue, 0, maxQueue); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if c.Wait != nil && *c.Wait == off {
		return errors.New("wait: can't be off")
	}
	return nil
}

// fits refuses options that mean nothing with the contract, unless they come from defaults. o is
// complete, own is what was said for the function itself.
func (o *Options) fits(own *Options) error {
	if own.IdleTimeout != nil && o.contract() == contractJSON {
		return errors.New("idle_timeout: is for the contracts stream and cgi only")
	}
	if own.ScriptRoot != "" && o.contract() != contractCGI {
		return errors.New("script_root: is for the contract cgi only")
	}
	return nil
}

// check refuses impossible values, naming the option.
func (o *Options) check() error {
	for _, opt := range options {
		if err := opt.check(o); err != nil {
			return fmt.Errorf("%s: %w", opt.name, err)
		}
	}
	return nil
}

// withDefaults returns o with what it leaves open taken from defaults.
func (o Options) withDefaults(defaults Options) Options {
	if o.Name == "" {
		o.Name = defaults.Name
	}
	if o.Contract == "" {
		o.Contract = defaults.Contract
	}
	if o.Args == nil {
		o.Args = defaults.Args
	}
	o.Timeout = either(o.Timeout, defaults.Timeout)
	o.IdleTimeout = either(o.IdleTimeout, defaults.IdleTimeout)
	o.Fuel = either(o.Fuel, defaults.Fuel)
	o.Memory = either(o.Memory, defaults.Memory)
	o.MaxRequest = either(o.MaxRequest, defaults.MaxRequest)
	o.MaxResponse = either(o.MaxResponse, defaults.MaxResponse)
	o.MaxLog = either(o.MaxLog, defaults.MaxLog)
	o.MaxFiles = either(o.MaxFiles, defaults.MaxFiles)
	o.Concurrency = either(o.Concurrency, defaults.Concurrency)
	o.Warm = either(o.Warm, defaults.Warm)
	o.Idle = either(o.Idle, defaults.Idle)
	o.Unload = either(o.Unload, defaults.Unload)
	if o.Check == "" {
		o.Check = defaults.Check
	}
	if o.Snapshot == "" {
		o.Snapshot = defaults.Snapshot
	}
	if o.ScriptRoot == "" {
		o.ScriptRoot = defaults.ScriptRoot
	}
	return o
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func valueOr[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

// The contracts: how HTTP meets a program's standard streams.
const (
	contractJSON   = "json"
	contractStream = "stream"
	contractCGI    = "cgi"
)

// contract is what the option says.
func (o *Options) contract() string {
	if o.Contract == "" {
		return contractJSON
	}
	return o.Contract
}

// scriptRoot is where scripts are, "" if requests are not for scripts. It may come from defaults that
// mean other functions.
func (o *Options) scriptRoot() string {
	if o.contract() != contractCGI {
		return ""
	}
	return o.ScriptRoot
}

// idleTimeout is the longest a call may go on without a byte; 0 for no limit.
func (o *Options) idleTimeout() time.Duration {
	return time.Duration(zeroOff(valueOr(o.IdleTimeout, Duration(defaultIdleTimeout))))
}

// limits translates the options for the engine, where 0 stands for no limit.
func (o *Options) limits() engine.Limits {
	timeout, output := Duration(defaultTimeout), Size(defaultMaxResponse)
	switch o.contract() {
	case contractStream:
		timeout, output = off, off
	case contractCGI:
		output = off
	}
	return engine.Limits{
		Timeout: time.Duration(zeroOff(valueOr(o.Timeout, timeout))),
		Fuel:    int64(zeroOff(valueOr(o.Fuel, off))),
		Memory:  int64(valueOr(o.Memory, defaultMemory)),
		Output:  int64(zeroOff(valueOr(o.MaxResponse, output))),
		// One byte more than is kept: how a call that wrote too much is told.
		Log:   o.maxLog() + 1,
		Files: int(valueOr(o.MaxFiles, defaultMaxFiles)),
	}
}

// keep adds to e how sandboxes are kept between calls.
func (o *Options) keep(e *engine.Options) {
	e.Idle = time.Duration(valueOr(o.Idle, Duration(defaultIdle)))
	e.Unload = time.Duration(valueOr(o.Unload, Duration(defaultUnload)))
	e.Warm = min(int(valueOr(o.Warm, 0)), e.Concurrency.Calls)
	e.Snapshot, _ = parseSnapshot(o.Snapshot) // checked
}

func zeroOff[T ~int64](v T) T {
	if v == off {
		return 0
	}
	return v
}

func (o *Options) maxLog() int64 { return int64(valueOr(o.MaxLog, defaultMaxLog)) }

// maxRequest is the largest request body in bytes, or off.
func (o *Options) maxRequest() int64 { return int64(valueOr(o.MaxRequest, defaultMaxRequest)) }

func (o *Options) concurrency() engine.Concurrency {
	cpus := runtime.GOMAXPROCS(0)
	c := valueOr(o.Concurrency, Concurrency{Calls: Count(4 * cpus)})
	e := engine.Concurrency{
		Calls: int(c.Calls),
		Queue: int(valueOr(c.Queue, Count(64*cpus))),
		Wait:  time.Duration(valueOr(c.Wait, Duration(defaultWait))),
	}
	if e.Wait == 0 {
		e.Queue = 0 // to the engine, no wait is a wait without end
	}
	return e
}
