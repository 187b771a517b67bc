package routes

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// File is a module of a folder and the route it serves.
type File struct {
	Path  string // relative to the root, with slashes: "a/[id].wasm"
	Route string // "/a/[id]"; not escaped. The root's index.wasm has "/"
}

// Problem is something in a folder that can't be served as it is.
type Problem struct {
	// Path is the file or folder, relative to the root, with slashes; "." is the
	// root. It need not be valid UTF-8.
	Path string
	// Route is what must answer that it is out of order, with everything below
	// it that no closer function serves: the route of the files in conflict, of
	// what should be a module and isn't a file, or of a folder that can't be
	// read, as nobody knows what is in it. It is empty if no route is affected.
	Route string
	// Err is what is wrong, for the log. It can contain paths of the host.
	Err error
}

// maxSize limits how much of a file tree is looked at. Every name costs the
// length of its path and nameCost, so it ends at something like a million
// names; links to the same folder from everywhere can multiply a small tree.
const (
	maxSize  = 128 << 20
	nameCost = 64
)

// ErrConflict is that of files which claim the same route.
var ErrConflict = errors.New("have the same route")

var (
	errLoop = errors.New("the folder contains itself: a link leads up")
	errMany = errors.New("too many files: this folder is not read to its end")
)

// Scan walks the folder root and returns its modules and what is wrong with it,
// both sorted by path. It opens folders but no files: whether a module can be
// read is not its matter. Links are followed, to files and to folders and out of
// root, but never in a circle. A part that can't be read, is deeper than
// [MaxDepth] or beyond about a million names is a Problem; err is set only if
// the root itself can't be read.
//
// The routes in files and problems together are all of different shapes: where
// several claim one, there is one Problem with that route.
func Scan(root string) (files []File, problems []Problem, err error) {
	return scanUpTo(root, maxSize)
}

func scanUpTo(root string, size int) (files []File, problems []Problem, err error) {
	s := scan{root: root, left: size}
	switch err := s.walk(folder{route: "/", above: ancestors(root)}); err {
	case nil:
	case errMany:
		s.problem(".", "/", err)
	default:
		return nil, nil, fmt.Errorf("reading a folder of functions: %w", err)
	}
	s.resolveConflicts()
	slices.SortFunc(s.files, byPath)
	slices.SortStableFunc(s.problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return s.files, s.problems, nil
}

type scan struct {
	root     string
	left     int // of maxSize
	files    []File
	problems []Problem
}

// folder is a folder to be read.
type folder struct {
	path, route string
	depth       int
	linked      bool
	above       []fs.FileInfo // the folders it is in, including the root's own ancestors
}

func (s *scan) problem(path, route string, err error) {
	s.problems = append(s.problems, Problem{path, route, err})
}

// walk reads a folder and what is in it. The error is about the folder itself.
func (s *scan) walk(dir folder) error {
	folders, above, err := s.read(dir)
	s.below(folders, above)
	return err
}

// below reads the folders of a folder.
func (s *scan) below(folders []folder, above []fs.FileInfo) {
	for _, dir := range folders {
		dir.above = above
		err := s.walk(dir)
		switch {
		case err == nil:
		case err == errLoop:
			s.problem(dir.path, "", err) // it hides no route
		case !dir.linked && errors.Is(err, fs.ErrNotExist):
			// Removed since its parent was read.
		default:
			s.problem(dir.path, dir.route, err)
		}
	}
}

// read notes the modules of a folder and returns the folders in it, also what it
// found of both before an error; and what is above those folders.
func (s *scan) read(dir folder) (folders []folder, above []fs.FileInfo, err error) {
	if dir.depth > MaxDepth {
		return nil, nil, errDeep
	}
	// Whatever the name stands for by now, opening it must not wait.
	f, err := os.OpenFile(s.host(dir.path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(dir.above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		return nil, nil, errLoop
	}
	above = append(slices.Clip(dir.above), info)
	for {
		entries, err := f.ReadDir(1000)
		for _, entry := range entries {
			path := join(dir.path, entry.Name())
			if s.left -= len(path) + nameCost; s.left < 0 {
				return folders, above, errMany
			}
			if sub, ok := s.entry(dir, path, entry); ok {
				folders = append(folders, sub)
			}
		}
		if err == io.EOF {
			return folders, above, nil
		}
		if err != nil {
			return folders, above, err
		}
	}
}

// entry notes what is in a folder: a module, a problem, or nothing of interest.
// A folder is returned, to be read later.
func (s *scan) entry(dir folder, path string, entry fs.DirEntry) (sub folder, ok bool) {
	name := entry.Name()
	if private(name) {
		return folder{}, false
	}
	mode, linked, broken := entry.Type(), false, error(nil)
	if mode&(fs.ModeSymlink|fs.ModeIrregular) != 0 { // irregular are Windows' other links
		linked = true
		if info, err := os.Stat(s.host(path)); err != nil {
			broken = err // and nobody knows of what kind
		} else {
			mode = info.Mode().Type()
		}
	}
	stem, module := strings.CutSuffix(name, ".wasm")
	if !module && broken == nil && !mode.IsDir() {
		return folder{}, false
	}
	route, err := dir.route, error(nil)
	if !module || stem != "index" {
		route, err = routeBelow(dir.route, stem, module)
	}
	switch {
	case err != nil:
		s.problem(path, "", err)
	case broken != nil:
		s.problem(path, route, broken)
	case module && mode.IsRegular():
		s.files = append(s.files, File{path, route})
	case module:
		s.problem(path, route, fmt.Errorf("not a file: %s", kindOf(mode)))
	default:
		return folder{path: path, route: route, depth: dir.depth + 1, linked: linked}, true
	}
	return folder{}, false
}

// routeBelow is the route of a name in the folder of a route.
func routeBelow(route, name string, last bool) (string, error) {
	seg, err := parseSegment(name)
	switch {
	case err != nil:
		return "", err
	case seg.kind == rest && !last:
		return "", errRest(name)
	case seg.kind != literal && strings.Contains(route+"/", "/["+seg.name+"]/"):
		return "", errTwice(seg.name)
	case route == "/":
		return "/" + name, nil
	}
	return route + "/" + name, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return mode.String()
}

// resolveConflicts takes the files away that claim the same route, or that of a
// problem, and leaves one Problem with that route.
func (s *scan) resolveConflicts() {
	contested := s.contested()
	s.files = slices.DeleteFunc(s.files, func(f File) bool { return contested[shape(f.Route)] != nil })
	for i, p := range s.problems {
		if contested[shape(p.Route)] != nil {
			s.problems[i].Route = ""
		}
	}
	for _, claims := range contested {
		s.problem(claims[0].Path, claims[0].Route, conflict(claims))
	}
}

// contested are the files and problems, by shape and sorted by path, that have a
// route of the same shape.
func (s *scan) contested() map[string][]File {
	claims := make(map[string][]File, len(s.files))
	for _, f := range s.files {
		key := shape(f.Route)
		claims[key] = append(claims[key], f)
	}
	for _, p := range s.problems {
		if p.Route != "" {
			key := shape(p.Route)
			claims[key] = append(claims[key], File{p.Path, p.Route})
		}
	}
	maps.DeleteFunc(claims, func(_ string, c []File) bool { return len(c) == 1 })
	for _, c := range claims {
		slices.SortFunc(c, byPath)
	}
	return claims
}

func conflict(claims []File) error {
	if more := len(claims) - 2; more > 0 {
		return fmt.Errorf("%q, %q and %d more %w", claims[0].Path, claims[1].Path, more, ErrConflict)
	}
	return fmt.Errorf("%q and %q %w", claims[0].Path, claims[1].Path, ErrConflict)
}

func byPath(a, b File) int { return cmp.Compare(a.Path, b.Path) }

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// host is the path of something in the root for the operating system.
func (s *scan) host(path string) string {
	return filepath.Join(s.root, filepath.FromSlash(path))
}

// ancestors are the folders that root is in: links to them would lead back to
// it. Those that can't be looked at are left out.
func ancestors(root string) []fs.FileInfo {
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	var above []fs.FileInfo
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if info, err := os.Stat(parent); err == nil {
			above = append(above, info)
		}
	}
	return above
}
