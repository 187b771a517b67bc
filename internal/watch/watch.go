// Package watch tells when files and folders may have changed.
//
// It's told so by the system where that's possible: all watches share one
// [fsnotify.Watcher], which is opened with the first and closed with the last.
// Each watch also looks for itself now and then, as file systems of other
// machines tell nothing, and often where the system refuses to tell.
//
// What it tells is a hint. A change isn't missed, at worst noticed late, but
// there may be none: who's called looks for itself. So first watch, then read.
package watch

import (
	"bytes"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

const (
	// quiet is for how long nothing must have happened before changed is
	// called: who copies a file writes it in pieces.
	quiet = 100 * time.Millisecond
	// patience is for how long that's waited for.
	patience = time.Second
	// share is the part of one processor that looking may take: 1/share.
	share = 50
)

// process holds the watches of the process. Their Stop empties it.
var process = notifier{often: 2 * time.Second, seldom: 30 * time.Second}

// Watch is one subscription, of files or of a folder with all that's below.
// It keeps a goroutine until Stop.
type Watch struct {
	notifier *notifier
	paths    []string // absolute
	tree     bool     // with all that's below the only path
	folders  []string // absolute, whose entries count
	changed  func()
	done     chan struct{} // closed by Stop
	wake     chan struct{} // holds one element while news wait

	mu      sync.Mutex // guards what follows; notifier.mu may be held already
	stopped bool
	call    chan struct{} // closed when the call that's going on has returned; nil when none is
	caller  string        // goroutine that calls
	reason  string
	news    news

	view view // of the goroutine alone
	look look // of the goroutine alone
}

// File calls changed when path may lead to another file than before, or to the
// same with other contents or attributes: after it has been written to,
// replaced, removed or made, and after that has happened to a folder or a
// symbolic link on the way to it. It need not exist.
//
// changed is called from a goroutine of the watch, never twice at a time, once
// for all that happens until 100 ms pass without anything or 1 s is over.
// Nothing that happens after File has returned is missed.
//
// Folders are watched whose entries matter, and what else happens in them costs
// little. The system tells at once; what it doesn't tell is noticed within 30 s,
// or 2 s if [Watch.Polling] gives a reason, unless looking takes so long that
// it would cost more than 2 % of a processor.
func File(path string, changed func()) *Watch {
	return process.watch(path, false, changed)
}

// Files is [File] for many paths, and for the entries of folders: changed is also called when
// one of those comes, goes or is replaced. What is written to an entry only counts if paths has it.
func Files(paths, folders []string, changed func()) *Watch {
	return process.all(paths, false, folders, changed)
}

// Tree is [File] for a folder and everything below it, including what's made
// later. Symbolic links are followed, each folder being visited once. Of a tree
// of more than 65,536 folders or as many links only those are watched, and
// Polling says so. Looking ends after 1,048,576 entries.
func Tree(root string, changed func()) *Watch {
	return process.watch(root, true, changed)
}

func (n *notifier) watch(path string, tree bool, changed func()) *Watch {
	return n.all([]string{path}, tree, nil, changed)
}

func (n *notifier) all(paths []string, tree bool, folders []string, changed func()) *Watch {
	w := &Watch{
		notifier: n,
		paths:    absolute(paths),
		tree:     tree,
		folders:  absolute(folders),
		changed:  changed,
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
	}
	n.enter(w)
	w.news.everything = true
	w.setUp()
	w.look.first(w)
	go w.run()
	return w
}

func absolute(paths []string) (all []string) {
	for _, path := range paths {
		// One that is absolute is not cleaned: that would take .. for what's written before it.
		if abs, err := filepath.Abs(path); err == nil && !filepath.IsAbs(path) {
			path = abs
		}
		all = append(all, path)
	}
	return all
}

// Stop ends the watch. changed isn't called any more once Stop has returned,
// and a call that's going on is waited for, so hold no lock that changed takes.
// Only changed itself may call Stop from within, where it doesn't wait. What the
// watch holds is given back soon after. Stop may be called several times and
// from several goroutines.
func (w *Watch) Stop() {
	w.mu.Lock()
	if !w.stopped {
		w.stopped = true
		close(w.done)
	}
	call, caller := w.call, w.caller
	w.mu.Unlock()
	if call != nil && caller != goroutine() {
		<-call
	}
}

// Polling says why the watch has to look for changes itself, every 2 s, and ""
// if the system tells of all of them, as far as is known. It may change and is
// safe for concurrent use.
func (w *Watch) Polling() (reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// run tells what happens until Stop.
func (w *Watch) run() {
	defer w.leave()
	timer := time.NewTimer(time.Until(w.look.due(w)))
	defer timer.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-w.wake:
			w.settle()
			w.setUp()
			w.look.renew(w)
			w.tell()
		case <-timer.C:
			if w.look.differs(w) {
				// It's for want of watches that it had to be found, so make sure
				// of all of them.
				w.distrust()
				w.setUp()
				w.tell()
			} else if w.view.refused && w.view.due() {
				w.distrust()
				w.setUp()
			}
		}
		timer.Reset(time.Until(w.look.due(w)))
	}
}

// settle waits until what happens is over. Folders that take long to set up are
// given longer, so that those who change them all the time don't keep us busy.
func (w *Watch) settle() {
	rest := 4 * w.view.took
	over := time.NewTimer(max(patience, rest))
	defer over.Stop()
	calm := time.NewTimer(max(quiet, rest))
	defer calm.Stop()
	for {
		select {
		case <-w.wake:
			calm.Reset(max(quiet, rest))
		case <-calm.C:
			return
		case <-over.C:
			return
		case <-w.done:
			return
		}
	}
}

// tell calls changed unless the watch has been stopped.
func (w *Watch) tell() {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.call, w.caller = make(chan struct{}), goroutine()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		close(w.call)
		w.call = nil
		w.mu.Unlock()
	}()
	w.changed()
}

// leave gives back what the watch holds.
func (w *Watch) leave() {
	w.Stop() // changed may have ended the goroutine.
	w.dropAll()
	w.notifier.leave(w)
}

// news is what has happened in a watch's folders since they were last set up.
type news struct {
	folders    map[*folder]bool // whose entries came or went; true: it may be another folder
	links      bool             // links may lead elsewhere
	everything bool             // no telling what
}

// hear takes note of something in f. whole says that w holds all of it, self
// that it's about f itself, entries that entries may have come or gone.
func (w *Watch) hear(f *folder, whole, self, entries bool) {
	if whole && !entries && !w.tree {
		return // only written to
	}
	w.mu.Lock()
	switch {
	case !entries:
	case !whole:
		w.news.links = true
	default:
		if w.news.folders == nil {
			w.news.folders = make(map[*folder]bool)
		}
		w.news.folders[f] = w.news.folders[f] || self
	}
	w.mu.Unlock()
	w.rouse()
}

// distrust has everything looked at when folders are next set up.
func (w *Watch) distrust() {
	w.mu.Lock()
	w.news.everything = true
	w.mu.Unlock()
}

// rouse makes the watch's goroutine act.
func (w *Watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// goroutine names the goroutine that calls it. Stop has to know whether it's
// called from within changed, and nothing else tells.
func goroutine() string {
	var buf [64]byte
	name, _, _ := bytes.Cut(buf[:runtime.Stack(buf[:], false)], []byte(" ["))
	return string(name)
}
