package gojinn

import (
	"encoding/json"
	"iter"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/gojinn/gojinn/engine"
)

// needs are what a function was refused, sorted by the allow lines that would have granted it.
type needs struct {
	origins   map[string]*wanted // of http
	addresses map[string]*wanted // of tcp and tls, with the capability before a space
	spaces    map[string]bool    // of kv; true: to be changed
	dirs      map[string]bool    // guest directories; true: to be changed
	listed    map[string]bool    // of these, those that were themselves opened
	probes    map[string]bool    // paths that programs look for and do without
	strange   map[string]bool    // what no line grants
	http      bool               // /net/http, for whatever origin
}

// wanted is how a program wants to use an address.
type wanted struct {
	methods, private map[string]bool
}

func needsOf(refusals []engine.Refusal, granted []json.RawMessage) *needs {
	n := &needs{
		origins: make(map[string]*wanted), addresses: make(map[string]*wanted), spaces: make(map[string]bool),
		dirs: make(map[string]bool), listed: make(map[string]bool), probes: make(map[string]bool), strange: make(map[string]bool),
	}
	var paths []engine.Refusal
	for _, r := range refusals {
		switch r.Kind {
		case engine.RefusedPath:
			paths = append(paths, r)
		case "http":
			note(n.origins, strings.TrimSuffix(r.What, defaultPort(r.What)), r.How)
		case "tcp", "tls":
			note(n.addresses, r.Kind+" "+r.What, r.How)
		case "kv":
			space, _, _ := strings.Cut(r.What, "/")
			n.spaces[space] = n.spaces[space] || r.How == engine.RefusedWrite
		default:
			n.strange[strings.TrimSpace(r.Kind+" "+r.What+" "+r.How)] = true
		}
	}
	for _, r := range paths {
		if path.Clean(r.What) != strings.TrimSuffix(r.What, "/") && r.What != "/" || r.What[0] != '/' {
			n.strange[r.What] = true // cut, or no path of the file tree
			continue
		}
		n.addPath(r.What, r.How == engine.RefusedWrite, paths)
	}
	n.regrant(granted)
	n.merge()
	return n
}

// defaultPort is the port at the end of an origin, if it is its scheme's own.
func defaultPort(origin string) string {
	for scheme, port := range map[string]string{"http://": ":80", "https://": ":443"} {
		if strings.HasPrefix(origin, scheme) && strings.HasSuffix(origin, port) {
			return port
		}
	}
	return ""
}

func note(all map[string]*wanted, what, how string) {
	w := all[what]
	if w == nil {
		w = &wanted{make(map[string]bool), make(map[string]bool)}
		all[what] = w
	}
	if address, ok := strings.CutPrefix(how, "private "); ok {
		w.private[address] = true
	} else if how != "" {
		w.methods[how] = true
	}
}

// probed are the directories in which programs look for what they then do without: time zones,
// resolvers, locales.
var probed = []string{"/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/bin", "/sbin", "/root", "/home"}

func isBelow(guestPath string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return guestPath == dir || strings.HasPrefix(guestPath, strings.TrimSuffix(dir, "/")+"/")
	})
}

// addPath sorts a path that was refused, beside others.
func (n *needs) addPath(guestPath string, change bool, others []engine.Refusal) {
	whole := strings.TrimSuffix(guestPath, "/")
	switch first, rest, _ := strings.Cut(strings.TrimPrefix(whole, "/"), "/"); first {
	case "":
		n.dirs["/"] = n.dirs["/"] || change
		return
	case "net":
		n.addNet(whole, rest)
		return
	case "kv":
		// What is done through .do only the capability can tell.
		if space, key, _ := strings.Cut(rest, "/"); space != "" {
			n.spaces[space] = n.spaces[space] || change && key != ".do"
		}
		return
	case "dev":
		n.strange[whole] = true
		return
	}
	switch {
	case isBelow(whole, "/tmp"):
		n.dirs["/tmp"] = true
	case isBelow(whole, "/var/tmp"):
		n.dirs["/var/tmp"] = true
	case !change && isBelow(whole, probed...):
		n.probes[guestPath] = true
	case strings.HasSuffix(guestPath, "/"):
		n.dirs[whole] = n.dirs[whole] || change
		n.listed[whole] = true
	case slices.ContainsFunc(others, func(r engine.Refusal) bool { return r.What != whole && isBelow(r.What, whole) }):
		if change { // it was to be made; otherwise what is below it says more
			n.dirs[whole] = true
		}
	case path.Dir(whole) == "/" && path.Ext(whole) == "":
		// Whether that is a file or a directory only another round can tell.
		n.dirs[whole] = n.dirs[whole] || change
		n.listed[whole] = true
	default:
		dir := path.Dir(whole)
		n.dirs[dir] = n.dirs[dir] || change
	}
}

func (n *needs) addNet(whole, rest string) {
	kind, address, _ := strings.Cut(rest, "/")
	_, _, err := net.SplitHostPort(address)
	switch {
	case kind == "http" && address == "":
		n.http = true
	case (kind == "tcp" || kind == "tls") && err == nil:
		note(n.addresses, kind+" "+address, "")
	case rest != "" && address != "":
		n.strange[whole] = true
	}
}

// grantedDir is what is known of an allow line that mounts something.
type grantedDir struct {
	Capability, Host, Guest, Path, Namespace string
}

func (g *grantedDir) at() string {
	at := g.Path
	switch {
	case g.Capability == "dir":
		at = g.Guest
	case g.Capability == "kv" && at == "":
		at = "/kv/" + g.Namespace
	}
	if len(at) > 1 {
		at = strings.TrimSuffix(at, "/")
	}
	return at
}

func grantedDirs(granted []json.RawMessage) (all []grantedDir) {
	for _, raw := range granted {
		var g grantedDir
		if json.Unmarshal(raw, &g) == nil && g.at() != "" {
			all = append(all, g)
		}
	}
	return all
}

// regrant takes what is to be changed below a directory that is granted for that directory.
func (n *needs) regrant(granted []json.RawMessage) {
	for dir, change := range maps.Clone(n.dirs) {
		if g := over(dir, grantedDirs(granted)); g != "" && g != dir {
			delete(n.dirs, dir)
			n.dirs[g] = n.dirs[g] || change
		}
	}
}

// over is the deepest of the granted directories that a directory is, or is in.
func over(dir string, granted []grantedDir) (found string) {
	for _, g := range granted {
		if isBelow(dir, g.at()) && len(g.at()) > len(found) {
			found = g.at()
		}
	}
	return found
}

// grantsOrigin tells whether a line names an origin.
func grantsOrigin(granted []json.RawMessage, origin string) bool {
	for _, raw := range granted {
		var g struct{ Origins []string }
		if json.Unmarshal(raw, &g) == nil && slices.ContainsFunc(g.Origins, func(o string) bool {
			return strings.EqualFold(strings.TrimSuffix(o, defaultPort(o)), origin)
		}) {
			return true
		}
	}
	return false
}

// crowd is how many directories in one are taken for it as a whole.
const crowd = 3

// merge joins directories: what another one holds with the same rights needs no line of its own, and
// where there are several beside each other it is their parent that is meant.
func (n *needs) merge() {
	for {
		beside := make(map[string][]string)
		for dir := range n.dirs {
			if parent := path.Dir(dir); parent != "/" {
				beside[parent] = append(beside[parent], dir)
			}
		}
		joined := false
		for parent, dirs := range beside {
			if len(dirs) < crowd {
				continue
			}
			joined = true
			for _, dir := range dirs {
				n.dirs[parent] = n.dirs[parent] || n.dirs[dir]
				delete(n.dirs, dir)
			}
		}
		if !joined {
			break
		}
	}
	for dir, change := range maps.Clone(n.dirs) {
		for up := path.Dir(dir); up != "/"; up = path.Dir(up) {
			if writable, there := n.dirs[up]; there && (writable || !change) {
				delete(n.dirs, dir)
				break
			}
		}
	}
}

// changeMe is where the directories of the host are that the operator has yet to name: nowhere, so
// that a configuration with them is refused.
const changeMe = "/CHANGE-ME"

// lines are the allow lines, without the word, and what is to be said beside them.
func (n *needs) lines(granted []json.RawMessage) (lines, remarks []string) {
	add := func(what, line string) {
		if _, err := parseAllowLine(line); err != nil || !plain(what) {
			remarks = append(remarks, "no line can allow this: "+what)
			return
		}
		lines = append(lines, line)
	}
	for _, dir := range slices.Sorted(maps.Keys(n.dirs)) {
		line, remark := dirLine(dir, n.dirs[dir], grantedDirs(granted))
		add(dir, line)
		if remark != "" {
			remarks = append(remarks, remark)
		}
	}
	for line, origins := range n.originLines() {
		add(strings.Join(origins, " "), line)
		for _, origin := range origins {
			if grantsOrigin(granted, origin) {
				remarks = append(remarks, origin+" is allowed already: it is used with another method, or leads to an address that is not public and has to be listed as private")
			}
		}
	}
	if n.http && len(n.origins) == 0 {
		remarks = append(remarks, "it uses /net/http; which origins could not be found out: allow http <origin>")
	}
	for _, address := range slices.Sorted(maps.Keys(n.addresses)) {
		kind, target, _ := strings.Cut(address, " ")
		add(address, kind+" "+word(target)+n.addresses[address].block())
	}
	for _, space := range slices.Sorted(maps.Keys(n.spaces)) {
		line := "kv " + word(space)
		if !n.spaces[space] {
			line += " ro"
		}
		add("kv "+space, line)
	}
	for _, what := range slices.Sorted(maps.Keys(n.strange)) {
		remarks = append(remarks, "no line can allow this: "+what)
	}
	return lines, remarks
}

func dirLine(dir string, change bool, granted []grantedDir) (line, remark string) {
	if dir == "/tmp" || dir == "/var/tmp" {
		return "tmp " + dir, ""
	}
	host := changeMe
	if dir != "/" {
		host += dir
	}
	if at := slices.IndexFunc(granted, func(g grantedDir) bool { return g.Capability == "dir" && g.at() == dir }); at >= 0 {
		if host = granted[at].Host; strings.ContainsAny(host, "\"`\\\n") {
			host = changeMe
		}
		remark = "the line for " + dir + " takes the place of the one that is there"
	}
	line = "dir " + word(host) + " " + word(dir)
	if change {
		line += " rw"
	}
	return line, remark
}

// originLines joins the origins that are used in the same way. It yields lines with the origins in them.
func (n *needs) originLines() iter.Seq2[string, []string] {
	alike := make(map[[2]string][]string)
	for _, origin := range slices.Sorted(maps.Keys(n.origins)) {
		key := [2]string{n.origins[origin].block()}
		if _, err := parseAllowLine("http " + word(origin) + key[0]); err != nil || !plain(origin) {
			key[1] = origin // one that can't be must not spoil the others
		}
		alike[key] = append(alike[key], origin)
	}
	return func(yield func(string, []string) bool) {
		for _, key := range slices.SortedFunc(maps.Keys(alike), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
			line := "http"
			for _, origin := range alike[key] {
				line += " " + word(origin)
			}
			if !yield(line+key[0], alike[key]) {
				return
			}
		}
	}
}

// block is the options of a line.
func (w *wanted) block() string {
	var options string
	for _, o := range []struct {
		name   string
		values map[string]bool
	}{{"methods", w.methods}, {"private", w.private}} {
		if len(o.values) == 0 {
			continue
		}
		options += "\n\t" + o.name
		for _, value := range slices.Sorted(maps.Keys(o.values)) {
			if plain(value) {
				options += " " + word(value)
			}
		}
	}
	if options == "" {
		return ""
	}
	return " {" + options + "\n}"
}

// plain tells whether text that a guest chose can be a word of a Caddyfile: it must not be taken for a
// placeholder, the end of a line or block, or for something else than it is.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r != ' ' && (!unicode.IsPrint(r) || strings.ContainsRune("{}\"`\\#$…", r) || r == unicode.ReplacementChar)
	})
}

// word is plain text as one word of a Caddyfile.
func word(text string) string {
	if text == "" || strings.ContainsAny(text, " <;") {
		return `"` + text + `"`
	}
	return text
}

// remark is text as a comment of a Caddyfile. Caddy replaces {$NAME} in comments too.
func remark(text string) string {
	return "# " + strings.NewReplacer("{", `\u007b`, "}", `\u007d`).Replace(printable(text))
}
