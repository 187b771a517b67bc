package routes

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, set := range []struct {
		name   string
		routes string   // separated by white space, "·" is a space
		paths  []string // path → route param=value…; – is no match
	}{
		{"nothing", "", []string{"/ → –", "/a → –", " → –"}},
		{"root", "/", []string{"/ → /", " → /", "/a/b → /", "// → /", "* → –", "a → –"}},
		{"below", "/a/b", []string{
			"/a/b → /a/b", "/a/b/ → /a/b", "/a/b/c/d → /a/b",
			"/a → –", "/a/ → –", "/a/bc → –", "/A/b → –", "/a/B → –", "/ → –", "/x/a/b → –",
		}},
		{"closer", "/ /a /a/b /a/b/c", []string{
			"/ → /", "/b → /", "/a → /a", "/a/c → /a", "/a/b/x → /a/b", "/a/b/c/x → /a/b/c",
		}},
		{"empty segments", "/a/b /[id] /f/[...rest]", []string{
			"/a//b → /a/b", "//a/b → /a/b", "///a//b// → /a/b", "//x// → /[id] id=x",
			"/f//x///y// → /f/[...rest] rest=x/y", "/f// → /[id] id=f",
		}},
		{"param", "/u/[id] /u/[id]/posts/[post] /u/me", []string{
			"/u → –", "/u/ → –", "/u/1 → /u/[id] id=1", "/u/1/ → /u/[id] id=1", "/u/1/posts → /u/[id] id=1",
			"/u/1/posts/2 → /u/[id]/posts/[post] id=1 post=2", "/u/1/posts/2/3 → /u/[id]/posts/[post] id=1 post=2",
			"/u/me → /u/me", "/u/me/x → /u/me", "/u/me/posts/2 → /u/me", "/u/Me → /u/[id] id=Me",
		}},
		{"rest", "/files/[...rest]", []string{
			"/files → –", "/files/ → –", "/files/a → /files/[...rest] rest=a",
			"/files/a/b/c → /files/[...rest] rest=a/b/c", "/files/a/ → /files/[...rest] rest=a",
		}},
		{"rest and index", "/files /files/[...rest]", []string{
			"/files → /files", "/files/ → /files", "/files/a → /files/[...rest] rest=a",
		}},
		{"rest of everything", "/[...all] /a", []string{
			"/ → –", "/b/a → /[...all] all=b/a", "/a/b → /a",
		}},
		{"literal, one, rest", "/l/[...r] /l/[x] /l/a /l", []string{
			"/l → /l", "/l/a → /l/a", "/l/b → /l/[x] x=b", "/l/b/c → /l/[x] x=b",
		}},
		{"a literal beats a longer route with a param", "/a /[x]/b", []string{
			"/a/b → /a", "/c/b → /[x]/b x=c", "/c/d → –",
		}},
		{"one beats a rest and the same literal later", "/[x] /[...r]", []string{"/b/a → /[x] x=b"}},
		{"one beats rest at the first difference", "/[x]/[...r] /[y]/[z]", []string{"/1/2/3 → /[y]/[z] y=1 z=2", "/1 → –"}},
		{"a branch that leads nowhere", "/a/c /[x]/b", []string{
			"/a/b → /[x]/b x=a", "/a/c → /a/c", "/a/d → –", "/a → –",
		}},
		{"branches that lead nowhere, to the rest", "/a/b/c /a/[x]/d /[y]/b/e /[...all]", []string{
			"/a/b/c → /a/b/c", "/a/b/d → /a/[x]/d x=b", "/a/b/e → /[y]/b/e y=a", "/a/b/f → /[...all] all=a/b/f", "/a/b → /[...all] all=a/b",
		}},
		{"the closer rest", "/a/[...r] /[...all] /a/b/c", []string{
			"/a/b → /a/[...r] r=b", "/a/b/c → /a/b/c", "/a → /[...all] all=a", "/a/b/d → /a/[...r] r=b/d",
		}},
		{"names belong to the route", "/[id]/x /[name]/y", []string{"/1/x → /[id]/x id=1", "/1/y → /[name]/y name=1", "/1/z → –"}},
		{"the first of a shape", "/[id] /[name] /a /a /[...r] /[...s]", []string{"/1 → /[id] id=1", "/a → /a"}},
		{"bad routes match nothing", "/[ /a/ b /[...r]/x /_p /[i]/[i] //", []string{"/[ → –", "/%5B → –", "/a → –", "/b → –", "/_p → –", "/1/2 → –", "/ → –"}},
		{"escapes", "/a·b /50% /ü/ö /[id]/x /f/[...r] /a+b", []string{
			"/a%20b → /a·b", "/a b → /a·b", "/%61%20%62 → /a·b", "/a+b → /a+b", "/a%2bb → /a+b",
			"/50%25 → /50%", "/50%2525 → –", "/50% → –", "/50%2 → –", "/50%zz → –",
			"/%C3%BC/%c3%b6 → /ü/ö", "/ü/ö → /ü/ö", "/%FC → –",
			"/a%2Fb/x → /[id]/x id=a/b", "/%2F/x → /[id]/x id=/", "/a%20b/x → /a·b",
			"/50%2525/x → /[id]/x id=50%25", "/%00/x → /[id]/x id=\x00", "/%FF/x → /[id]/x id=\xff", "/1%2Fx → –",
			"/f/a%2Fb/c%20d → /f/[...r] r=a/b/c·d", "/f%2Fa → –",
			"/f/a%2Fb//%25 → /f/[...r] r=a/b/%",
		}},
		{"a bad escape anywhere", "/", []string{"/a/% → –", "/% → –", "/a%2/b → –", "/a%/41 → –", "/a/b/c/d/%g0 → –"}},
		{"dots", "/ /a /[id]/x /f/[...r] /a../b.. /...", []string{
			"/. → –", "/.. → –", "/a/.. → –", "/a/./x → –", "/a/../x → –", "/a/%2e%2E/x → –", "/a/.%2e → –",
			"/a/..%2Fx → –", "/a/x%2F.. → –", "/a/x%2f.%2fy → –", `/a/..\x → –`, "/a/x%5C..%5cy → –",
			"/f/../x → –", "/f/x/.. → –", "/1%2F../x → –",
			"/a/... → /a", "/f/.x/x. → /f/[...r] r=.x/x.", "/a/.x → /a", "/a../b.. → /a../b..", "/... → /",
			"/..a/x → /[id]/x id=..a", "/%2F%2F/x → /[id]/x id=//",
		}},
	} {
		t.Run(set.name, func(t *testing.T) {
			t.Parallel()
			routes := strings.Fields(set.routes)
			for i := range routes {
				routes[i] = strings.ReplaceAll(routes[i], "·", " ")
			}
			table := NewTable(routes)
			for _, line := range set.paths {
				path, want, _ := strings.Cut(line, " → ")
				want = strings.ReplaceAll(want, "·", " ")
				if got := answer(routes, table, path); got != want {
					t.Errorf("%q: got %q, want %q", path, got, want)
				}
			}
		})
	}
}

// answer is what Match says, as the tests write it.
func answer(routes []string, table *Table, path string) string {
	i, params, ok := table.Match(path)
	if !ok {
		if i != 0 || params != nil {
			return fmt.Sprint("no match, but ", i, params)
		}
		return "–"
	}
	got := routes[i]
	for _, name := range slices.Sorted(maps.Keys(params)) {
		got += " " + name + "=" + params[name]
	}
	return got
}

// reference says the same slowly: it tries every route and compares those that
// match by the definition in the package's documentation.
func reference(routes []string, path string) string {
	if path == "" {
		path = "/"
	}
	decoded, err := url.PathUnescape(path)
	if err != nil || path[0] != '/' {
		return "–"
	}
	for _, element := range strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' || r == '\\' }) {
		if element == "." || element == ".." {
			return "–"
		}
	}
	var segments []string
	for _, s := range strings.Split(path, "/") {
		if s, _ = url.PathUnescape(s); s != "" {
			segments = append(segments, s)
		}
	}
	var best []string
	answer := "–"
	for _, route := range routes {
		params, ok := matches(route, segments)
		if parts := strings.FieldsFunc(route, func(r rune) bool { return r == '/' }); ok && (answer == "–" || beats(parts, best)) {
			best = parts
			answer = route
			for _, name := range slices.Sorted(maps.Keys(params)) {
				answer += " " + name + "=" + params[name]
			}
		}
	}
	return answer
}

func matches(route string, segments []string) (params map[string]string, ok bool) {
	if Check(route) != nil {
		return nil, false
	}
	params = make(map[string]string)
	for i, part := range strings.FieldsFunc(route, func(r rune) bool { return r == '/' }) {
		switch {
		case i >= len(segments):
			return nil, false
		case strings.HasPrefix(part, "[..."):
			params[strings.Trim(part, "[.]")] = strings.Join(segments[i:], "/")
		case strings.HasPrefix(part, "["):
			params[strings.Trim(part, "[]")] = segments[i]
		case part != segments[i]:
			return nil, false
		}
	}
	return params, true
}

// beats reports whether a goes before b.
func beats(a, b []string) bool {
	rank := func(part string) int {
		switch {
		case strings.HasPrefix(part, "[..."):
			return 2
		case strings.HasPrefix(part, "["):
			return 1
		}
		return 0
	}
	for i := range min(len(a), len(b)) {
		if rank(a[i]) != rank(b[i]) {
			return rank(a[i]) < rank(b[i])
		}
	}
	return len(a) > len(b)
}

func TestMatchAsDefined(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "b", "c d", "%", "[x]", "[y]", "[z]", "[...x]", "[...r]"}
	asked := []string{"a", "b", "c%20d", "c d", "%25", "%61", "", "x%2Fy", "..", "%2E", "%", "é"}
	pick := func(from []string, n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteString("/" + from[min(random.IntN(len(from)), random.IntN(len(from)))])
		}
		return cmp.Or(b.String(), "/")
	}
	matched := 0
	for range 5000 {
		routes := make([]string, random.IntN(12))
		for i := range routes {
			routes[i] = pick(parts, 5)
		}
		table := NewTable(routes)
		for range 10 {
			path := pick(asked, 7)
			got, want := answer(routes, table, path), reference(routes, path)
			if got != want {
				t.Fatalf("routes %q, path %q: got %q, want %q", routes, path, got, want)
			}
			if got != "–" {
				matched++
			}
		}
	}
	if matched < 10_000 {
		t.Errorf("only %d of 50000 matched: the test says little", matched)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("/a\n/[x]/b\n/[...r]\n/", "/a/b")
	f.Add("/a/c\n/[x]/b", "/a//b/")
	f.Add("/a b\n/50%\n/[id]/[...id]", "/a%20b/%2F/..%2f")
	f.Add("/a/b/c\n/a/[x]/d\n/[y]/b/e\n/[...all]", "/a/b/%66")
	f.Add("/[id]/x\n/[name]/y", `/%5c..%5c/x`)
	f.Fuzz(func(t *testing.T, list, path string) {
		if len(list) > 1<<10 || len(path) > 1<<10 {
			return
		}
		routes := strings.Split(list, "\n")
		if got, want := answer(routes, NewTable(routes), path), reference(routes, path); got != want {
			t.Errorf("routes %q, path %q: got %q, want %q", routes, path, got, want)
		}
	})
}

// A literal and a param on every one of 129 levels are 2^129 ways for one who
// tries them all.
func TestMatchManyWays(t *testing.T) {
	t.Parallel()
	var routes []string
	path, literals, params := "", "", ""
	for i := range MaxDepth {
		routes = append(routes, literals+fmt.Sprintf("/[p%d]/x", i), params+"/a/y")
		path, literals, params = path+"/a", literals+"/a", params+fmt.Sprintf("/[q%d]", i)
	}
	table := NewTable(routes)
	for _, end := range []string{"", "/b", "/x", "/y", strings.Repeat("/b", 100_000), strings.Repeat("/", 100_000)} {
		if got, want := answer(routes, table, path+end), reference(routes, path+end); got != want {
			t.Errorf("%.20q: got %q, want %q", end, got, want)
		}
	}
	all := NewTable([]string{"/[...all]"})
	if _, params, _ := all.Match(path); params["all"] != path[1:] {
		t.Errorf("a long rest: got %q", params["all"])
	}
}

func TestMatchAllocates(t *testing.T) {
	table := NewTable([]string{"/", "/a b/c", "/u/[id]", "/u/me/[x]/y", "/" + strings.Repeat("n", 200)})
	hostile := strings.Repeat("/a%20b", 100_000)
	for path, want := range map[string]float64{
		"/":                       0,
		"/a%20b/c":                0,
		"/a b/c/d/e//f":           0,
		"/%61%20b":                0,
		hostile:                   0,
		hostile + "/..":           0,
		"/" + hostile[1:500_000]:  0,
		"/%" + hostile:            0,
		"/u/b":                    2, // a map, that is
		"/u/b%20":                 3,
		"/u/me/no":                2,
		strings.Repeat("/", 1000): 0,
	} {
		if got := testing.AllocsPerRun(10, func() { table.Match(path) }); got > want {
			t.Errorf("%.30q: got %v allocations, want %v", path, got, want)
		}
	}
}

func TestMatchConcurrently(t *testing.T) {
	t.Parallel()
	routes := numbered(100)
	table := NewTable(routes)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				path := fmt.Sprintf("/api/r%d/items/%d", i%100, i)
				if got, want := answer(routes, table, path), fmt.Sprintf("/api/r%d/items/[id] id=%d", i%100, i); got != want {
					t.Errorf("%q: got %q, want %q", path, got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func numbered(n int) []string {
	routes := make([]string, n)
	for i := range routes {
		routes[i] = fmt.Sprintf("/api/r%d/items/[id]", i)
	}
	return routes
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		literals := make([]string, n)
		for i := range literals {
			literals[i] = fmt.Sprintf("/api/r%d/items", i)
		}
		for name, routes := range map[string][]string{"literal": literals, "param": numbered(n)} {
			b.Run(fmt.Sprintf("%s/routes=%d", name, n), func(b *testing.B) {
				table := NewTable(routes)
				b.ReportAllocs()
				for b.Loop() {
					if _, _, ok := table.Match("/api/r7/items/4711"); !ok {
						b.Fatal("no match")
					}
				}
			})
		}
	}
	// The worst there is: 8,192 routes, each beside all others, and none matches.
	b.Run("worst", func(b *testing.B) {
		routes := []string{""}
		for level := range 13 {
			var next []string
			for _, r := range routes {
				next = append(next, r+"/a", fmt.Sprintf("%s/[p%d]", r, level))
			}
			routes = next
		}
		for i := range routes {
			routes[i] += "/end"
		}
		table := NewTable(routes)
		path := strings.Repeat("/a", 5000)
		for b.Loop() {
			if _, _, ok := table.Match(path); ok {
				b.Fatal("a match")
			}
		}
	})
	b.Run("longpath", func(b *testing.B) {
		table := NewTable(numbered(10))
		path := "/api/r7/items/" + strings.Repeat("/a%20", 1<<18)
		b.SetBytes(int64(len(path)))
		for b.Loop() {
			table.Match(path)
		}
	})
}
