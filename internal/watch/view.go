package watch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxLinks is how many symbolic links are followed on one way, as on Linux.
	maxLinks = 40
	// maxFolders is how many folders of a tree are watched, and how many links.
	maxFolders = 1 << 16
	// batch is how many entries of a folder are read at a time.
	batch = 1024
)

// everyFolder says that all folders on the way to a file are watched, so that
// moving one of them is noticed. Not so with kqueue, which opens every file
// of a folder, nor on Windows, where a folder that's open can't be moved.
const everyFolder = runtime.GOOS == "linux"

// view is what a watch knows of its folders, and what it holds in them.
type view struct {
	holds map[hold]struct{}
	nodes map[identity]*node // folders of the tree

	refused bool          // some folder can't be watched
	tired   time.Time     // none is to be asked for until then
	took    time.Duration // to set up last time

	// While it's being set up:
	old   news
	fresh map[hold]struct{}
	seen  map[identity]*node
	added map[string]*folder
	links int
	why   string // some folder can't be watched
	spent bool   // the system has no more watches
}

// node is a folder of a tree.
type node struct {
	folder  *folder
	path    string // without links
	partial bool   // not all that's in it could be watched
	subs    []sub
	links   []link
}

// sub is a folder within one, or at the end of a link.
type sub struct {
	path string // without links
	id   identity
}

// link is a symbolic link within a folder.
type link struct {
	path  string
	holds []hold // on the way
	to    sub    // path is empty if it leads to no folder
}

// due says whether it's time to ask anew for what was refused. Others need
// watches too, and asking for a tree's takes all there are for a moment.
func (v *view) due() bool { return time.Now().After(v.tired) }

// setUp holds all folders that matter, if the news are that it may not, and
// drops those that don't any more. What's in a folder is only read after it's
// being watched, and changed is called after that, so nothing is missed.
func (w *Watch) setUp() {
	v := &w.view
	w.mu.Lock()
	v.old, w.news = w.news, news{}
	w.mu.Unlock()
	if !v.old.everything && !v.old.links && len(v.old.folders) == 0 || v.spent && !v.due() {
		return
	}
	start := time.Now()
	v.fresh = make(map[hold]struct{}, len(v.holds))
	v.seen = make(map[identity]*node, len(v.nodes))
	v.added = make(map[string]*folder)
	v.links, v.why, v.spent = 0, "", false

	for _, path := range w.paths {
		if at, err := w.follow(path, nil); err == nil && w.tree && at.path != "" {
			w.walk(at, false)
		}
	}
	for _, path := range w.folders {
		if at, err := w.follow(path, nil); err == nil && at.path != "" {
			w.add(at.path, &at.id, "")
		}
	}
	if v.spent {
		// A part of a tree is of no use to us, but to others.
		for h := range v.fresh {
			w.notifier.drop(w, h)
		}
		v.fresh, v.seen = nil, nil
	}
	for h := range v.holds {
		if _, ok := v.fresh[h]; !ok {
			w.notifier.drop(w, h)
		}
	}
	v.holds, v.nodes = v.fresh, v.seen
	v.fresh, v.seen, v.added, v.old = nil, nil, nil, news{}

	v.took = time.Since(start)
	v.refused = v.why != ""
	if v.refused {
		v.tired = time.Now().Add(max(20*w.notifier.seldom, share*v.took))
	}
	w.mu.Lock()
	w.reason = v.why
	w.mu.Unlock()
}

// dropAll drops all that's held.
func (w *Watch) dropAll() {
	for h := range w.view.holds {
		w.notifier.drop(w, h)
	}
	w.view = view{}
}

// follow goes to path, which is absolute, step by step, and holds each folder on
// the way before it looks at the next step there. It returns the folder where it
// ends, with an empty path if that's a file. The way is appended to holds unless
// that's nil.
func (w *Watch) follow(path string, holds *[]hold) (sub, error) {
	at, rest := split(path)
	var info fs.FileInfo
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		if step == ".." {
			at, info = filepath.Dir(at), nil
			continue
		}
		var err error
		next := filepath.Join(at, step)
		if info, err = w.step(at, step, next, len(rest) == 0, holds); err != nil {
			return sub{}, err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return sub{}, syscall.ELOOP
			}
			target, err := os.Readlink(next)
			if err != nil {
				return sub{}, err
			}
			if filepath.IsAbs(target) {
				at, rest = splitBefore(target, rest)
			} else {
				rest = append(steps(target), rest...)
			}
			info = nil
		case len(rest) > 0 && !info.IsDir():
			return sub{}, syscall.ENOTDIR
		default:
			at = next
		}
	}
	if info == nil { // ends in .. or at the root
		var err error
		if info, err = os.Lstat(at); err != nil {
			return sub{}, err
		}
	}
	if !info.IsDir() {
		return sub{}, nil
	}
	return sub{at, identityOf(at, info)}, nil
}

// step holds the folder at for an entry of it if need be, and looks at that.
func (w *Watch) step(at, name, path string, last bool, holds *[]hold) (fs.FileInfo, error) {
	if !everyFolder && !last {
		info, err := os.Lstat(path)
		if err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return info, nil
		}
	}
	if f := w.add(at, nil, fold(name)); f != nil && holds != nil {
		*holds = append(*holds, hold{f, fold(name)})
	}
	return os.Lstat(path)
}

// add holds the folder at path, for one entry or for all, and makes sure, once
// while setting up, that it's being watched. It returns nil if it can't be.
func (w *Watch) add(path string, id *identity, name string) *folder {
	v := &w.view
	if v.spent {
		return nil
	}
	if f := v.added[path]; f != nil {
		h := hold{f, name}
		if _, ok := v.fresh[h]; ok {
			return f
		}
	}
	if id == nil {
		now, err := identify(path)
		if err != nil {
			w.refuse(path, err)
			return nil
		}
		id = &now
	}
	f, err := w.notifier.add(w, path, *id, name)
	if err != nil {
		w.refuse(path, err)
		return nil
	}
	v.added[path] = f
	v.fresh[hold{f, name}] = struct{}{}
	return f
}

// refuse takes note that the folder at path can't be watched. That it's gone is
// no reason: the folder it was in is being watched.
func (w *Watch) refuse(path string, err error) {
	v := &w.view
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return
	}
	var none errNone
	hint := ""
	switch {
	case errors.As(err, &none):
		v.spent = true
		if runtime.GOOS == "linux" && errors.Is(err, syscall.EMFILE) {
			hint = " (see sysctl fs.inotify.max_user_instances)"
		}
	case errors.Is(err, syscall.ENOSPC):
		v.spent = true
		if runtime.GOOS == "linux" {
			hint = " (see sysctl fs.inotify.max_user_watches)"
		}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		v.spent = true
	}
	if v.why == "" || v.spent {
		v.why = fmt.Sprintf("watching %s: %v%s", path, err, hint)
	}
}

// walk holds a folder and those below it. Of folders that nothing was heard of,
// what's known is still true. anew says not to trust that.
func (w *Watch) walk(at sub, anew bool) {
	v := &w.view
	if v.spent || v.seen[at.id] != nil {
		return
	}
	if len(v.seen) >= maxFolders {
		v.why = fmt.Sprintf("%s has more than %d folders", w.paths[0], maxFolders)
		return
	}
	n := v.nodes[at.id]
	known := n != nil && n.path == at.path && !n.partial && !v.old.everything && !anew
	if n != nil {
		self, heard := v.old.folders[n.folder]
		known, anew = known && !heard, anew || self
	}
	if known {
		v.fresh[hold{n.folder, ""}] = struct{}{}
		w.relink(n, v.old.links)
	} else {
		n = w.list(at)
	}
	v.seen[at.id] = n
	for _, s := range n.subs {
		w.walk(s, anew)
	}
	for _, l := range n.links {
		if l.to.path != "" {
			w.walk(l.to, anew)
		}
	}
}

// list holds the folder at and reads what folders and links are in it.
func (w *Watch) list(at sub) *node {
	v := &w.view
	n := &node{path: at.path, folder: w.add(at.path, &at.id, "")}
	n.partial = n.folder == nil
	dir, err := open(at.path)
	if err != nil {
		n.partial = true
		return n
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(batch)
		for _, e := range entries {
			path := filepath.Join(at.path, e.Name())
			switch {
			case e.IsDir() && len(n.subs) < maxFolders:
				if id, err := identify(path); err == nil {
					n.subs = append(n.subs, sub{path, id})
				}
			case e.IsDir():
				v.why = fmt.Sprintf("%s has more than %d folders", w.paths[0], maxFolders)
				n.partial = true
			case e.Type()&fs.ModeSymlink != 0 && len(n.links) < maxFolders:
				n.links = append(n.links, link{path: path})
			case e.Type()&fs.ModeSymlink != 0:
				v.why = fmt.Sprintf("%s has more than %d symbolic links", w.paths[0], maxFolders)
				n.partial = true
			}
		}
		if err != nil {
			n.partial = n.partial || err != io.EOF
			break
		}
	}
	w.relink(n, true)
	return n
}

// relink holds the folders on the way of n's links. again says that links may
// lead elsewhere than before.
func (w *Watch) relink(n *node, again bool) {
	v := &w.view
	for i := range n.links {
		l := &n.links[i]
		if v.links++; v.links > maxFolders {
			v.why = fmt.Sprintf("%s has more than %d symbolic links", w.paths[0], maxFolders)
			return
		}
		if !again {
			for _, h := range l.holds {
				v.fresh[h] = struct{}{}
			}
			continue
		}
		before := v.why
		v.why = ""
		*l = w.resolve(n.path, l.path)
		n.partial = n.partial || v.why != ""
		if v.why == "" {
			v.why = before
		}
	}
}

// resolve follows the link at path in the folder dir.
func (w *Watch) resolve(dir, path string) link {
	l := link{path: path}
	target, err := os.Readlink(path)
	if err != nil {
		return l
	}
	if !filepath.IsAbs(target) {
		// Not joined: that would take .. for what's written before it.
		target = dir + string(filepath.Separator) + target
	}
	if to, err := w.follow(target, &l.holds); err == nil {
		l.to = to
	}
	return l
}

// split returns the root of an absolute path and the steps from there.
func split(path string) (root string, rest []string) {
	volume := filepath.VolumeName(path)
	return volume + string(filepath.Separator), steps(path[len(volume):])
}

// splitBefore is split with more steps to follow.
func splitBefore(path string, more []string) (root string, rest []string) {
	root, rest = split(path)
	return root, append(rest, more...)
}

// steps returns the names in a path.
func steps(path string) []string {
	all := strings.FieldsFunc(path, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) })
	return slices.DeleteFunc(all, func(s string) bool { return s == "." })
}
