package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/gojinn/gojinn/stores"
)

// List returns keys in the order of their bytes: the server sends the heads of all messages
// whose keys may have the prefix, and what is not asked for is left out here.
func (n *Nats) List(ctx context.Context, ns stores.Namespace, q stores.Query) (entries []stores.Entry, err error) {
	err = n.do(ctx, ns, nil, func(ctx context.Context, s *stream) error {
		if q.Limit <= 0 {
			return nil
		}
		for {
			page := newPage(q)
			if err := s.scan(ctx, q.Prefix, page.reset, page.add); err != nil {
				return err
			}
			if found, ok := page.entries(time.Now()); ok {
				entries = found
				return nil
			}
		}
	})
	return entries, err
}

// page collects the first keys of a listing out of all, in whatever order they come.
type page struct {
	stores.Query
	keys map[string]listed
	// Keys from here on were left out, for there were enough before them; "": none.
	bound string
}

type listed struct {
	size    int64
	expires time.Time
	seq     uint64
}

// pageSlack is how many keys more than asked for are kept, in case that others vanish.
const pageSlack = 1024

func newPage(q stores.Query) *page { return &page{Query: q, keys: make(map[string]listed)} }

func (p *page) reset() { p.keys, p.bound = make(map[string]listed), "" }

func (p *page) add(key string, r record, from string) {
	// The old key of what was renamed is no more from here on, even if this is all that is
	// there to be read of it yet.
	if have, ok := p.keys[from]; ok && have.seq < r.seq && from != "" {
		delete(p.keys, from)
	}
	if !strings.HasPrefix(key, p.Prefix) || key <= p.After || p.bound != "" && key >= p.bound {
		return
	}
	if !r.live(time.Now()) {
		delete(p.keys, key)
		return
	}
	p.keys[key] = listed{size: r.size, expires: r.Expires, seq: r.seq}
	if len(p.keys) >= 2*p.Limit+2*pageSlack {
		sorted := p.sorted()
		p.bound = sorted[p.Limit+pageSlack]
		for _, key := range sorted[p.Limit+pageSlack:] {
			delete(p.keys, key)
		}
	}
}

func (p *page) sorted() []string {
	sorted := make([]string, 0, len(p.keys))
	for key := range p.keys {
		sorted = append(sorted, key)
	}
	slices.Sort(sorted)
	return sorted
}

// entries returns the page. It is not ok if so many keys have vanished that some of those left
// out belong to it.
func (p *page) entries(now time.Time) ([]stores.Entry, bool) {
	var entries []stores.Entry
	for _, key := range p.sorted() {
		k := p.keys[key]
		if len(entries) == p.Limit {
			break
		}
		if k.expires.IsZero() || now.Before(k.expires) {
			entries = append(entries, stores.Entry{Key: key, Size: k.size})
		}
	}
	return entries, len(entries) == p.Limit || p.bound == ""
}

const (
	// pull is how many messages are asked for at a time.
	pull = 512
	// pullWait is how long the server waits for the first of them.
	pullWait = time.Second
	// readerLasts is how long the server keeps a reader that we could not delete.
	readerLasts = 30 * time.Second
)

// scan visits the last message of all keys that may have a prefix, as they are at some moment
// between begin and end, in the order in which they were stored; the record has no value, but
// its size, and from is the key that it was renamed from. A key that changes
// meanwhile may be visited again. begin is called before the first, and again if all has to
// be done again.
//
// A reader of JetStream (a consumer) may be served by a replica that is behind. So a barrier is
// stored first: when that has been read, everything stored before has been. And then it reads
// on until there is no more to read: any key that moved away before the reader came to it is
// then found further on.
func (s *stream) scan(ctx context.Context, prefix string, begin func(), visit func(key string, r record, from string)) error {
	for round := 0; ; round++ {
		begin()
		err := s.scanOnce(ctx, prefix, visit)
		if err == nil || !isPassing(err) || ctx.Err() != nil {
			return err
		}
		if errWait := backoff(ctx, round); errWait != nil {
			return fmt.Errorf("%w: %w", errWait, err)
		}
	}
}

// errReader: what was read has a gap, or the reader is no more.
var errReader = errors.New("reading the stream was interrupted")

func (s *stream) scanOnce(ctx context.Context, prefix string, visit func(string, record, string)) error {
	barrier, err := s.barrier(ctx, prefix)
	if err != nil {
		return err
	}
	r, err := s.newReader(ctx, prefix)
	if err != nil {
		return err
	}
	defer r.close()
	r.barriers = append(r.barriers, barrier)
	for {
		seq, end, err := r.pull(ctx, visit)
		if err != nil {
			return err
		}
		if seq < barrier {
			continue
		}
		if end {
			return nil
		}
		// So that there is something to be read next time too.
		if barrier, err = s.barrier(ctx, prefix); err != nil {
			return err
		}
		r.barriers = append(r.barriers, barrier)
	}
}

// barrier stores a message that is nothing, among those with a prefix, and returns its number.
func (s *stream) barrier(ctx context.Context, prefix string) (uint64, error) {
	m := client.NewMsg(s.begin(kindBarrier, prefix) + "=" + nuid.Next())
	m.Header.Set(headerTTL, ttl(maxTimeout+leastTTL))
	return s.publish(ctx, m)
}

// reader reads a stream.
type reader struct {
	stream  *stream
	nc      *client.Conn
	name    string
	replies *client.Subscription
	seq     uint64 // of the last message read
	count   uint64 // of messages read
	// Its barriers, which nobody else needs.
	barriers []uint64
}

func (s *stream) newReader(ctx context.Context, prefix string) (*reader, error) {
	return request(ctx, s.link, func(ctx context.Context, js jetstream.JetStream) (*reader, error) {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		r := &reader{stream: s, nc: js.Conn(), name: "gojinn-" + nuid.Next()}
		var err error
		if r.replies, err = r.nc.SubscribeSync(r.nc.NewInbox()); err != nil {
			return nil, err
		}
		_, err = js.CreateConsumer(ctx, s.name, jetstream.ConsumerConfig{
			Name: r.name, FilterSubject: s.filter(prefix),
			DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true,
			Replicas: 1, MemoryStorage: true, InactiveThreshold: readerLasts,
		})
		if err != nil {
			r.close()
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				s.gone()
				return nil, errGone
			}
			return nil, err
		}
		return r, nil
	})
}

// close deletes the reader and its barriers. If that is not done they go by themselves.
func (r *reader) close() {
	go func() { // may wait for a server that takes nothing
		_ = r.replies.Unsubscribe()
		_ = r.nc.Publish(jetstream.DefaultAPIPrefix+"CONSUMER.DELETE."+r.stream.name+"."+r.name, nil)
		for _, seq := range r.barriers {
			if asked, err := json.Marshal(removal{seq, true}); err == nil {
				_ = r.nc.Publish(jetstream.DefaultAPIPrefix+"STREAM.MSG.DELETE."+r.stream.name, asked)
			}
		}
	}()
}

// pull reads the next messages. It returns the number of the last one read, and whether there
// were no more just then.
func (r *reader) pull(ctx context.Context, visit func(string, record, string)) (seq uint64, end bool, err error) {
	type question struct {
		Batch   int           `json:"batch"`
		NoWait  bool          `json:"no_wait"` // but for the first message
		Expires time.Duration `json:"expires"`
	}
	asked, err := json.Marshal(question{pull, true, pullWait})
	if err != nil {
		return 0, false, err
	}
	_, err = request(ctx, r.stream.link, func(context.Context, jetstream.JetStream) (struct{}, error) {
		return struct{}{}, r.nc.PublishRequest(jetstream.DefaultAPIPrefix+"CONSUMER.MSG.NEXT."+r.stream.name+"."+r.name, r.replies.Subject, asked)
	})
	if err != nil {
		return 0, false, err
	}
	for range pull {
		waits, cancel := context.WithTimeout(ctx, pullWait+attempt)
		m, err := r.replies.NextMsgWithContext(waits)
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return 0, false, ctx.Err()
		case err != nil:
			return 0, false, fmt.Errorf("%w: %w", errReader, err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "404": // no more
			return r.seq, true, nil
		case "408": // nothing came
			return r.seq, false, nil
		default:
			return 0, false, fmt.Errorf("%w: %s %s", errReader, status, m.Header.Get("Description"))
		}
		if err := r.read(m, visit); err != nil {
			return 0, false, err
		}
	}
	return r.seq, false, nil
}

func (r *reader) read(m *client.Msg, visit func(string, record, string)) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errReader, err)
	}
	if r.count++; meta.Sequence.Consumer != r.count {
		return fmt.Errorf("%w: got message %d of it, want %d", errReader, meta.Sequence.Consumer, r.count)
	}
	r.seq = meta.Sequence.Stream
	key, ok := r.stream.keyOf(m.Subject)
	if !ok {
		return nil // a barrier, or nothing of ours
	}
	got := recordOf(r.seq, m.Header, nil, meta.Timestamp)
	if got.size, err = strconv.ParseInt(m.Header.Get(headerSize), 10, 64); err != nil {
		return fmt.Errorf("message %d without its size: %w", r.seq, err)
	}
	from, _ := r.stream.keyOf(m.Header.Get(headerFrom))
	visit(key, got, from)
	return nil
}
