package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is something that is done again and again by several at once.
type load struct {
	kind, name string // of one kind are those that are compared
	workers    int
	do         func(ctx context.Context, key string) error

	minRatio, minRate float64       // 0: no bound
	maxLast           time.Duration // 0: no bound

	// What each round found.
	rates          []float64
	medians, lasts []time.Duration
}

// measure lets all loads take turns. Lone workers of one kind take turns operation by operation: a disk
// that others use too is another one from second to second.
func measure(ctx context.Context, loads []*load, rounds int, duration time.Duration) error {
	for range rounds {
		for i := 0; i < len(loads); {
			n := 1
			for loads[i].workers == 1 && i+n < len(loads) && loads[i+n].kind == loads[i].kind {
				n++
			}
			if err := run(ctx, loads[i:i+n], time.Duration(n)*duration); err != nil {
				return err
			}
			i += n
		}
	}
	return nil
}

// run does the loads for some time, by the workers of the first: each does all of them in
// turn.
func run(ctx context.Context, loads []*load, duration time.Duration) error {
	workers := loads[0].workers
	took := make([][]time.Duration, workers*len(loads)) // by worker and load
	errs := make([]error, workers)
	var all sync.WaitGroup
	begin := time.Now()
	for worker := range workers {
		all.Go(func() {
			for time.Since(begin) < duration && errs[worker] == nil {
				for i, l := range loads {
					key := strconv.Itoa(rand.IntN(keys))
					start := time.Now()
					if err := l.do(ctx, key); err != nil {
						errs[worker] = fmt.Errorf("%s: %w", l.name, err)
						return
					}
					to := &took[worker*len(loads)+i]
					*to = append(*to, time.Since(start))
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, l := range loads {
		l.note(took, i, len(loads))
	}
	return nil
}

// note keeps what a round has found, in every step-th of took from first on.
func (l *load) note(took [][]time.Duration, first, step int) {
	var each []time.Duration
	var whole float64 // of the workers, in seconds each
	for i := first; i < len(took); i += step {
		for _, d := range took[i] {
			whole += d.Seconds() / float64(l.workers)
		}
		each = append(each, took[i]...)
	}
	slices.Sort(each)
	l.rates = append(l.rates, float64(len(each))/whole)
	l.medians = append(l.medians, each[len(each)/2])
	l.lasts = append(l.lasts, each[len(each)*99/100])
}
