package gojinn

import (
	"errors"
	"net/http"
	"os"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

// statusClientGone is what Caddy, after nginx, logs for a request whose client
// has left.
const statusClientGone = 499

var (
	errRequestTooLarge = errors.New("request body over max_request")
	// errLength is a request whose body is so large that its client would have to say how large.
	errLength = errors.New("request body of unknown length")
	// errFieldsTooLarge is a request whose fields are more than a program is told of.
	errFieldsTooLarge = errors.New("request fields too large")
	// errPath is a path that no program can be told of.
	errPath = errors.New("the path of the request")
	// errHost is a host that no URL can have.
	errHost = errors.New("the host of the request")
	// errLoop is a request that has passed through functions too often.
	errLoop = errors.New("the request goes in circles")
	// errBody is a request body that ends early or is not framed as HTTP has
	// it, other than by a client that is known to have gone.
	errBody = errors.New("reading the request body")
	// errUnloaded is a call that outlived its configuration's grace period, while
	// its client was still waiting.
	errUnloaded = errors.New("the configuration has been unloaded")
	// errResponse is a response that could not be written to its end.
	errResponse = errors.New("writing the response")
)

// endings is the table of how a call can end, first match first: the status
// that the client gets, and the reason in logs, metrics and placeholders.
// Nothing else here knows a status of an error.
var endings = []struct {
	is     func(error) bool
	status int
	reason string
}{
	{is(errRequestTooLarge), http.StatusRequestEntityTooLarge, "request_too_large"},
	{is(errLength), http.StatusLengthRequired, "request_too_large"},
	{is(errFieldsTooLarge), http.StatusRequestHeaderFieldsTooLarge, "request_too_large"},
	{is(errPath), http.StatusBadRequest, "bad_request"},
	{is(errHost), http.StatusBadRequest, "bad_request"},
	{is(errLoop), http.StatusLoopDetected, "loop"},
	{is(errResponse), statusClientGone, "canceled"},
	{is(errUnloaded), http.StatusServiceUnavailable, "canceled"},
	{slowBody, http.StatusRequestTimeout, "canceled"},
	{is(errBody), http.StatusBadRequest, "canceled"},
	// Before canceled: who can't hold the answer ends the call.
	{is(engine.ErrOverloaded), http.StatusServiceUnavailable, "overloaded"},
	{is(engine.ErrLoad), http.StatusServiceUnavailable, "load"},
	{is(engine.ErrTimeout), http.StatusGatewayTimeout, "timeout"},
	{is(engine.ErrFuel), http.StatusGatewayTimeout, "fuel"},
	{is(engine.ErrStack), http.StatusBadGateway, "stack"},
	// Before trap and exit: how a guest ends that is refused memory.
	{is(engine.ErrMemory), http.StatusBadGateway, "memory"},
	{is(engine.ErrOutput), http.StatusBadGateway, "response_too_large"},
	{as[*contract.DecodeError], http.StatusBadGateway, "bad_response"},
	{is(engine.ErrCanceled), statusClientGone, "canceled"},
	{as[*engine.TrapError], http.StatusBadGateway, "trap"},
	{as[*engine.ExitError], http.StatusBadGateway, "exit"},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func slowBody(err error) bool {
	return errors.Is(err, errBody) && errors.Is(err, os.ErrDeadlineExceeded)
}

// statusOf says what a call's end means to the client and to the operator. An
// error that is in no row is a fault of ours: 500, "internal".
func statusOf(err error) (status int, reason string) {
	if err == nil {
		return http.StatusOK, "ok"
	}
	for _, ending := range endings {
		if ending.is(err) {
			return ending.status, ending.reason
		}
	}
	return http.StatusInternalServerError, "internal"
}

// callError is what the rest of Caddy is told of a call that failed. Its text
// may reach clients, by {http.error.message} in an error page, so it holds
// nothing that the guest or the host's file system had a part in; that is in
// the log, and in the error it wraps.
type callError struct {
	function string
	reason   string
	cause    error
}

func (e *callError) Error() string { return "function " + e.function + ": " + e.reason }

func (e *callError) Unwrap() error { return e.cause }
