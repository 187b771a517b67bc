package gojinn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

func callCommand() *cobra.Command {
	var flags functionFlags
	cmd := subcommand("call <module.wasm> [request.json]", "Runs one request without a server", `
Runs a function on one request and prints what it answers. The request is a JSON
object as docs/contract.md has it, from a file, or from standard input if the
file's name is "-"; without one it is GET /. A function with contract stream reads
its body behind its line, and answers likewise; one with contract cgi has it as
variables and a body. The answer goes to standard output, what the
function logs and the call's receipt to standard error. The exit code is 0 if
the function answered, whatever the status, and 1 if it did not.`,
		cobra.RangeArgs(1, 2),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			request, err := requestOf(cmd.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			h, unload, err := loadForOneCall(ctx, &flags, args[0])
			if err != nil {
				return err
			}
			defer unload()
			return h.callOnce(ctx, request, cmd.OutOrStdout(), cmd.ErrOrStderr())
		})
	flags.register(cmd)
	return cmd
}

// loadForOneCall provisions a function that gets no sandbox ready for a second call.
func loadForOneCall(ctx context.Context, flags *functionFlags, module string) (h *Handler, unload func(), err error) {
	config, err := flags.load(module)
	if err == nil {
		config, err = config.with(keepNone)
	}
	if err != nil {
		return nil, nil, err
	}
	return loadFunction(ctx, config)
}

// requestOf reads the request, or makes one.
func requestOf(stdin io.Reader, files []string) ([]byte, error) {
	if len(files) == 0 {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			return nil, err
		}
		r.Host = "localhost"
		return contract.AppendRequest(nil, r, contract.Meta{
			ID: uuid.NewString(), URI: "/", OriginalURI: "/", Scheme: "http", Path: "/", RemoteAddr: "127.0.0.1",
		}, nil), nil
	}
	if files[0] != "-" {
		f, err := os.Open(files[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		stdin = f
	}
	request, err := io.ReadAll(stdin)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(request, &object); err != nil {
		return nil, fmt.Errorf("the request is not a JSON object: %w", err)
	}
	return request, nil
}

// callOnce runs the function once, outside of a server.
func (h *Handler) callOnce(ctx context.Context, request []byte, stdout, stderr io.Writer) error {
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx, input, err := h.inputOf(ctx, request)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	receipt, err := h.function().Run(ctx, bytes.NewReader(input), &out, stderr)
	status := 0
	response, err := h.responseOf(out.Bytes(), err)
	if err == nil {
		status = response.Status
	}
	_, reason := statusOf(err)
	printReceipt(stderr, reason, status, receipt)
	if err != nil {
		if trap, ok := errors.AsType[*engine.TrapError](err); ok && trap.Trace != "" {
			return fmt.Errorf("%w\n%s", err, trap.Trace)
		}
		return err
	}
	answer := out.Bytes()
	if h.served.contract == contractJSON {
		answer = append(bytes.TrimSpace(answer), '\n')
	}
	_, err = stdout.Write(answer)
	return err
}

func printReceipt(to io.Writer, reason string, status int, r engine.Receipt) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "reason\t%s\n", reason)
	if status != 0 {
		fmt.Fprintf(table, "status\t%d\n", status)
	}
	fmt.Fprintf(table, "duration\t%s\n", r.Duration.Round(time.Microsecond))
	fmt.Fprintf(table, "fuel\t%d\n", r.Fuel)
	fmt.Fprintf(table, "memory\t%s\n", humanize.IBytes(uint64(r.Memory)))
	fmt.Fprintf(table, "start\t%s\n", r.Start)
	_ = table.Flush() // standard error, or a test's buffer
}
