package rewrite_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestData: memory after instantiation is what the segments made it before.
func TestData(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		make     func(b *builder)
		segments int // afterwards
	}{
		{"none", func(b *builder) {}, 0},
		{"one", func(b *builder) { b.active(7, "one") }, 1},
		{"empty ones", func(b *builder) { b.active(7, ""); b.active(65536, ""); b.active(9, "x") }, 1},
		{"neighbours", func(b *builder) { b.active(0, "abc"); b.active(3, "def"); b.active(10, "ghi") }, 1},
		{"later ones win", func(b *builder) { b.active(0, "aaaaaa"); b.active(2, "bb"); b.active(5, "cc"); b.active(0, "d") }, 1},
		{"backwards", func(b *builder) { b.active(300, "c"); b.active(200, "b"); b.active(100, "a") }, 1},
		{"far apart", func(b *builder) { b.active(0, "a"); b.active(30_000, "b"); b.active(65_535, "c") }, 3},
		{"gap of 256", func(b *builder) { b.active(0, "a"); b.active(257, "b") }, 1},
		{"gap of 257", func(b *builder) { b.active(0, "a"); b.active(258, "b") }, 2},
		{"passive ones stay", func(b *builder) { b.active(0, "a"); b.passive("p"); b.active(2, "b"); b.passive("q") }, 3},
		{"beyond the memory", func(b *builder) { b.active(0, "a"); b.active(65_536, "b"); b.active(5, "c") }, 3},
		{"negative", func(b *builder) { b.active(0, "a"); b.active(-1, "b") }, 2},
		{"half beyond", func(b *builder) { b.active(65_534, "abc") }, 1},
		{"offset by a global", func(b *builder) {
			b.importGlobal("spectest", "global_i32", i32, false)
			b.data = append(b.data, cat([]byte{0, 0x23, 0, 0x0b}, str("g")))
			b.active(0, strings.Repeat("x", 1000))
		}, 2},
		{"memory index", func(b *builder) { b.data = append(b.data, cat([]byte{2, 0, 0x41, 5, 0x0b}, str("g"))) }, 1},
		{"many", func(b *builder) {
			for i := range int32(3000) {
				b.active(i*7919%60_000, fmt.Sprint(i))
			}
		}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			b.memory(1, 0)
			b.export("memory", 2, 0)
			test.make(b)
			out := checkAcceptance(t, b.bytes())
			if out == nil {
				t.Fatal("refused")
			}
			before, after := newWorld(t, false), newWorld(t, true)
			errBefore, errAfter := before.load("", b.bytes()), after.load("", out)
			if (errBefore == nil) != (errAfter == nil) {
				t.Fatalf("got %v, want %v", errAfter, errBefore)
			}
			if errBefore == nil {
				want, _ := before.modules[""].Memory().Read(0, 65536)
				got, _ := after.modules[""].Memory().Read(0, 65536)
				if !bytes.Equal(got, want) {
					t.Error("different memory")
				}
			}
			_, report, _ := rewrite.Module(b.bytes())
			if report.MergedSegments != test.segments || report.Image != nil {
				t.Errorf("%d segments, want %d; %d runs", report.MergedSegments, test.segments, len(report.Image))
			}
			detached(t, b.bytes(), before.modules[""])
		})
	}
}

// detached: without its segments a module has the same memory after instantiation and the image, or has kept them.
func detached(t *testing.T, wasm []byte, before api.Module) {
	out, report, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: true, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, true)
	if err := w.loadWith("", out, report.Image); (err == nil) != (before != nil) {
		t.Fatalf("detached: %v", err)
	}
	stayed := report.MergedSegments
	if report.Image != nil {
		for i, run := range report.Image {
			if len(run.Bytes) == 0 || i > 0 && report.Image[i-1].Offset+uint32(len(report.Image[i-1].Bytes)) >= run.Offset {
				t.Errorf("run %d is empty, or not beyond the one before", i)
			}
		}
		stayed += len(report.Image)
	}
	if _, report, _ := rewrite.Module(wasm); stayed != report.MergedSegments {
		t.Errorf("%d runs and segments, %d segments without detaching", stayed, report.MergedSegments)
	}
	if before == nil {
		return
	}
	want, _ := before.Memory().Read(0, 65536)
	if got, _ := w.modules[""].Memory().Read(0, 65536); !bytes.Equal(got, want) {
		t.Error("different memory, detached")
	}
}

// TestNames: a stack trace shows the module's own names.
func TestNames(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.importFunc("spectest", "print", nil, nil)
	inner := b.function(nil, nil, nil, 0x00)
	outer := b.function(nil, nil, nil, 0x10, byte(inner))
	unnamed := b.function(nil, nil, nil, 0x10, byte(outer))
	b.export("run", 0, unnamed)
	long := strings.Repeat("é", 1000)
	b.custom = customSection("name", cat([]byte{0}, vec(str("mod")), []byte{1},
		vec(cat([]byte{4}, uleb(0), str("host"), uleb(inner), str("inner"), uleb(outer), str(long), uleb(1000), str("nobody"))),
		[]byte{2}, vec(cat([]byte{1}, uleb(inner), []byte{1, 0}, str("local")))))
	w, m := rewritten(t, b)
	_, err := m.ExportedFunction("run").Call(w.ctx)
	if err == nil {
		t.Fatal("no trap")
	}
	want := "wasm error: unreachable\nwasm stack trace:\n\tmod.inner()\n\tmod." + long[:512] + "()\n\tmod.$6()"
	if err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestNameSections: odd name sections are taken as wazero takes them.
func TestNameSections(t *testing.T) {
	t.Parallel()
	function := cat([]byte{1}, uleb(0), str("f"))
	for name, content := range map[string][]byte{
		"empty":                      nil,
		"module":                     cat([]byte{0}, vec(str("m"))),
		"size too small":             cat([]byte{0, 0}, str("m")),
		"size too small, more":       cat([]byte{0, 0}, str("m"), []byte{1}, vec(function)),
		"size too large":             cat([]byte{0, 9}, str("m")),
		"functions twice":            cat([]byte{1}, vec(function), []byte{1}, vec(function)),
		"functions before module":    cat([]byte{1}, vec(function), []byte{0}, vec(str("m"))),
		"unknown subsection":         cat([]byte{77}, vec([]byte("anything"))),
		"unknown subsection, cut":    {77, 100, 1},
		"not UTF-8":                  cat([]byte{0}, vec(str("\xff"))),
		"function name not UTF-8":    cat([]byte{1}, vec(cat([]byte{1}, uleb(0), str("\xff")))),
		"descending":                 cat([]byte{1}, vec(cat([]byte{2}, uleb(1), str("b"), uleb(0), str("a")))),
		"the same index twice":       cat([]byte{1}, vec(cat([]byte{2}, uleb(0), str("b"), uleb(0), str("a")))),
		"index of our function":      cat([]byte{1}, vec(cat([]byte{1}, uleb(4), str("b")))),
		"locals":                     cat([]byte{2}, vec(cat([]byte{1, 0, 1, 0}, str("x")))),
		"locals that end too early":  cat([]byte{2}, vec([]byte{1, 0, 9, 0})),
		"just an ID":                 {1},
		"ID and half a size":         {1, 0x80},
		"count that lies":            {1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"sizes that pass the bottom": cat([]byte{0, 0x7f}, str("m"), []byte{77, 0, 77, 0}),
	} {
		for _, last := range []bool{true, false} {
			b := newBuilder()
			b.function(nil, nil, nil)
			b.function(nil, nil, nil)
			b.custom = customSection("name", content)
			if !last {
				b.custom = cat(b.custom, customSection("x", nil))
			}
			if checkAcceptance(t, b.bytes()); t.Failed() {
				t.Fatalf("%s, last section: %t", name, last)
			}
		}
	}
	b := newBuilder()
	b.custom = cat(customSection("name", nil), customSection("name", nil))
	checkAcceptance(t, b.bytes())
	checkAcceptance(t, cat([]byte("\x00asm\x01\x00\x00\x00"), customSection("name", function), b.bytes()[8:]))
}

// TestStart: instantiating runs no code; the start function waits under its export.
func TestStart(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	g := b.global(i32, true, 0x41, 0)
	b.export("g", 3, g)
	b.start = uleb(b.function(nil, nil, nil, 0x41, 1, 0x24, byte(g)))
	out := checkAcceptance(t, b.bytes())
	w := newWorld(t, true)
	w.skipStart = true
	if err := w.load("", out); err != nil {
		t.Fatal(err)
	}
	m := w.modules[""]
	if got := m.ExportedGlobal("g").Get(); got != 0 {
		t.Error("the start function has run")
	}
	if _, err := w.call(m, rewrite.StartExport); err != nil {
		t.Fatal(err)
	}
	if got := m.ExportedGlobal("g").Get(); got != 1 {
		t.Error("the start function does nothing")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	_, got, err := rewrite.Module(everything())
	if err != nil {
		t.Fatal(err)
	}
	if got.CompileTime <= 0 || got.CompileTime > time.Second || got.CodeBytes == 0 {
		t.Errorf("%v, %d bytes of code", got.CompileTime, got.CodeBytes)
	}
	got.CompileTime, got.CodeBytes = 0, 0
	want := &rewrite.Report{
		Imports: []rewrite.Import{
			{Module: "env", Name: "f", Kind: "func", Type: "(i32) -> (i32)"},
			{Module: "env", Name: "g", Kind: "global", Type: "i32"},
			{Module: "env", Name: "t", Kind: "table", Type: "funcref"},
		},
		Exports: []rewrite.Export{
			{Name: "f", Kind: "func", Type: "(i32) -> (i32, i32)"},
			{Name: "memory", Kind: "memory"},
			{Name: "table", Kind: "table", Type: "externref"},
			{Name: "global", Kind: "global", Type: "mut i64"},
		},
		Memory: &rewrite.Limits{Min: 2, Max: 3, HasMax: true},
		Tables: []rewrite.Table{
			{Type: "funcref", Limits: rewrite.Limits{Min: 1}},
			{Type: "externref", Limits: rewrite.Limits{Min: 1, Max: 4, HasMax: true}},
		},
		Functions: 2, Globals: 2, DataSegments: 3, MergedSegments: 2, DataBytes: 9,
		MutatesTables: true, PassiveSegments: true, HasStart: true, ModuleName: "mod",
		Unrestorable: `exports no main function "_start"`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
