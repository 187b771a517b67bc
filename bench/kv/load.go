package main

import (
	"context"
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

// measure lets all loads take turns.
func measure(ctx context.Context, loads []*load, rounds int, duration time.Duration) error {
	for range rounds {
		for _, l := range loads {
			if err := l.run(ctx, duration); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
	}
	return nil
}

// run does the load for some time.
func (l *load) run(ctx context.Context, duration time.Duration) error {
	took := make([][]time.Duration, l.workers)
	errs := make([]error, l.workers)
	var all sync.WaitGroup
	begin := time.Now()
	for worker := range l.workers {
		all.Go(func() {
			for time.Since(begin) < duration && errs[worker] == nil {
				key := strconv.Itoa(rand.IntN(keys))
				start := time.Now()
				errs[worker] = l.do(ctx, key)
				took[worker] = append(took[worker], time.Since(start))
			}
		})
	}
	all.Wait()
	whole := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	each := slices.Sorted(slices.Values(slices.Concat(took...)))
	l.rates = append(l.rates, float64(len(each))/whole.Seconds())
	l.medians = append(l.medians, each[len(each)/2])
	l.lasts = append(l.lasts, each[len(each)*99/100])
	return nil
}
