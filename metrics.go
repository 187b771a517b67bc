package gojinn

import (
	"errors"
	"slices"
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

	changesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gojinn_module_changes_total",
		Help: "Changes of module files, by what became of them: live, or refused.",
	}, []string{"function", "result"})

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
		requestsTotal, requestDuration, queueDuration, startsTotal, fuelTotal, changesTotal, compileDuration, live,
	} {
		if err := registry.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return err
			}
		}
	}
	return nil
}

// live is what can be measured at this moment. Functions and versions add themselves
// when they are made and remove themselves when they are closed.
var live = &liveFunctions{
	versions: make(map[string]map[*version]struct{}),
	series:   make(map[string]*series),
}

// liveFunctions collects the metrics that are states, not events. Safe for
// concurrent use.
type liveFunctions struct {
	mu       sync.RWMutex
	versions map[string]map[*version]struct{} // by the name of their series: a folder's functions share one, old and new ones overlap
	series   map[string]*series               // of the same names
}

// series are a function's, looked up once: that takes longer than counting.
type series struct {
	users           int // functions and versions of this name
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

// paths are where modules with this digest were when they were opened.
func (l *liveFunctions) paths(digest engine.Digest) (paths []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, versions := range l.versions {
		for v := range versions {
			if v.digest == digest && !slices.Contains(paths, v.path) && len(paths) < 16 {
				paths = append(paths, v.path)
			}
		}
	}
	return paths
}

// keep makes the series of a name, or has them stay, until drop: a function has them
// even if it has no version.
func (l *liveFunctions) keep(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.use(name)
}

// drop removes the series of a name if nothing else has it.
func (l *liveFunctions) drop(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(name)
}

func (l *liveFunctions) add(v *version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.versions[v.series] == nil {
		l.versions[v.series] = make(map[*version]struct{})
	}
	l.versions[v.series][v] = struct{}{}
	l.use(v.series)
}

// remove forgets v, and the series of its name if nothing else has it.
func (l *liveFunctions) remove(v *version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.versions[v.series], v)
	if len(l.versions[v.series]) == 0 {
		delete(l.versions, v.series)
	}
	l.leave(v.series)
}

// use is keep. mu is held.
func (l *liveFunctions) use(name string) {
	if l.series[name] == nil {
		l.series[name] = newSeries(name)
	}
	l.series[name].users++
}

// leave is drop. mu is held.
func (l *liveFunctions) leave(name string) {
	if l.series[name].users--; l.series[name].users > 0 {
		return
	}
	delete(l.series, name)
	of := prometheus.Labels{"function": name}
	requestsTotal.DeletePartialMatch(of)
	requestDuration.DeletePartialMatch(of)
	queueDuration.DeletePartialMatch(of)
	startsTotal.DeletePartialMatch(of)
	fuelTotal.DeletePartialMatch(of)
	changesTotal.DeletePartialMatch(of)
}

// changed counts a change of a module file.
func (l *liveFunctions) changed(name, result string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.series[name] != nil {
		changesTotal.WithLabelValues(name, result).Inc()
	}
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
	for name, versions := range l.versions {
		var states [3]int
		var memory int64
		for v := range versions {
			running, restoring, parked := v.Sandboxes()
			for i, n := range [...]int{running, restoring, parked} {
				states[i] += n
			}
			memory += v.Memory()
		}
		for i, state := range [...]string{"running", "restoring", "parked"} {
			to <- prometheus.MustNewConstMetric(sandboxesDesc, prometheus.GaugeValue, float64(states[i]), name, state)
		}
		to <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(memory), name)
	}
	loaded, unloaded := countPrograms()
	to <- prometheus.MustNewConstMetric(programsDesc, prometheus.GaugeValue, float64(loaded), "loaded")
	to <- prometheus.MustNewConstMetric(programsDesc, prometheus.GaugeValue, float64(unloaded), "unloaded")
}

// countPrograms counts the programs of all engines, by whether their code is in memory.
func countPrograms() (loaded, unloaded int) {
	engines.Range(func(_, e any) bool {
		l, u := e.(pooledEngine).Programs()
		loaded, unloaded = loaded+l, unloaded+u
		return true
	})
	return loaded, unloaded
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
