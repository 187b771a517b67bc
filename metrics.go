package gojinn

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gojinn/gojinn/engine"
)

// Caddy has a registry for each configuration. The collectors are one set for
// the process, registered with each of them, so that counters go on counting
// over a reload. Labels come from configuration only. A function's series are
// removed when the last configuration that names it is cleaned up.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gojinn_requests_total",
		Help: "Requests to functions, by how they ended.",
	}, []string{"function", "reason"})

	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gojinn_request_duration_seconds",
		Help:    "Time from a request's arrival at the function's handler to its end.",
		Buckets: secondsBuckets,
	}, []string{"function"})

	queueDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gojinn_queue_duration_seconds",
		Help:    "Time that calls waited for their turn.",
		Buckets: secondsBuckets,
	}, []string{"function"})

	startsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gojinn_starts_total",
		Help: "Calls that got a sandbox, by how the sandbox came to be.",
	}, []string{"function", "kind"})

	fuelTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gojinn_fuel_total",
		Help: "Instructions that calls executed.",
	}, []string{"function"})

	compileDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "gojinn_compile_duration_seconds",
		Help:    "Time to make a module ready to run, compiled or fetched from the code cache.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	})

	sandboxesDesc = prometheus.NewDesc("gojinn_sandboxes",
		"Sandboxes at this moment: serving a call, getting ready for the next, or waiting for it.", []string{"function", "state"}, nil)
	memoryDesc = prometheus.NewDesc("gojinn_memory_bytes",
		"Linear memory of the function's sandboxes at this moment.", []string{"function"}, nil)
	programsDesc = prometheus.NewDesc("gojinn_programs",
		"Modules in use, by whether their code is loaded.", []string{"state"}, nil)
)

// secondsBuckets reach from a small function's few microseconds to the
// default timeout.
var secondsBuckets = []float64{
	.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10,
}

// registerMetrics adds the collectors to a configuration's registry.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{
		requestsTotal, requestDuration, queueDuration, startsTotal, fuelTotal, compileDuration, live,
	} {
		if err := registry.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return err
			}
		}
	}
	return nil
}

// live is what can be measured at this moment. Handlers add themselves when
// they are ready and remove themselves when they are cleaned up.
var live = &liveFunctions{
	functions: make(map[string]map[*engine.Function]*engine.Program),
	series:    make(map[string]*series),
}

// liveFunctions collects the metrics that are states, not events. Safe for
// concurrent use.
type liveFunctions struct {
	mu        sync.RWMutex
	functions map[string]map[*engine.Function]*engine.Program // by name: old and new configuration overlap
	series    map[string]*series                              // of the same names
}

// series are a function's, looked up once: that takes longer than counting.
type series struct {
	duration, queue prometheus.Observer
	fuel            prometheus.Counter
	reasons, starts sync.Map // string to prometheus.Counter; both have few keys
}

func newSeries(name string) *series {
	return &series{
		duration: requestDuration.WithLabelValues(name),
		queue:    queueDuration.WithLabelValues(name),
		fuel:     fuelTotal.WithLabelValues(name),
	}
}

// counter is the one of a vector for a function and another label, remembered in
// known.
func counter(known *sync.Map, vector *prometheus.CounterVec, name, label string) prometheus.Counter {
	c, ok := known.Load(label)
	if !ok {
		c, _ = known.LoadOrStore(label, vector.WithLabelValues(name, label))
	}
	return c.(prometheus.Counter)
}

func (l *liveFunctions) add(name string, f *engine.Function, p *engine.Program) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.programs()[p] { // else it was compiled for another function
		compileDuration.Observe(p.CompileTime().Seconds())
	}
	if l.functions[name] == nil {
		l.functions[name] = make(map[*engine.Function]*engine.Program)
		l.series[name] = newSeries(name)
	}
	l.functions[name][f] = p
}

// remove forgets f, and the series of its name if no other function has it.
func (l *liveFunctions) remove(name string, f *engine.Function) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.functions[name], f)
	if len(l.functions[name]) > 0 {
		return
	}
	delete(l.functions, name)
	delete(l.series, name)
	of := prometheus.Labels{"function": name}
	requestsTotal.DeletePartialMatch(of)
	requestDuration.DeletePartialMatch(of)
	queueDuration.DeletePartialMatch(of)
	startsTotal.DeletePartialMatch(of)
	fuelTotal.DeletePartialMatch(of)
}

// Describe is for Prometheus.
func (l *liveFunctions) Describe(to chan<- *prometheus.Desc) {
	to <- sandboxesDesc
	to <- memoryDesc
	to <- programsDesc
}

// Collect is for Prometheus.
func (l *liveFunctions) Collect(to chan<- prometheus.Metric) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for name, functions := range l.functions {
		var states [3]int
		var memory int64
		for f := range functions {
			running, restoring, parked := f.Sandboxes()
			for i, n := range [...]int{running, restoring, parked} {
				states[i] += n
			}
			memory += f.Memory()
		}
		for i, state := range [...]string{"running", "restoring", "parked"} {
			to <- prometheus.MustNewConstMetric(sandboxesDesc, prometheus.GaugeValue, float64(states[i]), name, state)
		}
		to <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(memory), name)
	}
	to <- prometheus.MustNewConstMetric(programsDesc, prometheus.GaugeValue, float64(len(l.programs())), "loaded")
	to <- prometheus.MustNewConstMetric(programsDesc, prometheus.GaugeValue, 0, "unloaded")
}

func (l *liveFunctions) programs() map[*engine.Program]bool {
	programs := make(map[*engine.Program]bool)
	for _, functions := range l.functions {
		for _, program := range functions {
			programs[program] = true
		}
	}
	return programs
}

// observe counts one request. One that ends after its function's series have
// been removed does not bring them back.
func (l *liveFunctions) observe(name, reason string, took time.Duration, receipt engine.Receipt) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.series[name]
	if s == nil {
		return
	}
	counter(&s.reasons, requestsTotal, name, reason).Inc()
	s.duration.Observe(took.Seconds())
	if receipt.Start == "" {
		return // it never got a sandbox
	}
	s.queue.Observe(receipt.Queue.Seconds())
	counter(&s.starts, startsTotal, name, receipt.Start).Inc()
	s.fuel.Add(float64(max(0, receipt.Fuel)))
}
