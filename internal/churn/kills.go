package churn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Kills says how often a server is to be killed, and when.
type Kills struct {
	Functions int
	Size      int // of their modules, in functions
	Kills     int
	Clients   int
	Latest    time.Duration // after the start, or after everything has answered
	Cache     string        // the cache's size
}

// Survival is what came of killing a server.
type Survival struct {
	Kills    int
	Early    int // of them before everything had been compiled
	Took     time.Duration
	Answered int64
	Damaged  int   // files that were damaged while the server was dead
	Noticed  int   // damage that the server has logged
	Files    int   // in the cache at the end
	Bytes    int64 // of them
	MostLeft int   // folders and files of unfinished work, the most that there were at a time
	Left     int   // at the end
}

// Run starts a server and kills it, again and again, while its modules are
// swapped and clients ask. Each start must be clean, each answer that of the module that
// is there. Between, bytes of the code cache are changed and files cut off. Files are kept in dir.
func (k Kills) Run(ctx context.Context, binary Binary, dir string, progress func(done int)) (s Survival, err error) {
	n := network{"unix", filepath.Join(dir, "site")}
	functions, err := functionsIn(dir, k.Functions, k.Size)
	if err != nil {
		return s, err
	}
	begin := time.Now()
	random := rand.New(rand.NewPCG(3, 4))
	for i := range k.Kills + 1 {
		// At last it is killed when it has nothing to do, and stopped after it has met with damage everywhere.
		last := k.Kills - i
		one := life{functions: functions, network: n, last: last == 0, idle: last == 1, early: last > 1 && random.IntN(3) == 0,
			after: time.Duration(random.Int64N(int64(k.Latest))), seed: uint64(i)}
		err := one.live(ctx, binary, dir, k)
		s.Answered += one.load.answered.Load()
		s.Noticed += one.noticed
		if err != nil {
			return s, fmt.Errorf("after %d kills: %w", i, err)
		}
		if !one.last {
			s.Kills++
		}
		if one.early {
			s.Early++
		}
		if err := s.look(filepath.Join(dir, "cache")); err != nil {
			return s, err
		}
		if last == 1 || random.IntN(2) == 0 {
			damaged, err := damage(filepath.Join(dir, "cache"), random, last == 1)
			if err != nil {
				return s, err
			}
			s.Damaged += damaged
		}
		if last > 1 && random.IntN(3) == 0 { // what is changed while nobody looks
			f := functions[random.IntN(len(functions))]
			if err := f.write(f.newest.Load() + 1); err != nil {
				return s, err
			}
		}
		progress(i)
	}
	s.Took = time.Since(begin)
	return s, nil
}

// life is one process, from its start to its end.
type life struct {
	functions []*function
	network   network
	early     bool // it is killed some time after its start, not after everything has answered
	idle      bool // it is killed when everything has answered
	last      bool // it is stopped, not killed
	after     time.Duration
	seed      uint64

	load    load
	noticed int
}

func (l *life) live(ctx context.Context, binary Binary, dir string, k Kills) error {
	_ = os.Remove(l.network.address) // which a killed process leaves, as Caddy does
	s, err := start(binary, dir, site(dir, l.network, l.functions, 0, k.Cache))
	if err != nil {
		return err
	}
	defer s.Kill()
	if l.early {
		select {
		case <-time.After(l.after):
		case <-s.Exited():
			return fmt.Errorf("the server has ended: %s", &s.log)
		}
		return l.end(s)
	}
	if err := s.await(ctx, l.network); err != nil {
		return err
	}
	if err := l.allAnswer(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, &s.log)
	}
	if l.last {
		_, _, l.noticed = s.log.counts()
		return s.stop()
	}
	if !l.idle {
		l.use(ctx, s, k)
	}
	if l.load.failed.Load() > 0 {
		return fmt.Errorf("%d requests failed: %q", l.load.failed.Load(), l.load.failures)
	}
	return l.end(s)
}

// end kills the process, if use has not, and looks at what it has logged.
func (l *life) end(s *server) error {
	s.Kill()
	errors, panics, damaged := s.log.counts()
	l.noticed = damaged
	if errors > 0 || panics > 0 {
		return fmt.Errorf("the server logged %d errors and %d panics: %s", errors, panics, &s.log)
	}
	return nil
}

// allAnswer asks each function once, which must answer as the version that is there.
func (l *life) allAnswer(ctx context.Context) error {
	client := l.network.client(true)
	defer client.CloseIdleConnections()
	for _, f := range l.functions {
		f.oldest.Store(f.newest.Load())
		status, body, _, _, err := ask(ctx, client, f.route)
		if err == nil {
			err = f.check(f.oldest.Load(), status, body)
		}
		if err != nil {
			return fmt.Errorf("at the start: %w", err)
		}
		l.load.answered.Add(1)
	}
	return nil
}

// use asks functions and swaps their modules, and kills the process in the midst of that.
func (l *life) use(ctx context.Context, s *server, k Kills) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for i := range k.Clients {
		random := rand.New(rand.NewPCG(l.seed, uint64(i)))
		client := l.network.client(i%2 == 0)
		all.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				f := l.functions[random.IntN(len(l.functions))]
				oldest := f.oldest.Load()
				status, body, _, _, err := ask(ctx, client, f.route)
				if err != nil && (ctx.Err() != nil || hasEnded(s)) {
					return
				}
				if err != nil {
					// The process may be about to end: that is known soon.
					select {
					case <-s.Exited():
						return
					case <-time.After(5 * time.Second):
					}
				} else {
					err = f.check(oldest, status, body)
				}
				if err != nil {
					l.load.fail("%s: %v", f.route, err)
					return
				}
				l.load.answered.Add(1)
			}
		})
	}
	for i, f := range l.functions {
		random := rand.New(rand.NewPCG(l.seed, uint64(1000+i)))
		all.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(time.Duration(random.Int64N(int64(k.Latest))))
				if ctx.Err() != nil {
					return
				}
				if err := f.write(f.newest.Load() + 1); err != nil {
					l.load.fail("%v", err)
				}
			}
		})
	}
	time.Sleep(l.after)
	s.Kill()
	cancel()
	all.Wait()
}

func hasEnded(s *server) bool {
	select {
	case <-s.Exited():
		return true
	default:
		return false
	}
}

// look counts what is in the cache.
func (s *Survival) look(cache string) error {
	s.Files, s.Bytes, s.Left = 0, 0, 0
	err := filepath.WalkDir(cache, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server may have been killed before it was made
		}
		if err != nil {
			return err
		}
		if filepath.Dir(path) == cache && strings.HasPrefix(entry.Name(), "work-") {
			s.Left++
		}
		if entry.IsDir() {
			return nil
		}
		info, err := entry.Info()
		if err == nil {
			s.Files++
			s.Bytes += info.Size()
		}
		return err
	})
	s.MostLeft = max(s.MostLeft, s.Left)
	return err
}

// damage changes a byte in some files of the cache, or in all, and cuts others off.
func damage(cache string, random *rand.Rand, all bool) (damaged int, err error) {
	err = filepath.WalkDir(cache, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !all && random.IntN(3) > 0 {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil || len(whole) == 0 {
			return err
		}
		damaged++
		at := random.IntN(len(whole))
		if random.IntN(3) == 0 {
			return os.Truncate(path, int64(at))
		}
		whole[at] ^= byte(1 + random.IntN(255))
		return os.WriteFile(path, whole, 0o600)
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return damaged, err
}
