package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// links holds the connections in use, so that configurations with the same options share one,
// and it outlives a reload. Each store holds a use from Provision to Cleanup, each operation
// one of its own; the last to leave closes the connection.
var links = caddy.NewUsagePool()

// linkKey is everything that makes two connections different. It holds secrets.
type linkKey struct {
	urls                               string
	creds, token, user, password, nkey string
	tls                                bool
	ca, cert, certKey                  string
	prefix                             string
	replicas                           int
	timeout                            time.Duration
}

// open is the constructor for the pool. It connects nothing.
func (k linkKey) open() (caddy.Destructor, error) {
	return &link{key: k, streams: make(map[string]*stream)}, nil
}

// The pauses after attempts to connect that failed. They double, up to the longest.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 10 * time.Second
	// No server should see us guess.
	firstAuthPause   = 5 * time.Second
	longestAuthPause = time.Minute
)

// How a connection notices that it is lost: by a ping without an answer, or by what it can't
// send.
const (
	pingInterval = 10 * time.Second
	pingsLost    = 2
	sendTimeout  = 2 * time.Second
)

// link is a connection to NATS, made when it is first needed, and the streams that are used
// over it. Safe for concurrent use.
type link struct {
	key linkKey

	// What the client last reported by itself, such as a permission that is missing: the
	// request that caused it just gets no answer.
	reported atomic.Pointer[report]
	// Since when there is no connection though there was one, as Unix time in ns; 0: there is.
	lostAt atomic.Int64

	// Not to be held while the client is called, which may wait for a server.
	mu      sync.Mutex
	js      jetstream.JetStream // nil: not connected yet
	dialing chan struct{}       // closed when the attempt under way is over
	err     error               // of the last attempt
	retryAt time.Time           // no attempt before
	pause   time.Duration       // the last one
	closed  bool
	streams map[string]*stream
}

type report struct {
	err error
	at  time.Time
}

// Destruct closes the connection.
func (l *link) Destruct() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.js != nil {
		go l.js.Conn().Close() // may wait for a server that takes nothing
	}
	return nil
}

// stream returns the one of a namespace. Namespaces come from configurations, so they are few.
func (l *link) stream(namespace string) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[namespace]
	if s == nil {
		s = newStream(l, namespace)
		l.streams[namespace] = s
	}
	return s
}

// connection returns the connection. If there is none it waits for an attempt to make one, but
// for one only, and not at all while the pause after the last lasts.
func (l *link) connection(ctx context.Context) (jetstream.JetStream, error) {
	for waited := false; ; waited = true {
		l.mu.Lock()
		if js := l.js; js != nil {
			l.mu.Unlock()
			if since := l.lostAt.Load(); since != 0 && time.Since(time.Unix(0, since)) > l.key.timeout {
				return nil, fmt.Errorf("not connected since %s", time.Unix(0, since).UTC().Format(time.RFC3339))
			}
			return js, nil
		}
		if l.err != nil && (waited || time.Now().Before(l.retryAt)) {
			defer l.mu.Unlock()
			return nil, l.err
		}
		if l.dialing == nil {
			l.dialing = make(chan struct{})
			go l.dial(l.dialing)
		}
		dialing := l.dialing
		l.mu.Unlock()
		select {
		case <-dialing:
		case <-ctx.Done():
			return nil, fmt.Errorf("connecting: %w", ctx.Err())
		}
	}
}

// drop forgets a connection that the client has given up, such as one that is not let in again.
func (l *link) drop(nc *client.Conn) {
	err := nc.LastError()
	if err == nil {
		err = client.ErrConnectionClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.js != nil && l.js.Conn() == nc {
		l.lost(fmt.Errorf("the connection was closed: %w", err))
	}
}

// lost notes that there is no connection, and when to try again. Lock should be held.
func (l *link) lost(err error) {
	l.js, l.err = nil, err
	first, longest := firstPause, longestPause
	if isAuth(err) {
		first, longest = firstAuthPause, longestAuthPause
	}
	l.pause = min(max(2*l.pause, first), longest)
	l.retryAt = time.Now().Add(l.pause/2 + rand.N(l.pause/2+1))
}

func isAuth(err error) bool {
	for _, auth := range []error{
		client.ErrAuthorization, client.ErrAuthExpired, client.ErrAuthRevoked,
		client.ErrAccountAuthExpired, client.ErrMaxAccountConnectionsExceeded,
	} {
		if errors.Is(err, auth) {
			return true
		}
	}
	return false
}

// dial makes one attempt to connect. It serves all who wait for it, so it ends with none of them.
func (l *link) dial(done chan struct{}) {
	defer close(done)
	js, err := l.connect()
	if err == nil {
		nc := js.Conn()
		log().Info("connected", zap.String("server", nc.ConnectedUrlRedacted()), zap.String("version", nc.ConnectedServerVersion()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialing = nil
	switch {
	case err != nil:
		l.lost(fmt.Errorf("connecting: %w", err))
		log().Error("no connection", zap.Error(err), zap.Time("retry_after", l.retryAt))
	case l.closed:
		js.Conn().Close()
		l.err = client.ErrConnectionClosed
	default:
		l.js, l.err, l.pause = js, nil, 0
		l.lostAt.Store(0)
	}
}

// log returns the log that is Caddy's at the time, since a connection outlives configurations.
func log() *zap.Logger { return caddy.Log().Named("gojinn.stores.nats") }

func (l *link) connect() (jetstream.JetStream, error) {
	options := []client.Option{
		client.Name("gojinn"),
		client.Timeout(l.key.timeout),
		// What can't be sent now is not kept for later: its caller has gone by then.
		client.ReconnectBufSize(-1),
		client.MaxReconnects(-1),
		client.ReconnectWait(250 * time.Millisecond), client.ReconnectJitter(250*time.Millisecond, time.Second),
		client.PingInterval(pingInterval), client.MaxPingsOutstanding(pingsLost),
		client.FlusherTimeout(sendTimeout), client.ReconnectOnFlusherError(),
		client.NoCallbacksAfterClientClose(),
		client.DisconnectErrHandler(func(_ *client.Conn, err error) {
			l.lostAt.CompareAndSwap(0, time.Now().UnixNano())
			log().Warn("connection lost", zap.Error(err))
		}),
		client.ReconnectHandler(func(nc *client.Conn) {
			l.lostAt.Store(0)
			log().Info("connected again", zap.String("server", nc.ConnectedUrlRedacted()))
		}),
		client.ClosedHandler(func(nc *client.Conn) {
			log().Error("connection closed", zap.Error(nc.LastError()))
			l.drop(nc)
		}),
		client.ErrorHandler(func(_ *client.Conn, _ *client.Subscription, err error) {
			l.reported.Store(&report{err, time.Now()})
			log().Warn("reported by the server", zap.Error(err))
		}),
	}
	switch k := l.key; {
	case k.creds != "":
		options = append(options, client.UserCredentials(k.creds))
	case k.token != "":
		options = append(options, client.Token(k.token))
	case k.user != "":
		options = append(options, client.UserInfo(k.user, k.password))
	case k.nkey != "":
		nkey, err := client.NkeyOptionFromSeed(k.nkey)
		if err != nil {
			return nil, fmt.Errorf("the NKey's seed: %w", err)
		}
		options = append(options, nkey)
	}
	if l.key.tls {
		options = append(options, client.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if l.key.ca != "" {
		options = append(options, client.RootCAs(l.key.ca))
	}
	if l.key.cert != "" {
		options = append(options, client.ClientCert(l.key.cert, l.key.certKey))
	}
	nc, err := client.Connect(l.key.urls, options...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return js, nil
}

const (
	// attempt is how long a request waits for its answer before it is sent again: the server
	// may be gone, or the stream have no leader just now.
	attempt = 2 * time.Second

	firstBackoff   = 5 * time.Millisecond
	longestBackoff = 500 * time.Millisecond
)

// backoff waits longer with each round, for a random time.
func backoff(ctx context.Context, round int) error {
	most := min(firstBackoff<<min(round, 10), longestBackoff)
	select {
	case <-time.After(rand.N(most) + time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request does what one request does, again and again until it is answered or ctx is over.
// do must have no further effect when it is done again.
func request[T any](ctx context.Context, l *link, do func(context.Context, jetstream.JetStream) (T, error)) (T, error) {
	var none T
	began := time.Now()
	for round := 0; ; round++ {
		js, err := l.connection(ctx)
		if err != nil {
			return none, err
		}
		answer, err := once(ctx, js, do)
		if err == nil || !isPassing(err) {
			return answer, err
		}
		if errors.Is(err, client.ErrConnectionClosed) {
			l.drop(js.Conn())
		}
		if ctx.Err() != nil || backoff(ctx, round) != nil {
			if r := l.reported.Load(); r != nil && r.at.After(began) {
				err = r.err
			}
			return none, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// once does a request in a goroutine of its own: the client may wait for a server that takes
// nothing any more, for as long as sendTimeout.
func once[T any](ctx context.Context, js jetstream.JetStream, do func(context.Context, jetstream.JetStream) (T, error)) (T, error) {
	type result struct {
		answer T
		err    error
	}
	limited, cancel := context.WithTimeout(ctx, attempt)
	results := make(chan result, 1)
	go func() {
		defer cancel()
		answer, err := do(limited, js)
		results <- result{answer, err}
	}()
	select {
	case r := <-results:
		return r.answer, r.err
	case <-limited.Done():
		// It may have come at the same time, and been what canceled.
		select {
		case r := <-results:
			return r.answer, r.err
		default:
			var none T
			return none, limited.Err()
		}
	}
}

// The codes of JetStream's errors that matter here and that the client has no names for.
const (
	codeNotAvailable     jetstream.ErrorCode = 10008 // no leader
	codeNotLeader        jetstream.ErrorCode = 10009
	codeStoreFailed      jetstream.ErrorCode = 10077 // such as a limit that is reached
	codeNoResources      jetstream.ErrorCode = 10023
	codeAccountLimit     jetstream.ErrorCode = 10002
	codeNoMemory         jetstream.ErrorCode = 10028
	codeNoStorage        jetstream.ErrorCode = 10047
	codeInProcess        jetstream.ErrorCode = 10158 // the same message is being stored
	codeTooManyBatches   jetstream.ErrorCode = 10210
	codeIncompleteBatch  jetstream.ErrorCode = 10176
	codeDuplicateInBatch jetstream.ErrorCode = 10201
	codeNoSequence       jetstream.ErrorCode = 10043
	codeNotDeleted       jetstream.ErrorCode = 10057
)

// isPassing tells errors that may be gone when a request is sent again.
func isPassing(err error) bool {
	for _, passing := range []error{
		context.DeadlineExceeded, context.Canceled, client.ErrTimeout,
		client.ErrNoResponders, jetstream.ErrNoStreamResponse, // no leader
		client.ErrDisconnected, client.ErrConnectionClosed, client.ErrConnectionReconnecting, client.ErrReconnectBufExceeded, client.ErrStaleConnection,
		errGone, errReader,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return hasCode(err, codeNotAvailable, codeNotLeader, codeInProcess, codeTooManyBatches, codeIncompleteBatch)
}

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode == code {
			return true
		}
	}
	return false
}
