package gojinn

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// benchTable is the table that function bench prints: its rows by name, with
// their cells by column.
func benchTable(t *testing.T, stdout string) map[string]map[string]string {
	t.Helper()
	gap := regexp.MustCompile(" {2,}")
	var head []string
	rows := make(map[string]map[string]string)
	for line := range strings.Lines(stdout) {
		cells := gap.Split(strings.TrimRight(line, "\n"), -1)
		switch {
		case cells[0] == "" && len(cells) > 2:
			head = cells
		case head != nil && len(cells) == len(head):
			row := make(map[string]string)
			for i, cell := range cells {
				row[head[i]] = cell
			}
			rows[cells[0]] = row
		case head != nil && len(cells) > 1:
			t.Errorf("a row of %d columns below %d: %q", len(cells), len(head), line)
		}
	}
	return rows
}

func TestBenchCommand(t *testing.T) {
	short := newGuest(1)
	short.Main(code(short.transfer(short.read, 0, 4096, num(4096)), short.print(1, 1024, `{"status":404}`))...)
	changesTable := newGuest(1)
	changesTable.Table(2)
	late := []string{
		"snapshot off: no reset: it ended without reading its standard input",
		"snapshot on: no snapshot: it ended without reading its standard input",
	}
	every := func(reason string) (notes []string) {
		for _, row := range []string{"as configured", "idle 0", "snapshot off", "snapshot on"} {
			notes = append(notes, row+": 5 of 5 calls ended with "+reason)
		}
		return notes
	}
	trapped := newGuest(1)
	trapped.Main(code(trapped.transfer(trapped.read, 0, 4096, num(4096)), 0x00)...)

	for _, test := range []struct {
		name    string
		module  []byte
		options string
		starts  [4]string // by row; "": there is none
		facts   []string
		notes   []string
		kept    bool // by the first row
	}{
		{"short", short.Bytes(), "", [4]string{"reset", "fresh", "reset", "snapshot"},
			[]string{"start reset: its start-up takes next to nothing", "restored by ", "answer status 404", "image "}, nil, false},
		{"pure", prepares(newGuest(1), store(8192, num(1))), "", [4]string{"snapshot", "fresh", "reset", "snapshot"},
			[]string{"start snapshot: its start-up depends on nothing", "answer status 200", "calls 5 in each row"}, nil, true},
		{"configured otherwise", prepares(newGuest(1)), "snapshot off", [4]string{"reset", "fresh", "reset", "snapshot"},
			[]string{"start reset: snapshot is off"}, nil, false},
		{"configured to keep none", prepares(newGuest(1)), "idle 0", [4]string{"fresh", "fresh", "reset", "snapshot"},
			[]string{"start fresh: idle and warm are 0"}, nil, false},
		{"late", answer("{}"), "", [4]string{"late", "fresh", "late", "late"},
			[]string{"start late: it ended without reading"}, late, false},
		{"can't be restored", prepares(changesTable, num(0), 0xd0, 0x70, 0x26, 0), "", [4]string{"fresh", "fresh", "", ""},
			[]string{"start fresh: the module "}, nil, false},
		{"trap", trapped.Bytes(), "", [4]string{"reset", "fresh", "reset", "reset"},
			[]string{"answer none, trap: "}, every("trap"), false},
		{"fuel", prepares(newGuest(1)), "fuel 1", [4]string{"late", "fresh", "late", "late"},
			[]string{"answer none, fuel: "}, every("fuel"), false},
		{"no memory", prepares(newGuest(20)), "memory 2MiB", [4]string{"none", "none", "none", "none"},
			[]string{"start not known", "answer none, overloaded: "}, every("overloaded"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			module := moduleFile(t, "fn.wasm", test.module)
			config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"),
				"{\n\tgojinn {\n\t\tmemory 1MiB\n\t}\n}\nhttp://localhost:1 {\n\tgojinn "+module+" {\n\t\t"+test.options+"\n\t}\n}\n")
			stdout, _, err := runCommand(t, "", "bench", module, "--calls", "5", "--config", config)
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(strings.Fields(stdout), " ")
			for _, want := range append(test.facts, test.notes...) {
				if !strings.Contains(said, want) {
					t.Errorf("got\n%s\nwant %q in it", stdout, want)
				}
			}
			if len(test.notes) == 0 && strings.Contains(said, " calls ended with ") {
				t.Errorf("got\n%s\nwant no failed calls", stdout)
			}
			rows := benchTable(t, stdout)
			for i, start := range test.starts {
				row := rows[benchSettings[i].name]
				if row["start"] != start {
					t.Errorf("%s: got %v, want start %q in\n%s", benchSettings[i].name, row, start, stdout)
				}
				if start != "" && start != "none" {
					checkBenchRow(t, row, len(test.notes) == 0)
				}
			}
			if kept := rows["as configured"]["kept"]; (kept != "0 B" && kept != "-") != test.kept {
				t.Errorf("got %s kept, want some: %v", kept, test.kept)
			}
		})
	}
}

// checkBenchRow checks what holds for the row of any function that runs. One that
// does something also changes memory.
func checkBenchRow(t *testing.T, row map[string]string, does bool) {
	t.Helper()
	var took []time.Duration
	for _, column := range []string{"min", "p50", "p99"} {
		d, err := time.ParseDuration(row[column])
		if err != nil {
			t.Errorf("%s: %v", column, err)
		}
		took = append(took, d)
	}
	if took[0] <= 0 || took[0] > took[1] || took[1] > took[2] {
		t.Errorf("got min %s, p50 %s, p99 %s", took[0], took[1], took[2])
	}
	if fuel, err := strconv.Atoi(row["fuel"]); err != nil || fuel <= 0 {
		t.Errorf("got fuel %q", row["fuel"])
	}
	if row["memory"] != "64 KiB" {
		t.Errorf("got memory %s, want the guest's page", row["memory"])
	}
	pages, err := strconv.Atoi(row["pages"])
	if fresh := row["start"] == "fresh"; fresh && row["pages"] != "-" || !fresh && (err != nil || does && pages <= 0 || pages > 16) {
		t.Errorf("%s: got %s pages copied", row["start"], row["pages"])
	}
}

// TestBenchCommandFlags: requests and grants are those of function call.
func TestBenchCommandFlags(t *testing.T) {
	module := moduleFile(t, "echoes.wasm", readsAnswer())
	request := writeFile(t, filepath.Join(t.TempDir(), "request.json"), `{"status":203}`)
	for _, test := range []struct {
		name, stdin string
		args        []string
		want, err   string
	}{
		{"request of a file", "", []string{module, request, "--calls", "1"}, "status 203", ""},
		{"request of standard input", `{"status":204}`, []string{module, "-", "--calls", "1"}, "status 204", ""},
		{"grants", "", []string{module, request, "--calls", "1", "--allow", "env A b", "--arg", "x"}, "status 203", ""},
		{"unknown capability", "", []string{module, "--allow", "teleport x"}, "", `"teleport" is not a capability`},
		{"no calls", "", []string{module, "--calls", "0"}, "", "--calls: 0 is not between 1 and 1000000"},
		{"too many calls", "", []string{module, "--calls", "1000001"}, "", "--calls: 1000001 is not"},
		{"no number", "", []string{module, "--calls", "x"}, "", "--calls"},
		{"no request", "nonsense", []string{module, "-"}, "", "not a JSON object"},
		{"no module", "", []string{filepath.Join(t.TempDir(), "none.wasm")}, "", "none.wasm"},
		{"no such module", "", []string{writeFile(t, filepath.Join(t.TempDir(), "bad.wasm"), "not wasm")}, "", "not a WebAssembly module"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, _, err := runCommand(t, test.stdin, append([]string{"bench"}, test.args...)...)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got %v, want %q", err, test.err)
			}
			if !strings.Contains(stdout, test.want) {
				t.Errorf("got\n%s\nwant %q in it", stdout, test.want)
			}
		})
	}
}

// readsAnswer is a program that answers with its request.
func readsAnswer() []byte {
	g := newGuest(2)
	g.Main(code(g.transfer(g.read, 0, 1024, num(60000)), g.transfer(g.write, 1, 1024, load(16)))...)
	return g.Bytes()
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(100 - i)
	}
	for _, test := range []struct {
		values []int64
		q      float64
		want   int64
	}{
		{[]int64{7}, 0, 7}, {[]int64{7}, 0.99, 7}, {[]int64{3, 1, 2}, 0, 1}, {[]int64{3, 1, 2}, 0.5, 2}, {[]int64{4, 3, 1, 2}, 0.5, 2},
		{hundred, 0.99, 99}, {hundred, 0.5, 50}, {hundred, 1, 100},
	} {
		if got := quantile(test.values, test.q); got != test.want {
			t.Errorf("%v of %v: got %d, want %d", test.q, test.values, got, test.want)
		}
	}
}
