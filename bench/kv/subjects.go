package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.etcd.io/bbolt"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/capability/kv"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/stores"
)

// subjects are what is compared: a bare database, the store, and the capability on
// the store.
type subjects struct {
	raw   *bbolt.DB
	store stores.Store
	mount vfs.FS
	close func() error
}

var (
	bucket    = []byte("items")
	namespace = stores.Namespace{Name: "bench"}
	value     = bytes.Repeat([]byte("v"), valueSize)
)

// newSubjects makes them in a folder, with all keys in place.
func newSubjects(dir string) (_ *subjects, err error) {
	config := &caddy.Config{}
	base, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, err
	}
	app, err := json.Marshal(map[string]any{
		"cache_dir": filepath.Join(dir, "cache"),
		"store":     map[string]any{"default": map[string]any{"kind": "bolt", "path": filepath.Join(dir, "store.db")}},
	})
	if err != nil {
		return nil, err
	}
	config.AppsRaw = caddy.ModuleMap{"gojinn": app}
	ctx, cancel := caddy.NewContext(base)
	s := new(subjects)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	if err := s.provision(ctx); err != nil {
		return nil, err
	}
	options := *bbolt.DefaultOptions
	options.FreelistType = bbolt.FreelistMapType
	options.NoStatistics = true
	if s.raw, err = bbolt.Open(filepath.Join(dir, "raw.db"), 0o600, &options); err != nil {
		return nil, err
	}
	s.close = func() error { cancel(); return s.raw.Close() }
	return s, s.fill(ctx)
}

// provision loads the capability, as the configuration of a function would.
func (s *subjects) provision(ctx caddy.Context) error {
	app, err := ctx.App("gojinn")
	if err != nil {
		return err
	}
	if s.store, err = app.(stores.Registry).Store(stores.DefaultName); err != nil {
		return err
	}
	v, err := ctx.LoadModuleByID("gojinn.capabilities.kv", json.RawMessage(`{"namespace":"bench","path":"/kv"}`))
	if err != nil {
		return err
	}
	var grants engine.Grants
	if err := v.(*kv.KV).Grant(&grants); err != nil {
		return err
	}
	return grants.Share("/kv", func(have vfs.FS) (vfs.FS, error) {
		s.mount = have
		return have, nil
	})
}

// fill stores all keys.
func (s *subjects) fill(ctx context.Context) error {
	errs := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < keys && errs[w] == nil; i += writers {
				_, errs[w] = s.store.Put(ctx, namespace, strconv.Itoa(i), value, time.Time{})
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.raw.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := range keys {
			if err == nil {
				err = b.Put([]byte(strconv.Itoa(i)), value)
			}
		}
		return err
	})
}

// loads are the loads in the order of the table.
func (s *subjects) loads() []*load {
	rawPut := func(key string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(key), value) }
	}
	storePut := func(ctx context.Context, key string) error {
		_, err := s.store.Put(ctx, namespace, key, value, time.Time{})
		return err
	}
	return []*load{
		{kind: "lone", name: "one writer: bbolt's Update", workers: 1,
			do: func(_ context.Context, key string) error { return s.raw.Update(rawPut(key)) }},
		{kind: "lone", name: "one writer: the store", workers: 1, minRatio: 1 / maxLone, do: storePut},
		{kind: "lone", name: "one writer: a file of `/kv`", workers: 1, minRatio: 1 / maxLone, do: s.writeFile},
		{kind: "many", name: "many writers: bbolt's Batch", workers: writers,
			do: func(_ context.Context, key string) error { return s.raw.Batch(rawPut(key)) }},
		{kind: "many", name: "many writers: the store", workers: writers, minRatio: minMany, minRate: minWrites, maxLast: maxLast, do: storePut},
		{kind: "many", name: "many writers: files of `/kv`", workers: writers, minRatio: minMany, minRate: minWrites, maxLast: maxLast, do: s.writeFile},
		{kind: "many", name: "many writers: `incr` by `.do`", workers: writers, minRatio: minMany, minRate: minWrites, maxLast: maxLast, do: s.increment},
		{kind: "read", name: "readers: bbolt's View", workers: readers, do: func(_ context.Context, key string) error {
			return s.raw.View(func(tx *bbolt.Tx) error {
				if v := bytes.Clone(tx.Bucket(bucket).Get([]byte(key))); len(v) != valueSize {
					return fmt.Errorf("got %d bytes", len(v))
				}
				return nil
			})
		}},
		{kind: "read", name: "readers: the store", workers: readers, minRate: minReads, do: func(ctx context.Context, key string) error {
			item, err := s.store.Get(ctx, namespace, key)
			if err == nil && len(item.Value) != valueSize {
				err = fmt.Errorf("got %d bytes", len(item.Value))
			}
			return err
		}},
		{kind: "read", name: "readers: files of `/kv`", workers: readers, minRate: minReads, do: s.readFile},
		{kind: "read", name: "readers: `get` by `.do`", workers: readers, do: s.ask},
	}
}

func (s *subjects) open(ctx context.Context, key string, flags vfs.OpenFlags) (vfs.File, error) {
	root, err := s.mount.Root(ctx)
	if err != nil {
		return nil, err
	}
	return root.Open(ctx, key, flags)
}

func (s *subjects) writeFile(ctx context.Context, key string) error {
	f, err := s.open(ctx, key, vfs.Write|vfs.Create|vfs.Truncate)
	if err != nil {
		return err
	}
	_, err = f.(vfs.WriterAt).WriteAt(ctx, value, 0)
	return errors.Join(err, f.Close(ctx))
}

func (s *subjects) readFile(ctx context.Context, key string) error {
	f, err := s.open(ctx, key, vfs.Read)
	if err != nil {
		return err
	}
	var room [2 * valueSize]byte
	n, err := f.(vfs.ReaderAt).ReadAt(ctx, room[:], 0)
	if n != valueSize && (err == nil || err == io.EOF) {
		err = fmt.Errorf("got %d bytes", n)
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, f.Close(ctx))
}

func (s *subjects) increment(ctx context.Context, key string) error {
	return s.exchange(ctx, `{"op":"incr","key":"n`+key+`"}`+"\n")
}

func (s *subjects) ask(ctx context.Context, key string) error {
	return s.exchange(ctx, `{"op":"get","key":"`+key+`"}`+"\n")
}

func (s *subjects) exchange(ctx context.Context, line string) error {
	f, err := s.open(ctx, ".do", vfs.Read|vfs.Write)
	if err != nil {
		return err
	}
	if _, err := f.(vfs.Writer).Write(ctx, []byte(line)); err != nil {
		return errors.Join(err, f.Close(ctx))
	}
	var room [4 * valueSize]byte
	n, err := f.(vfs.Reader).Read(ctx, room[:])
	if err == nil && !bytes.HasPrefix(room[:n], []byte(`{"value":`)) {
		err = fmt.Errorf("got %s", room[:n])
	}
	return errors.Join(err, f.Close(ctx))
}
