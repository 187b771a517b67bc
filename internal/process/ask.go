package process

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// An Answer is what a server answered.
type Answer struct {
	Status    int
	MediaType string
	Body      string
}

// maxAnswer bounds, in bytes, what of a body is read.
const maxAnswer = 64 << 20

var client = &http.Client{Timeout: time.Minute}

// Ask sends a request. A body goes as JSON.
func Ask(ctx context.Context, method, url, body string) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return Answer{response.StatusCode, response.Header.Get("Content-Type"), string(text)}, err
}

// Disconnect closes the connections that no Ask has in use.
func Disconnect() { client.CloseIdleConnections() }

// Metrics are the figures of a Caddy that serves them at /metrics.
func (p *Process) Metrics(ctx context.Context) (string, error) {
	answer, err := Ask(ctx, http.MethodGet, p.URL("/metrics"), "")
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("status %d", answer.Status)
	}
	if err != nil {
		return "", fmt.Errorf("reading the metrics of %s: %w", p.Name, err)
	}
	return answer.Body, nil
}

// Metric adds the values of all series of one metric whose labels, as they are printed, hold
// what is asked for.
func Metric(metrics, name, labels string) (sum float64, err error) {
	series := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(\{.*\})? (\S+)$`)
	found := false
	for _, match := range series.FindAllStringSubmatch(metrics, -1) {
		if !strings.Contains(match[1], labels) {
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("the metrics lack %s{%s}", name, labels)
	}
	return sum, nil
}
