// Package placeholder prepares configured text in which Caddy's placeholders
// stand for something.
package placeholder

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/engine"
)

// ofRequest is the name space of the placeholders that requests bring along.
const ofRequest = "http."

// plausible tells what may be a placeholder from other text in braces, such as
// JSON.
var plausible = regexp.MustCompile(`^[A-Za-z_][^\s"'{}]*$`)

// Value prepares text for a guest. Placeholders that are known now, the global
// ones, are replaced now, those of the request in each call. There, one that
// the request doesn't have becomes empty rather than stay as it is: a program
// must not take the name of a placeholder for what it stands for. All other
// text in braces is left alone. A file that can't be read is an error.
func Value(text string) (engine.Value, error) {
	var (
		global  = caddy.NewReplacer()
		now     = make(map[string]any)
		perCall bool
		missing error
	)
	fixed := replace(text, func(key string) (any, bool) {
		value, known := global.Get(key)
		switch {
		case known && value == nil:
			missing = fmt.Errorf("placeholder {%s} has no value", key)
		case known:
			now[key] = value
		case plausible.MatchString(key):
			perCall = true
		}
		return value, known
	})
	if missing != nil || !perCall {
		return engine.Value{Fixed: fixed}, missing
	}
	return engine.Value{Resolve: func(ctx context.Context) string { return resolve(ctx, text, now) }}, nil
}

// resolve replaces what is known since the configuration was loaded, and what
// the request of ctx knows.
func resolve(ctx context.Context, text string, now map[string]any) string {
	request, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	value := replace(text, func(key string) (any, bool) {
		if value, known := now[key]; known {
			return value, true
		}
		if request != nil {
			if value, known := request.Get(key); known {
				return value, true
			}
		}
		return "", strings.HasPrefix(key, ofRequest)
	})
	// Clients can send a NUL in a path; to a program it would be the end.
	return strings.ReplaceAll(value, "\x00", "")
}

// replace replaces in text every {key} that get knows.
func replace(text string, get caddy.ReplacerFunc) string {
	r := caddy.NewEmptyReplacer()
	r.Map(get)
	return r.ReplaceKnown(text, "")
}
