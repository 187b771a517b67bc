// Package nats is a key-value store for many machines: streams of a NATS JetStream cluster,
// one for each namespace.
//
// A key is a subject, of which the stream keeps the last message; a version is the sequence
// number of a message. Reads ask the leader of a stream, which has applied every write that
// was acknowledged, and writes that depend on what was read name the sequence number they
// expect to be the last. See the file stream.go for the format.
package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/stores"
)

func init() {
	caddy.RegisterModule(new(Nats))
}

// Nats keeps the keys of each namespace in a JetStream stream, which it makes at first use.
// It needs NATS 2.12.1 or later, and connects when a function first uses it. In all values
// global placeholders such as `{env.NATS_TOKEN}` and `{file./run/secrets/token}` are supported.
type Nats struct {
	// The servers to connect to first, such as `nats://a.example:4222`; one is enough, it
	// tells of the others. `tls://` asks for TLS. Without user and password: these belong
	// into the options below.
	URLs []string `json:"urls,omitempty"`

	// A credentials file, as `nsc` writes it: the user's JWT and its seed. It is read at
	// every connection. At most one of `creds`, `token`, `user` and `nkey` is used.
	Creds string `json:"creds,omitempty"`

	// A token.
	Token string `json:"token,omitempty"`

	// A user and its password.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`

	// A file with the seed of an NKey.
	NKey string `json:"nkey,omitempty"`

	// Set: TLS is asked for, and the server verified.
	TLS *TLS `json:"tls,omitempty"`

	// How many servers keep a copy of each namespace that is made: 1 to 5, odd to be of use.
	// With 3 the loss of one server loses nothing. Default: 1.
	Replicas int `json:"replicas,omitempty"`

	// What the names of streams and subjects begin with: letters, digits and `-`, at most 32.
	// Default: gojinn.
	Prefix string `json:"prefix,omitempty"`

	// How long connecting may take, and any one operation: 100ms to 30s. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	key linkKey
}

// TLS is how servers are verified, and how they verify us.
type TLS struct {
	// A file with the certificates of the authorities to trust. Default: those of the system.
	CA string `json:"ca,omitempty"`

	// Files with our own certificate and its key. Default: none.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
}

const (
	defaultPrefix  = "gojinn"
	defaultTimeout = 5 * time.Second

	maxPrefix   = 32
	maxReplicas = 5 // JetStream's
	minTimeout  = 100 * time.Millisecond
	maxTimeout  = dedupe / 2
)

// CaddyModule returns the Caddy module information.
func (*Nats) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  stores.ModuleNamespace + ".nats",
		New: func() caddy.Module { return new(Nats) },
	}
}

// check refuses what is wrong whatever the placeholders stand for.
func (n *Nats) check() error {
	var ways []string
	for _, way := range []struct {
		name string
		set  bool
	}{{"creds", n.Creds != ""}, {"token", n.Token != ""}, {"user", n.User != "" || n.Password != ""}, {"nkey", n.NKey != ""}} {
		if way.set {
			ways = append(ways, way.name)
		}
	}
	switch {
	case len(n.URLs) == 0:
		return errors.New("no server's URL")
	case len(ways) > 1:
		return fmt.Errorf("%s: only one of them can be used", strings.Join(ways, " and "))
	case n.User == "" && n.Password != "":
		return errors.New("a password without a user")
	case n.TLS != nil && (n.TLS.Cert == "") != (n.TLS.Key == ""):
		return errors.New("tls: cert and key need each other")
	case n.Replicas < 0 || n.Replicas > maxReplicas:
		return fmt.Errorf("replicas: %d is not 1 to %d", n.Replicas, maxReplicas)
	case n.Timeout != 0 && (time.Duration(n.Timeout) < minTimeout || time.Duration(n.Timeout) > maxTimeout):
		return fmt.Errorf("timeout: %s is not %s to %s", time.Duration(n.Timeout), minTimeout, maxTimeout)
	}
	return nil
}

// Provision gets the store ready. It opens and connects nothing.
func (n *Nats) Provision(caddy.Context) error {
	if err := n.check(); err != nil {
		return err
	}
	n.key = linkKey{prefix: defaultPrefix, replicas: max(n.Replicas, 1), timeout: defaultTimeout, tls: n.TLS != nil}
	if n.Timeout != 0 {
		n.key.timeout = time.Duration(n.Timeout)
	}
	if n.TLS == nil {
		n.TLS = new(TLS)
		defer func() { n.TLS = nil }()
	}
	var urls string
	for _, option := range []struct {
		name, value string
		to          *string
	}{
		{"urls", strings.Join(n.URLs, ","), &urls},
		{"creds", n.Creds, &n.key.creds},
		{"token", n.Token, &n.key.token},
		{"user", n.User, &n.key.user},
		{"password", n.Password, &n.key.password},
		{"nkey", n.NKey, &n.key.nkey},
		{"tls ca", n.TLS.CA, &n.key.ca},
		{"tls cert", n.TLS.Cert, &n.key.cert},
		{"tls key", n.TLS.Key, &n.key.certKey},
		{"prefix", n.Prefix, &n.key.prefix},
	} {
		if option.value == "" {
			continue
		}
		value, err := caddy.NewReplacer().ReplaceOrErr(option.value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", option.name, err)
		}
		*option.to = strings.TrimSpace(value) // files end with a line feed
	}
	if err := checkPrefix(n.key.prefix); err != nil {
		return err
	}
	var err error
	if n.key.urls, err = checkURLs(urls); err != nil {
		return err
	}
	_, _, err = links.LoadOrNew(n.key, n.key.open)
	return err
}

func checkPrefix(prefix string) error {
	for _, c := range []byte(prefix) {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("prefix: %q holds something else than letters, digits and '-'", prefix)
		}
	}
	if prefix == "" || len(prefix) > maxPrefix {
		return fmt.Errorf("prefix: %d bytes are not 1 to %d", len(prefix), maxPrefix)
	}
	return nil
}

// checkURLs splits a list of URLs. No error shows a URL as it is, since it may hold a secret.
func checkURLs(list string) (clean string, err error) {
	var urls []string
	for i, text := range strings.Split(list, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		switch {
		case err != nil:
			return "", fmt.Errorf("server %d: not a URL", i+1)
		case u.User != nil:
			return "", fmt.Errorf("server %d: user and password don't belong into the URL, but into the options user or token", i+1)
		case u.Scheme != "nats" && u.Scheme != "tls":
			return "", fmt.Errorf("server %d: %q is neither nats nor tls", i+1, u.Scheme)
		case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			return "", fmt.Errorf("server %d: not of the form nats://<host>:<port>", i+1)
		}
		urls = append(urls, u.Scheme+"://"+u.Host)
	}
	return strings.Join(urls, ","), nil
}

// Cleanup lets go of the connection, which is closed unless another configuration or a call
// uses it.
func (n *Nats) Cleanup() error {
	if n.key.urls == "" {
		return nil // Provision failed
	}
	_, err := links.Delete(n.key)
	return err
}

// do runs an operation on a namespace. It holds a use of the connection of its own, for the
// calls that outlive the configuration.
func (n *Nats) do(ctx context.Context, ns stores.Namespace, keys []string, op func(context.Context, *stream) error) error {
	if err := stores.Check(ctx, ns, keys...); err != nil {
		return err
	}
	pooled, _, err := links.LoadOrNew(n.key, n.key.open)
	if err != nil {
		return err
	}
	defer func() { _, _ = links.Delete(n.key) }()
	limited, cancel := context.WithTimeout(ctx, n.key.timeout)
	defer cancel()
	err = op(limited, pooled.(*link).stream(ns.Name))
	switch {
	case err == nil:
		return nil
	case isVerdict(err):
		return err
	case ctx.Err() != nil:
		if !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	case limited.Err() != nil:
		// Not as the error of a context: the caller's isn't over.
		return fmt.Errorf("nats: namespace %s: not done within %s: %v", ns.Name, n.key.timeout, err)
	}
	return fmt.Errorf("nats: namespace %s: %w", ns.Name, err)
}

// isVerdict tells the errors that say something of keys and values from those of the store.
func isVerdict(err error) bool {
	var edit *editError
	return errors.Is(err, stores.ErrNotFound) || errors.Is(err, stores.ErrFull) || errors.Is(err, stores.ErrTooLarge) || errors.As(err, &edit)
}

var (
	_ stores.Store       = (*Nats)(nil)
	_ caddy.Provisioner  = (*Nats)(nil)
	_ caddy.CleanerUpper = (*Nats)(nil)
)
