package examples

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// The example weather asks a real server, as far as its grant goes, and answers for everything
// that such a server can do.
func TestWeather(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if r.Method != http.MethodGet || r.URL.Path != "/v1/forecast" || query.Get("current") != "temperature_2m,wind_speed_10m,weather_code" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch query.Get("latitude") {
		case "38.72":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"longitude":%s,"current":{"time":"2026-11-23T08:15","interval":900,"temperature_2m":17.5,"wind_speed_10m":9,"weather_code":63}}`, query.Get("longitude"))
		case "1":
			fmt.Fprint(w, `{"current":`)
		case "2":
			fmt.Fprint(w, `{}`)
		case "3":
			w.WriteHeader(http.StatusTooManyRequests)
		case "4":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "5":
			<-r.Context().Done()
		case "6":
			fmt.Fprint(w, `{"current":`, strings.Repeat(" ", 1<<20), `{}}`)
		}
	}))
	defer service.Close()
	t.Run("Go", func(t *testing.T) { testWeather(t, service.URL, module(t, "weather"), "") })
	for _, version := range []struct{ name, folder, variable, args string }{
		{"JavaScript", "weather-js", "GOJINN_TEST_QUICKJS", "quickjs /app/gojinn.js main.js"},
		{"Python", "weather-python", "GOJINN_TEST_PYTHON", "python /app/gojinn.py main"},
	} {
		t.Run(version.name, func(t *testing.T) {
			wasm := toolchaintest.FindInterpreter(t, version.variable)
			if wasm == "" {
				t.Skip("there is no interpreter")
			}
			dir, err := filepath.Abs(filepath.Join(examples, version.folder))
			if err != nil {
				t.Fatal(err)
			}
			testWeather(t, service.URL, wasm, "args "+version.args+"\n memory 256MiB\n allow dir "+dir+" /app\n")
		})
	}
}

// testWeather asks a version of the function, served with these options, which asks a service.
func testWeather(t *testing.T, service, wasm, options string) {
	api := options + "allow env WEATHER_API " + service + "/v1/forecast\n"
	address := serveSite(t, "", handle("", wasm, api+"allow http "+service+" {\n methods GET\n timeout 2s\n private 127.0.0.1\n }")+
		handle("/refused", wasm, api+"allow http "+service)+
		handle("/elsewhere", wasm, options+"allow env WEATHER_API http://127.0.0.2:9/\n allow http "+service+" {\n private 127.0.0.0/8\n }")+
		handle("/nothing", wasm, options))
	for _, test := range []struct {
		name, path string
		status     int
		body       string // all of it, or with * part of it
	}{
		{"an answer", "/weather?lat=38.72&lon=-9.14", 200, `{"time":"2026-11-23T08:15","temperature":17.5,"wind":9,"sky":"rain"}`},
		{"no place", "/weather", 400, `*lat and lon must be degrees`},
		{"no such place", "/weather?lat=91&lon=0", 400, `*lat and lon must be degrees`},
		{"half an answer", "/weather?lat=1&lon=0", 502, `*can't be asked`},
		{"another answer", "/weather?lat=2&lon=0", 502, `*can't be asked`},
		{"an error", "/weather?lat=3&lon=0", 502, `*can't be asked`},
		{"a redirect", "/weather?lat=4&lon=0", 502, `*can't be asked`},
		{"no answer", "/weather?lat=5&lon=0", 504, `*takes too long`},
		{"a long answer", "/weather?lat=6&lon=0", 502, `*can't be asked`},
		{"a private address", "/refused/weather?lat=38.72&lon=0", 502, `*can't be asked`},
		{"another origin", "/elsewhere/weather?lat=38.72&lon=0", 502, `*can't be asked`},
		{"nothing allowed", "/nothing/weather?lat=38.72&lon=0", 502, `*can't be asked`},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodGet, "http://"+address+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			status, body := send(t, request)
			want, part := strings.CutPrefix(test.body, "*")
			if status != test.status || part && !strings.Contains(body, want) || !part && strings.TrimSpace(body) != want {
				t.Errorf("got %d %.300q after %s, want %d %q", status, body, time.Since(start), test.status, test.body)
			}
		})
	}
}
