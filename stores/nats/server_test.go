package nats

import (
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// The environment variable that makes of the test program a server: a member as JSON.
const serverEnv = "GOJINN_TEST_NATS_SERVER"

// member is a server of a cluster.
type member struct {
	Name, Dir         string
	Port, ClusterPort int
	Routes            string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(serverEnv); text != "" {
		serve(text)
		return
	}
	os.Exit(m.Run())
}

// serve is a NATS server, until it is killed or its parent is gone.
func serve(text string) {
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		panic(err)
	}
	options := jetStream(m.Dir)
	options.ServerName, options.Port, options.Routes = m.Name, m.Port, server.RoutesFromStr(m.Routes)
	options.Cluster = server.ClusterOpts{Name: "test", Host: options.Host, Port: m.ClusterPort}
	s, err := server.NewServer(options)
	if err != nil {
		panic(err)
	}
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	os.Exit(0)
}

// jetStream is the options of a server for tests.
func jetStream(dir string) *server.Options {
	return &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir,
		NoSigs: true, NoLog: true, JetStreamMaxMemory: 32 << 20, JetStreamMaxStore: 256 << 20,
	}
}

// start starts a server in this process. It is shut down at the end of the test.
func start(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server doesn't start")
	}
	return s
}

// open provisions a store. It is cleaned up at the end of the test.
func open(t testing.TB, n *Nats) *Nats {
	t.Helper()
	if err := n.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func openAt(t testing.TB, s *server.Server) *Nats {
	t.Helper()
	return open(t, &Nats{URLs: []string{s.ClientURL()}, Timeout: caddy.Duration(20 * time.Second)})
}
