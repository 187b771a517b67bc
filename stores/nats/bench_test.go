package nats

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gojinn/gojinn/stores"
)

// BenchmarkStore compares operations with a publish of the client itself.
func BenchmarkStore(b *testing.B) {
	options := jetStream(b.TempDir())
	s, err := server.NewServer(options)
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		b.Fatal("the server doesn't start")
	}
	n := openAt(b, s)
	value := make([]byte, 256)
	unlimited, limited := stores.Namespace{Name: "bench"}, stores.Namespace{Name: "bench", MaxKeys: 1 << 20}
	if _, err := n.Put(b.Context(), unlimited, "key", value, time.Time{}); err != nil {
		b.Fatal(err)
	}
	js, err := streamOf(b, n, unlimited).link.connection(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var count atomic.Int64
	for _, bench := range []struct {
		name string
		do   func(ctx context.Context, i int64) error
	}{
		{"publish", func(ctx context.Context, i int64) error {
			_, err := js.Publish(ctx, fmt.Sprintf("gojinn.bench.raw%d", i%1000), value, jetstream.WithRetryAttempts(0))
			return err
		}},
		{"put", func(ctx context.Context, i int64) error {
			_, err := n.Put(ctx, unlimited, fmt.Sprint("p", i%1000), value, time.Time{})
			return err
		}},
		{"put, limited", func(ctx context.Context, i int64) error {
			_, err := n.Put(ctx, limited, fmt.Sprint("l", i), value, time.Time{})
			return err
		}},
		{"get", func(ctx context.Context, i int64) error {
			_, err := n.Get(ctx, unlimited, "key")
			return err
		}},
		{"update", func(ctx context.Context, i int64) error {
			_, err := n.Update(ctx, unlimited, fmt.Sprint("u", i%1000), increment)
			return err
		}},
		{"update of one key", func(ctx context.Context, i int64) error {
			_, err := n.Update(ctx, unlimited, "counter", increment)
			return err
		}},
		{"rename", func(ctx context.Context, i int64) error {
			key := fmt.Sprint("r", i)
			if _, err := n.Put(ctx, unlimited, key, value, time.Time{}); err != nil {
				return err
			}
			return n.Rename(ctx, unlimited, key, "of "+key)
		}},
		{"list", func(ctx context.Context, i int64) error {
			_, err := n.List(ctx, unlimited, stores.Query{Prefix: "key", Limit: 10})
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := bench.do(b.Context(), count.Add(1)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
