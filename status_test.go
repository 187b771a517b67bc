package gojinn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

func TestStatusOf(t *testing.T) {
	t.Parallel()
	_, errDecode := contract.DecodeResponse(nil)
	tests := []struct {
		err    error
		status int
		reason string
	}{
		{nil, 200, "ok"},
		{errRequestTooLarge, 413, "request_too_large"},
		{errFieldsTooLarge, 431, "request_too_large"},
		{errLength, 411, "request_too_large"},
		{errPath, 400, "bad_request"},
		{errHost, 400, "bad_request"},
		{errLoop, 508, "loop"},
		{engine.ErrOverloaded, 503, "overloaded"},
		{fmt.Errorf("%w: handing on the output: %w", engine.ErrCanceled, engine.ErrOverloaded), 503, "overloaded"},
		{engine.ErrLoad, 503, "load"},
		{&engine.ModuleError{Reason: "bad"}, 503, "load"},
		{engine.ErrTimeout, 504, "timeout"},
		{engine.ErrFuel, 504, "fuel"},
		{&engine.TrapError{Message: "unreachable"}, 502, "trap"},
		{engine.ErrStack, 502, "stack"},
		{engine.ErrMemory, 502, "memory"},
		{fmt.Errorf("%w: %w", engine.ErrMemory, &engine.ExitError{Code: 2}), 502, "memory"},
		{&engine.ExitError{Code: 3}, 502, "exit"},
		{errDecode, 502, "bad_response"},
		{engine.ErrOutput, 502, "response_too_large"},
		{engine.ErrCanceled, 499, "canceled"},
		{fmt.Errorf("%w: %w", engine.ErrCanceled, context.Canceled), 499, "canceled"},
		{fmt.Errorf("%w: %w", errUnloaded, engine.ErrCanceled), 503, "canceled"},
		{fmt.Errorf("%w: %w", errResponse, errors.New("broken pipe")), 499, "canceled"},
		{fmt.Errorf("%w: %w", errBody, errors.New("unexpected EOF")), 400, "canceled"},
		{fmt.Errorf("%w: %w", errBody, os.ErrDeadlineExceeded), 408, "canceled"},
		{&engine.HostError{Doing: "running", Value: "boom"}, 500, "internal"},
		{errors.New("something else"), 500, "internal"},
	}
	for _, test := range tests {
		if status, reason := statusOf(test.err); status != test.status || reason != test.reason {
			t.Errorf("%v: got %d %s, want %d %s", test.err, status, reason, test.status, test.reason)
		}
		if test.err == nil {
			continue
		}
		if status, reason := statusOf(fmt.Errorf("wrapped: %w", test.err)); status != test.status || reason != test.reason {
			t.Errorf("wrapped %v: got %d %s, want %d %s", test.err, status, reason, test.status, test.reason)
		}
	}
}
