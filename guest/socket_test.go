package guest

import (
	"net/url"
	"testing"
)

// A stream is what is at the address's place below /net.
func TestStreams(t *testing.T) {
	t.Parallel()
	for _, language := range languages {
		for _, kind := range []string{"tcp", "tls"} {
			t.Run(language+"/"+kind, func(t *testing.T) {
				t.Parallel()
				f := function(t, "clients-"+language, answering(t, "/net/"+kind+"/db.example:5432", func(line string) string { return "heard " + line }))
				if got := ask(t, f, url.Values{"do": {kind}, "address": {"db.example:5432"}}, "hello\n"); got.Status != 200 || string(got.Body) != "heard hello" {
					t.Errorf("got %d %q, want 200 and what was heard", got.Status, got.Body)
				}
				if got := ask(t, f, url.Values{"do": {kind}, "address": {"db.example:5433"}}, "hello\n"); got.Status != 500 || len(got.Body) == 0 {
					t.Errorf("what was not granted: got %d %q, want 500", got.Status, got.Body)
				}
			})
		}
	}
}
