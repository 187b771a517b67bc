package gojinn

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/engine"
)

// requestPlaceholder tells what may be a placeholder of the request from other
// text in braces, such as JSON.
var requestPlaceholder = regexp.MustCompile(`^[A-Za-z_][^\s"'{}]*$`)

// valueOf prepares text for the guest. Placeholders that are known now, the
// global ones, are replaced now; those of the request in each call; all other
// text in braces stays as it is. A file that can't be read is an error.
func valueOf(text string) (engine.Value, error) {
	var (
		global  = caddy.NewReplacer()
		now     = make(map[string]any)
		perCall bool
		missing error
	)
	fixed := replaceKnown(text, func(key string) (any, bool) {
		value, known := global.Get(key)
		switch {
		case known && value == nil:
			missing = fmt.Errorf("placeholder {%s} has no value", key)
		case known:
			now[key] = value
		case requestPlaceholder.MatchString(key):
			perCall = true
		}
		return value, known
	})
	if missing != nil || !perCall {
		return engine.Value{Fixed: fixed}, missing
	}
	return engine.Value{Resolve: func(ctx context.Context) string {
		ofRequest := replacerOf(ctx)
		value := replaceKnown(text, func(key string) (any, bool) {
			if value, ok := now[key]; ok {
				return value, true
			}
			return ofRequest.Get(key)
		})
		// Clients can send a NUL in a path; to a program it would be the end.
		return strings.ReplaceAll(value, "\x00", "")
	}}, nil
}

// replaceKnown replaces in text every {key} that get knows.
func replaceKnown(text string, get caddy.ReplacerFunc) string {
	r := caddy.NewEmptyReplacer()
	r.Map(get)
	return r.ReplaceKnown(text, "")
}
