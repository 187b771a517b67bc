package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/stores"
	"github.com/gojinn/gojinn/stores/storetest"
)

// freePorts returns ports that nobody listens at just now.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// cluster is three servers, each a process of its own that can be killed.
type cluster struct {
	urls    []string
	members []member
	mu      sync.Mutex
	running map[int]*exec.Cmd
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	const servers = 3
	ports := freePorts(t, 2*servers)
	var routes []string
	for i := range servers {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[servers+i]))
	}
	c := &cluster{running: make(map[int]*exec.Cmd)}
	for i := range servers {
		c.members = append(c.members, member{
			Name: fmt.Sprintf("s%d", i), Dir: t.TempDir(), Port: ports[i], ClusterPort: ports[servers+i], Routes: strings.Join(routes, ","),
		})
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	for i := range servers {
		c.start(t, i)
	}
	t.Cleanup(func() {
		for i := range servers {
			c.kill(i)
		}
	})
	return c
}

func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	member, err := json.Marshal(c.members[i])
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serverEnv+"="+string(member), "GOMEMLIMIT=200MiB")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // open as long as we live
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[i] = cmd
}

// kill ends a server at once, as if its machine were lost.
func (c *cluster) kill(i int) {
	c.mu.Lock()
	cmd := c.running[i]
	delete(c.running, i)
	c.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// eventually does something until it succeeds.
func eventually(t *testing.T, within time.Duration, what string, do func() error) {
	t.Helper()
	var err error
	for until := time.Now().Add(within); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// leader is the server that leads a stream.
func (c *cluster) leader(t *testing.T, s *stream) int {
	t.Helper()
	js, err := s.link.connection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have, err := js.Stream(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	name := have.CachedInfo().Cluster.Leader
	i, err := strconv.Atoi(strings.TrimPrefix(name, "s"))
	if err != nil {
		t.Fatalf("leader %q", name)
	}
	return i
}

// TestCluster: on three servers all that stores must do, and then one of them is lost under load.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	store := open(t, &Nats{URLs: c.urls, Replicas: 3, Timeout: caddy.Duration(10 * time.Second)})
	eventually(t, 30*time.Second, "no quorum", func() error {
		_, err := store.Put(t.Context(), stores.Namespace{Name: "ready"}, "key", nil, time.Time{})
		return err
	})
	storetest.Run(t, func(*testing.T) stores.Store { return store })
	t.Run("loss of the leader", func(t *testing.T) { testLoss(t, c, store) })
}

// testLoss kills the leader of a stream while many write. No acknowledged write is lost, none is
// done twice, no operation takes longer than it may, and it goes on with those that remain.
func testLoss(t *testing.T, c *cluster, store *Nats) {
	const writers, incrementers = 8, 64
	ns := stores.Namespace{Name: "loss", MaxKeys: 1 << 20}
	if _, err := store.Put(t.Context(), ns, "counter", []byte("0"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	var (
		all                       sync.WaitGroup
		stop                      = make(chan struct{})
		lost                      atomic.Bool
		acknowledged, unknown     atomic.Int64
		puts, putsAfter, failures atomic.Int64
		longest                   atomic.Int64
	)
	done := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	timed := func(do func() error) error {
		began := time.Now()
		err := do()
		for took := int64(time.Since(began)); ; {
			if have := longest.Load(); took <= have || longest.CompareAndSwap(have, took) {
				return err
			}
		}
	}
	written := make([]map[string]string, writers)
	for w := range writers {
		written[w] = make(map[string]string)
		all.Go(func() {
			for i := 0; !done(); i++ {
				// Every second one is a new key, the others replace one of before.
				key, value := fmt.Sprintf("%d/%d", w, i/2), strconv.Itoa(i)
				err := timed(func() error {
					_, err := store.Put(t.Context(), ns, key, []byte(value), time.Time{})
					return err
				})
				if err != nil {
					failures.Add(1)
					delete(written[w], key) // unknown
					i++
					continue
				}
				written[w][key] = value
				puts.Add(1)
				if lost.Load() {
					putsAfter.Add(1)
				}
			}
		})
	}
	for range incrementers {
		all.Go(func() {
			for !done() {
				err := timed(func() error {
					_, err := store.Update(t.Context(), ns, "counter", increment)
					return err
				})
				if err != nil {
					unknown.Add(1)
				} else {
					acknowledged.Add(1)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	leader := c.leader(t, streamOf(t, store, ns))
	c.kill(leader)
	lost.Store(true)
	eventually(t, 40*time.Second, "nothing goes on", func() error {
		if putsAfter.Load() < 200 {
			return fmt.Errorf("%d puts after the loss", putsAfter.Load())
		}
		return nil
	})
	close(stop)
	all.Wait()
	t.Logf("%d puts, %d of them after the loss, %d failed; %d increments, %d unknown; the longest operation took %s",
		puts.Load(), putsAfter.Load(), failures.Load(), acknowledged.Load(), unknown.Load(), time.Duration(longest.Load()))
	if most := 2 * time.Duration(store.Timeout); time.Duration(longest.Load()) > most {
		t.Errorf("an operation took %s, want at most %s", time.Duration(longest.Load()), most)
	}
	for _, of := range written {
		for key, want := range of {
			item, err := store.Get(t.Context(), ns, key)
			if err != nil || string(item.Value) != want {
				t.Errorf("%s: got %q, %v, want %q, which was acknowledged", key, item.Value, err, want)
			}
		}
	}
	item, err := store.Get(t.Context(), ns, "counter")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := strconv.ParseInt(string(item.Value), 10, 64); got < acknowledged.Load() || got > acknowledged.Load()+unknown.Load() {
		t.Errorf("the counter is %d after %d increments and %d of unknown fate", got, acknowledged.Load(), unknown.Load())
	}
	// With two of three it also lists and renames.
	if err := store.Rename(t.Context(), ns, "counter", "moved"); err != nil {
		t.Error(err)
	}
	entries, err := store.List(t.Context(), ns, stores.Query{Prefix: "m", Limit: 10})
	if err != nil || !slices.ContainsFunc(entries, func(e stores.Entry) bool { return e.Key == "moved" }) {
		t.Errorf("got %v, %v, want the renamed key", entries, err)
	}
	// Without a majority nothing is acknowledged, and that is said in time.
	c.kill((leader + 1) % 3)
	began := time.Now()
	short := open(t, &Nats{URLs: c.urls, Replicas: 3, Timeout: caddy.Duration(time.Second)})
	if _, err := short.Put(t.Context(), ns, "alone", nil, time.Time{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a majority: got %v, want an error of the store", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s to fail", took)
	}
	// When they come back all goes on.
	c.start(t, leader)
	c.start(t, (leader+1)%3)
	eventually(t, 40*time.Second, "they are back", func() error {
		_, err := store.Put(t.Context(), ns, "back", nil, time.Time{})
		return err
	})
	if item, err := store.Get(t.Context(), ns, "moved"); err != nil || string(item.Value) == "" {
		t.Errorf("got %q, %v, want the counter", item.Value, err)
	}
}

func increment(old *stores.Item) (*stores.Item, error) {
	n := 0
	if old != nil {
		var err error
		if n, err = strconv.Atoi(string(old.Value)); err != nil {
			return nil, err
		}
	}
	return &stores.Item{Value: strconv.AppendInt(nil, int64(n+1), 10)}, nil
}

// streamOf is the stream of a namespace. The store must be in use.
func streamOf(t testing.TB, n *Nats, ns stores.Namespace) *stream {
	t.Helper()
	pooled, loaded, err := links.LoadOrNew(n.key, n.key.open)
	if err != nil || !loaded {
		t.Fatalf("loaded %v, %v", loaded, err)
	}
	defer func() { _, _ = links.Delete(n.key) }()
	return pooled.(*link).stream(ns.Name)
}
