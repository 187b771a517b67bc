package watch

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// notifier shares one fsnotify.Watcher among watches. Its zero value, with
// intervals, is ready.
type notifier struct {
	often, seldom time.Duration // between two looks, without and with the system telling

	refuse func(path string) error // for tests: makes adding path fail

	// adding is held while folders are added and removed. fsnotify may have an
	// event taken before it does either, so whoever takes events must not wait
	// for it.
	adding   sync.Mutex
	watcher  *fsnotify.Watcher
	readers  sync.WaitGroup
	overflow chan struct{} // holds one element when events have been lost

	// mu guards what follows, which is only changed with adding held as well. It's
	// never held over a call of fsnotify.
	mu      sync.Mutex
	watches map[*Watch]struct{}
	byPath  map[string]*folder
	byID    map[identity]*folder
}

// folder is a folder that's watched by the system.
type folder struct {
	path  string // without links
	id    identity
	whole map[*Watch]struct{}
	names map[string]map[*Watch]struct{} // those for which only that entry matters
}

// hold is what one watch has in one folder: an entry that matters or, if name is
// empty, all of them.
type hold struct {
	folder *folder
	name   string
}

func (n *notifier) enter(w *Watch) {
	n.adding.Lock()
	defer n.adding.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watches == nil {
		n.watches = make(map[*Watch]struct{})
		n.byPath = make(map[string]*folder)
		n.byID = make(map[identity]*folder)
	}
	n.watches[w] = struct{}{}
}

// leave is enter's counterpart. w must hold nothing any more.
func (n *notifier) leave(w *Watch) {
	n.adding.Lock()
	defer n.adding.Unlock()
	n.mu.Lock()
	delete(n.watches, w)
	last := len(n.watches) == 0
	n.mu.Unlock()
	if last && n.watcher != nil {
		n.watcher.Close()
		n.readers.Wait()
		n.watcher = nil
	}
}

// open makes the watcher if there's none.
func (n *notifier) open() error {
	if n.watcher != nil {
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	n.watcher, n.overflow = watcher, make(chan struct{}, 1)
	// fsnotify may hold its lock while it reports an error, so errors are taken
	// by someone who waits for nothing.
	n.readers.Go(func() { heed(watcher.Errors, n.overflow) })
	n.readers.Go(func() { n.read(watcher.Events, n.overflow) })
	return nil
}

// heed reports lost events. Other errors are about watches that were gone when
// fsnotify removed them.
func heed(errs <-chan error, overflow chan<- struct{}) {
	for err := range errs {
		if errors.Is(err, fsnotify.ErrEventOverflow) {
			select {
			case overflow <- struct{}{}:
			default:
			}
		}
	}
}

// read passes events to the watches until the watcher is closed.
func (n *notifier) read(events <-chan fsnotify.Event, overflow <-chan struct{}) {
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return
			}
			n.pass(event)
		case <-overflow:
			n.lost()
		}
	}
}

// pass tells those whom an event concerns: holders of the folder it happened in
// and, if it isn't just written to, of the folder it happened to.
func (n *notifier) pass(event fsnotify.Event) {
	path := filepath.Clean(event.Name)
	entries := event.Op&^fsnotify.Write != 0
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.byPath[path]; f != nil && entries {
		f.each(func(w *Watch, whole bool) { w.hear(f, whole, true, true) })
	}
	dir, name := filepath.Split(path)
	f := n.byPath[filepath.Clean(dir)]
	if f == nil {
		return
	}
	for w := range f.whole {
		w.hear(f, true, false, entries)
	}
	for w := range f.names[fold(name)] {
		w.hear(f, false, false, entries)
	}
}

// lost tells everyone that events have been lost.
func (n *notifier) lost() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.watches {
		w.distrust()
		w.rouse()
	}
}

// add has the system watch the folder at path for w, or makes sure that it
// still does. path leads through no links.
func (n *notifier) add(w *Watch, path string, id identity, name string) (*folder, error) {
	n.adding.Lock()
	defer n.adding.Unlock()
	if n.refuse != nil {
		if err := n.refuse(path); err != nil {
			return nil, err
		}
	}
	if err := n.open(); err != nil {
		return nil, errNone{err}
	}
	f := n.find(w, path, id)
	n.mu.Lock()
	f.hold(w, name)
	n.byPath[f.path], n.byID[f.id] = f, f // before events come
	n.mu.Unlock()
	// Adding is done even if it was before: the kernel may have dropped the
	// watch of a folder that was removed and made again.
	if err := n.watcher.Add(f.path); err != nil {
		n.mu.Lock()
		f.drop(w, name)
		n.mu.Unlock()
		n.forget(w, f)
		return nil, err
	}
	return f, nil
}

// find returns the folder with this path and identity, a new one if it isn't
// watched. Folders that only were so before they were moved or removed are
// forgotten: fsnotify would take one with the identity of another that it still
// knows for that, under its old path.
func (n *notifier) find(w *Watch, path string, id identity) *folder {
	if f := n.byPath[path]; f != nil && f.id != id {
		n.forget(w, f)
	}
	if f := n.byID[id]; f != nil {
		if f.path == path {
			return f
		}
		// A folder may have two paths at a time, by mounts and by other case.
		if now, err := identify(f.path); err == nil && now == id {
			return f
		}
		n.forget(w, f)
	}
	return &folder{path: path, id: id}
}

// forget ends watching f, whoever holds it. All but w are told to look anew.
func (n *notifier) forget(w *Watch, f *folder) {
	n.watcher.Remove(f.path) // May have been removed with the folder.
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byPath, f.path)
	delete(n.byID, f.id)
	f.each(func(holder *Watch, _ bool) {
		if holder != w {
			holder.distrust()
			holder.rouse()
		}
	})
}

// drop is add's counterpart.
func (n *notifier) drop(w *Watch, h hold) {
	n.adding.Lock()
	defer n.adding.Unlock()
	n.mu.Lock()
	h.folder.drop(w, h.name)
	idle := h.folder.idle() && n.byPath[h.folder.path] == h.folder
	n.mu.Unlock()
	if idle {
		n.forget(w, h.folder)
	}
}

func (f *folder) hold(w *Watch, name string) {
	if name == "" {
		if f.whole == nil {
			f.whole = make(map[*Watch]struct{})
		}
		f.whole[w] = struct{}{}
		return
	}
	if f.names == nil {
		f.names = make(map[string]map[*Watch]struct{})
	}
	if f.names[name] == nil {
		f.names[name] = make(map[*Watch]struct{})
	}
	f.names[name][w] = struct{}{}
}

func (f *folder) drop(w *Watch, name string) {
	if name == "" {
		delete(f.whole, w)
		return
	}
	delete(f.names[name], w)
	if len(f.names[name]) == 0 {
		delete(f.names, name)
	}
}

func (f *folder) idle() bool { return len(f.whole) == 0 && len(f.names) == 0 }

// each calls do for every holder, more than once for those with several holds.
func (f *folder) each(do func(w *Watch, whole bool)) {
	for w := range f.whole {
		do(w, true)
	}
	for _, watches := range f.names {
		for w := range watches {
			do(w, false)
		}
	}
}

// errNone says that there are no notifications to be had at all.
type errNone struct{ error }

func (e errNone) Unwrap() error { return e.error }

// fold returns what two names of one entry have in common. On some systems a
// file is found by a name in other case than its own.
func fold(name string) string {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return strings.ToLower(name)
	}
	return name
}

// identify returns the identity of the folder at path.
func identify(path string) (identity, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return identity{}, err
	}
	return identityOf(path, info), nil
}
