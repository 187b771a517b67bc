package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/gojinn/gojinn/stores"
)

// The format. With the prefix gojinn the namespace user.data is the stream
//
//	gojinn_user+data, of the subjects gojinn.user+data.>
//
// ('.' can't be in the name of a stream). A key is the subject
//
//	gojinn.user+data.k.<its bytes, cut behind the 1st, 2nd, 4th, 8th … byte>.=<the rest>
//
// where all bytes but letters, digits, '-' and '_' are written %XX. It is cut so that a listing
// of a prefix can have the server leave out most of what doesn't begin with it. With b in place
// of k it is a barrier (see scan). A message is a value; or with headerDeleted the mark that
// there is none any more, which the server removes after a while.
const (
	headerDeleted  = "Gojinn-Deleted"  // anything
	headerExpires  = "Gojinn-Expires"  // Unix time in ns
	headerModified = "Gojinn-Modified" // Unix time in ns
	headerFrom     = "Gojinn-From"     // the subject whose value this was

	headerTTL         = "Nats-TTL"
	headerExpectedKey = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedAll = "Nats-Expected-Last-Sequence"
	headerID          = "Nats-Msg-Id"
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerSize        = "Nats-Msg-Size" // of what comes without its value
)

const (
	// dedupe is how long the server knows which messages it has got, so that one whose
	// acknowledgement was lost can be sent again. No operation takes as long.
	dedupe = time.Minute
	// leastTTL is the shortest that a server knows.
	leastTTL = time.Second
	// longestTTL is what remains of an item that expires after the end of our clocks.
	longestTTL = 100 * 365 * 24 * time.Hour
)

// endOfTime is about when Unix times in ns end. What expires later never does.
var endOfTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// The kinds of subjects.
const (
	kindKey     = "k."
	kindBarrier = "b."
	kindAny     = "*."
)

// stream is what keeps a namespace. Safe for concurrent use.
type stream struct {
	link   *link
	name   string
	prefix string // of its subjects, with a dot

	turns [64]chan struct{} // held by who updates a key

	opening   chan struct{} // held by who makes sure that the stream is there
	creating  chan struct{} // held by who makes a key near the limit
	sweeping  chan struct{} // held by who looks for what has expired
	lastFreed bool          // whether the last one found any; guarded by sweeping

	mu      sync.Mutex
	checked bool // it is there, and as it has to be
	room    room // for new keys
}

func newStream(l *link, namespace string) *stream {
	token := strings.ReplaceAll(namespace, ".", "+")
	s := &stream{
		link: l, name: l.key.prefix + "_" + token, prefix: l.key.prefix + "." + token + ".",
		opening: make(chan struct{}, 1), creating: make(chan struct{}, 1), sweeping: make(chan struct{}, 1),
	}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	return s
}

const plain = "-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const hexDigits = "0123456789ABCDEF"

func appendByte(to []byte, b byte) []byte {
	if strings.IndexByte(plain, b) >= 0 {
		return append(to, b)
	}
	return append(to, '%', hexDigits[b>>4], hexDigits[b&15])
}

// subject is where the values of a key are.
func (s *stream) subject(key string) string {
	last := 0 // cut
	for n := 1; n <= len(key); n *= 2 {
		last = n
	}
	subject := append([]byte(s.begin(kindKey, key)), '=')
	for _, b := range []byte(key[last:]) {
		subject = appendByte(subject, b)
	}
	return string(subject)
}

// begin is what the subjects of all keys with a prefix begin with.
func (s *stream) begin(kind, prefix string) string {
	subject := make([]byte, 0, len(s.prefix)+len(kind)+3*len(prefix)+8)
	subject = append(append(subject, s.prefix...), kind...)
	last := 0
	for n := 1; n <= len(prefix); n *= 2 {
		for _, b := range []byte(prefix[last:n]) {
			subject = appendByte(subject, b)
		}
		subject = append(subject, '.')
		last = n
	}
	return string(subject)
}

// filter matches the subjects of all keys with a prefix, and of the barriers for it.
func (s *stream) filter(prefix string) string { return s.begin(kindAny, prefix) + ">" }

// keyOf is the key of a subject. One that isn't ours has none.
func (s *stream) keyOf(subject string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.prefix+kindKey)
	if !ok {
		return "", false
	}
	decoded := make([]byte, 0, len(rest))
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '.', '=':
		case '%':
			if i+2 >= len(rest) {
				return "", false
			}
			b, err := strconv.ParseUint(rest[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			decoded = append(decoded, byte(b))
			i += 2
		default:
			decoded = append(decoded, c)
		}
	}
	// There is one way only to write a key.
	return string(decoded), s.subject(string(decoded)) == subject
}

// config is how a stream is made.
func (s *stream) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.name,
		Description: "a key-value namespace of Gojinn",
		Subjects:    []string{s.prefix + ">"},
		Storage:     jetstream.FileStorage,
		Replicas:    s.link.key.replicas,

		MaxMsgsPerSubject:  1,
		Discard:            jetstream.DiscardNew, // a limit refuses what is new, and deletes nothing
		Duplicates:         dedupe,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
		// Not from any replica: it may be behind.
		AllowDirect: false,
	}
}

// check refuses a stream that would not keep what it is given, or not work. It is left as it is.
func (s *stream) check(got jetstream.StreamConfig) error {
	want := s.config()
	var wrong []string
	for _, rule := range []struct {
		ok   bool
		what string
	}{
		{slices.Equal(got.Subjects, want.Subjects), fmt.Sprintf("subjects %q, not %q", got.Subjects, want.Subjects)},
		{got.MaxMsgsPerSubject == 1, fmt.Sprintf("max_msgs_per_subject %d, not 1", got.MaxMsgsPerSubject)},
		{got.Retention == jetstream.LimitsPolicy, fmt.Sprintf("retention %s, not limits", got.Retention)},
		{got.Discard == jetstream.DiscardNew, "discard old, not new"},
		{got.MaxAge == 0, fmt.Sprintf("max_age %s, not unlimited", got.MaxAge)},
		{got.Duplicates >= dedupe, fmt.Sprintf("duplicate_window %s, not %s", got.Duplicates, dedupe)},
		{got.AllowMsgTTL, "no allow_msg_ttl"},
		{got.AllowAtomicPublish, "no allow_atomic"},
		{got.Replicas >= want.Replicas, fmt.Sprintf("num_replicas %d, the configuration says %d", got.Replicas, want.Replicas)},
		{!got.AllowDirect || got.Replicas == 1, "allow_direct, which reads what may be old"},
		{!got.NoAck, "no_ack"},
		{!got.Sealed, "sealed"},
		{!got.DenyDelete, "deny_delete"},
		{got.Mirror == nil && len(got.Sources) == 0, "a mirror or sources"},
		{got.SubjectTransform == nil, "a subject_transform"},
		{got.PersistMode == jetstream.DefaultPersistMode, "persist_mode async, which loses what was acknowledged"},
	} {
		if !rule.ok {
			wrong = append(wrong, rule.what)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the stream %s can't be used and is left as it is: %s", s.name, strings.Join(wrong, "; "))
	}
	return nil
}

// isOpen tells whether the stream is known to be there.
func (s *stream) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checked
}

// open makes sure that the stream is there.
func (s *stream) open(ctx context.Context) error {
	if s.isOpen() {
		return nil
	}
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return fmt.Errorf("opening the stream %s: %w", s.name, ctx.Err())
	}
	if s.isOpen() {
		return nil // another was faster
	}
	info, err := request(ctx, s.link, func(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
		have, err := js.Stream(ctx, s.name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if err := checkVersion(js.Conn().ConnectedServerVersion()); err != nil {
				return nil, err
			}
			have, err = js.CreateStream(ctx, s.config())
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // just now, by another
				have, err = js.Stream(ctx, s.name)
			}
		}
		if err != nil {
			return nil, err
		}
		return have.CachedInfo(), nil
	})
	if err != nil {
		return fmt.Errorf("opening the stream %s: %w", s.name, err)
	}
	if err := s.check(info.Config); err != nil {
		return err
	}
	s.mu.Lock()
	s.checked = true
	s.mu.Unlock()
	return nil
}

// checkVersion refuses servers that would take the configuration of a stream and ignore half
// of it. With 2.12.1 batches know what they have got already.
func checkVersion(version string) error {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return fmt.Errorf("the server's version %q is not understood", version)
	}
	if major < 2 || major == 2 && (minor < 12 || minor == 12 && patch < 1) {
		return fmt.Errorf("the server is NATS %s; 2.12.1 is the least", version)
	}
	return nil
}

// gone notes that the stream may have been deleted.
func (s *stream) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = false
}

// record is a message of the stream.
type record struct {
	stores.Item
	seq  uint64
	size int64 // of the value
	dead bool  // a mark that there is nothing
}

// live tells whether the record is an item, now.
func (r *record) live(now time.Time) bool {
	return r.seq > 0 && !r.dead && (r.Expires.IsZero() || now.Before(r.Expires))
}

func recordOf(seq uint64, header client.Header, value []byte, stored time.Time) record {
	return record{
		seq:  seq,
		size: int64(len(value)),
		dead: header.Get(headerDeleted) != "",
		Item: stores.Item{Value: value, Version: seq, Modified: orTime(header.Get(headerModified), stored), Expires: orTime(header.Get(headerExpires), time.Time{})},
	}
}

func orTime(ns string, otherwise time.Time) time.Time {
	if n, err := strconv.ParseInt(ns, 10, 64); err == nil {
		return time.Unix(0, n)
	}
	return otherwise
}

// message makes the message that is a value, or without one the mark that there is none.
func (s *stream) message(key string, item *stores.Item, modified time.Time) *client.Msg {
	m := client.NewMsg(s.subject(key))
	m.Header.Set(headerID, nuid.Next())
	if item == nil {
		m.Header.Set(headerDeleted, "1")
		m.Header.Set(headerTTL, ttl(leastTTL))
		return m
	}
	m.Data = item.Value
	m.Header.Set(headerModified, strconv.FormatInt(modified.UnixNano(), 10))
	if !item.Expires.IsZero() && item.Expires.Before(endOfTime) {
		m.Header.Set(headerExpires, strconv.FormatInt(item.Expires.UnixNano(), 10))
		// Later than that it is removed, not earlier: clocks differ.
		m.Header.Set(headerTTL, ttl(min(max(time.Until(item.Expires), 0), longestTTL)+leastTTL))
	}
	return m
}

// ttl writes a duration in whole seconds, rounded up.
func ttl(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s"
}
