// Weather asks a weather service how it is at a place, and answers with the little that a page
// wants to show. It is the ordinary HTTP client of Go's standard library that asks: what may be
// asked is a line in the Caddyfile.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

const (
	// serviceVariable names the service, one that speaks Open-Meteo's forecast API.
	serviceVariable = "WEATHER_API"
	// patience is how long the service may take.
	patience = 5 * time.Second
	// maxAnswer bounds the service's answer, in bytes.
	maxAnswer = 64 << 10
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	http.HandleFunc("GET /weather", weather)
	gojinn.Serve(nil)
}

// A report is what the function answers.
type report struct {
	Time        string  `json:"time"`
	Temperature float64 `json:"temperature"` // °C
	Wind        float64 `json:"wind"`        // km/h
	Sky         string  `json:"sky"`
}

func weather(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	lat, errLat := coordinate(query.Get("lat"), 90)
	lon, errLon := coordinate(query.Get("lon"), 180)
	if err := errors.Join(errLat, errLon); err != nil {
		fail(w, http.StatusBadRequest, "lat and lon must be degrees, such as ?lat=38.72&lon=-9.14")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	now, err := ask(ctx, os.Getenv(serviceVariable), lat, lon)
	switch {
	case os.IsTimeout(err): // ours, or that of the grant
		fail(w, http.StatusGatewayTimeout, "the weather service takes too long")
	case err != nil:
		slog.Error("asking the weather service", "error", err)
		fail(w, http.StatusBadGateway, "the weather service can't be asked")
	default:
		w.Header().Set("Cache-Control", "public, max-age=600")
		answer(w, http.StatusOK, now)
	}
}

// coordinate reads degrees from -limit to limit.
func coordinate(text string, limit float64) (float64, error) {
	degrees, err := strconv.ParseFloat(text, 64)
	if err == nil && !(math.Abs(degrees) <= limit) { // which NaN isn't either
		err = strconv.ErrRange
	}
	return degrees, err
}

// ask asks the service how it is at a place now.
func ask(ctx context.Context, service string, lat, lon float64) (*report, error) {
	query := url.Values{
		"latitude":  {strconv.FormatFloat(lat, 'f', -1, 64)},
		"longitude": {strconv.FormatFloat(lon, 'f', -1, 64)},
		"current":   {"temperature_2m,wind_speed_10m,weather_code"},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, service+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", response.StatusCode)
	}
	var forecast struct {
		Current *struct {
			Time        string  `json:"time"`
			Temperature float64 `json:"temperature_2m"`
			Wind        float64 `json:"wind_speed_10m"`
			Code        int     `json:"weather_code"`
		} `json:"current"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&forecast); err != nil {
		return nil, fmt.Errorf("its answer can't be read: %w", err)
	}
	if forecast.Current == nil {
		return nil, errors.New("its answer has no current weather")
	}
	c := forecast.Current
	return &report{c.Time, c.Temperature, c.Wind, sky(c.Code)}, nil
}

// sky says what a code means (WMO 4677, as far as services use it).
func sky(code int) string {
	for _, s := range []struct {
		upTo int
		name string
	}{
		{0, "clear"}, {2, "partly cloudy"}, {3, "overcast"}, {49, "fog"}, {59, "drizzle"},
		{69, "rain"}, {79, "snow"}, {84, "rain showers"}, {94, "snow showers"}, {99, "thunderstorm"},
	} {
		if code >= 0 && code <= s.upTo {
			return s.name
		}
	}
	return "unknown"
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"error": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Error("answering", "error", err)
	}
}
