package process

import "testing"

func TestMetric(t *testing.T) {
	t.Parallel()
	metrics := `# TYPE gojinn_fuel_total counter
gojinn_fuel_total{function="json"} 5
gojinn_fuel_total{function="loop"} 6.5e+08
gojinn_sandboxes{function="a",state="parked"} 3
gojinn_sandboxes{function="a",state="running"} 1
gojinn_sandboxes{function="ab",state="running"} 9
go_memstats_alloc_bytes_total 1.5e+06
broken x
`
	for _, test := range []struct {
		name, labels string
		want         float64
		ok           bool
	}{
		{"gojinn_fuel_total", `function="loop"`, 6.5e8, true},
		{"gojinn_sandboxes", `function="a"`, 4, true},
		{"go_memstats_alloc_bytes_total", "", 1.5e6, true},
		{"gojinn_fuel_total", `function="none"`, 0, false},
		{"gojinn_fuel", "", 0, false},
		{"broken", "", 0, false},
	} {
		got, err := Metric(metrics, test.name, test.labels)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%s{%s}: got %g, %v, want %g", test.name, test.labels, got, err, test.want)
		}
	}
}

func TestParseSmaps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       Weight
		ok         bool
	}{
		{"as Linux has it", "00400000-7ffe [rollup]\nRss:    2000 kB\nPss:    1500 kB\nPss_Dirty: 3 kB\n", Weight{2000 * 1024, 1500 * 1024}, true},
		{"without a share", "Rss: 2000 kB\n", Weight{}, false},
		{"no number", "Rss: many kB\nPss: 1 kB\n", Weight{}, false},
		{"nothing", "", Weight{}, false},
	} {
		if got, err := parseSmaps(test.text); got != test.want || (err == nil) != test.ok {
			t.Errorf("%s: got %v, %v, want %v", test.name, got, err, test.want)
		}
	}
}
