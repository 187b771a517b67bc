package rewrite_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// checkAcceptance fails the test unless wazero accepts the rewritten module if and only if it accepts the original. It
// returns the rewritten module, or nil if there is none.
func checkAcceptance(t testing.TB, wasm []byte) []byte {
	t.Helper()
	out, report, err := rewrite.Module(wasm)
	var refused *rewrite.Error
	switch {
	case err == nil:
		if report == nil {
			t.Fatal("no report")
		}
		original, rewritten := compile(wasm, false), compile(out, false)
		if (original == nil) != (rewritten == nil) {
			// The interpreter does not know all encodings of some instructions.
			original, rewritten = compile(wasm, true), compile(out, true)
		}
		if (original == nil) != (rewritten == nil) {
			t.Errorf("original: %v, rewritten: %v\n%x", original, rewritten, wasm)
		}
		if _, _, err := rewrite.ModuleWith(wasm, rewrite.Options{}); err != nil {
			t.Errorf("without metering: %v", err)
		}
		detached, report, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: true, Detach: true})
		switch {
		case err != nil:
			t.Errorf("detached: %v", err)
		case len(report.Image) > 0 && crc32.ChecksumIEEE(wasm)%4 == 0: // a part is plenty
			if err := compile(detached, false); (err == nil) != (original == nil) {
				t.Errorf("original: %v, detached: %v\n%x", original, err, wasm)
			}
		}
		return out
	case !errors.As(err, &refused):
		t.Fatalf("error of type %T: %v", err, err)
	case refused.Reason == "" || refused.Offset < 0 || refused.Offset > len(wasm):
		t.Errorf("bad error %+v", refused)
	case refused.Kind == rewrite.Malformed && !rewrite.Overrun(refused) && !hasLargeNumber(wasm):
		if err := compile(wasm, false); err == nil {
			t.Errorf("refused, but wazero accepts it: %v\n%x", refused, wasm)
		}
	}
	return nil
}

// hasLargeNumber tells whether something in a module could be read as a number so large that wazero, which believes
// every count, would die of it. Behind the place for which a module was refused nobody has looked at the counts.
func hasLargeNumber(wasm []byte) bool {
	for i := range wasm {
		if n, read := binary.Uvarint(wasm[i:min(len(wasm), i+5)]); read <= 0 && i+5 <= len(wasm) || n > 1<<20 {
			return true
		}
	}
	return false
}

// specModules calls f with modules of the specification's test suite, good and bad ones.
func specModules(t testing.TB, f func(name string, wasm []byte)) {
	t.Helper()
	dir := filepath.Join(wazeroDir(t), "internal", "integration_test", "spectest")
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".wasm") {
			return err
		}
		wasm, err := os.ReadFile(path)
		if err == nil {
			name, _ := filepath.Rel(dir, path)
			f(name, wasm)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAcceptSpecModules includes the test suites of proposals that are not enabled.
func TestAcceptSpecModules(t *testing.T) {
	t.Parallel()
	n := 0
	specModules(t, func(name string, wasm []byte) {
		n++
		checkAcceptance(t, wasm)
		if t.Failed() {
			t.Fatal(name)
		}
	})
	if n < 2000 {
		t.Fatalf("only %d modules", n)
	}
}

// TestTruncated cuts a module with every kind of section at every byte.
func TestTruncated(t *testing.T) {
	t.Parallel()
	wasm := everything()
	if checkAcceptance(t, wasm) == nil {
		t.Fatal("the module itself is refused")
	}
	for i := range wasm {
		checkAcceptance(t, wasm[:i])
	}
}

// TestMutated changes every byte of that module to many other values.
func TestMutated(t *testing.T) {
	t.Parallel()
	wasm := everything()
	for i := 8; i < len(wasm); i++ {
		changed := append([]byte(nil), wasm...)
		for b := range 256 {
			if edge := b < 4 || b > 0x7d && b < 0x82 || b > 0xfd; !edge && b%5 != i%5 {
				continue // a fifth of them is plenty; the fuzzer takes the rest
			}
			changed[i] = byte(b)
			checkAcceptance(t, changed)
			if t.Failed() {
				t.Fatalf("byte %d = %#02x", i, b)
			}
		}
	}
}

// everything is a small module that uses every kind of section and index.
func everything() []byte {
	b := newBuilder()
	host := b.importFunc("env", "f", []byte{i32}, []byte{i32})
	b.importGlobal("env", "g", i32, false)
	b.imports = append(b.imports, cat(str("env"), str("t"), []byte{1, funcref, 0, 1}))
	b.importedTables++
	b.memory(2, 3)
	b.table(externref, 1, 4)
	g := b.global(i64, true, 0x42, 5)
	b.global(i32, false, 0x23, 0)
	f := b.function([]byte{i32}, []byte{i32, i32}, []byte{i64, v128},
		0x20, 0, // local.get 0
		0x02, 0x7f, // block i32
		0x20, 0, 0x20, 0, 0x0d, 0, // br_if 0
		0x03, 0x40, 0x41, 1, 0x0d, 0, 0x0b, // loop, br_if 0, end
		0x0b,                         // end
		0x10, byte(host), 0x6a, 0x1a, // call, add, drop
		0x23, byte(g), 0x21, 1, // global.get, local.set
		0x42, 7, 0x24, byte(g), // global.set
		0x41, 0, 0x41, 0, 0x41, 4, 0xfc, 8, 1, 0, // memory.init 1
		0xfc, 9, 1, // data.drop
		0x41, 0, 0x20, 0, 0x41, 4, 0xfc, 10, 0, 0, // memory.copy
		0x41, 0, 0x20, 0, 0x20, 0, 0xfc, 11, 0, // memory.fill
		0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 12, 1, 0, // table.init
		0xfc, 13, 1, // elem.drop
		0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 14, 0, 0, // table.copy
		0xd0, externref, 0x41, 1, 0xfc, 15, 1, 0x1a, // table.grow
		0xfc, 16, 1, 0x1a, // table.size
		0x41, 0, 0xd0, externref, 0x41, 0, 0xfc, 17, 1, // table.fill
		0x41, 0, 0xd2, 1, 0x26, 0, // table.set
		0x41, 1, 0x40, 0, 0x1a, // memory.grow
		0x41, 0, 0x28, 2, 0, 0x1a, // i32.load
		0x41, 0, 0xfd, 0, 4, 0, 0x21, 2, // v128.load
		0x41, 3, 0x41, 4, 0x41, 0, 0x1c, 1, i32, 0x1a, // select i32
		0x41, 1, 0x04, 0x7f, 0x41, 2, 0x05, 0x41, 3, 0x0b, 0x1a, // if else
		0x41, 1, 0x41, 0, 0x11, 0, 0, 0x1a, // call_indirect
		0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, 0x0b, // br_table
		0x20, 0, 0x41, 1, 0x0f) // return
	start := b.function(nil, nil, nil)
	b.export("f", 0, f)
	b.export("memory", 2, 0)
	b.export("table", 1, 1)
	b.export("global", 3, g)
	b.start = uleb(start)
	b.elem(0, f)
	b.rawElem(cat([]byte{1, 0, 1}, uleb(f)))                                    // passive
	b.rawElem([]byte{6, 1, 0x41, 0, 0x0b, externref, 1, 0xd0, externref, 0x0b}) // expressions
	b.rawElem(cat([]byte{3, 0, 1}, uleb(f)))                                    // declarative
	b.active(4, "abc")
	b.passive("defg")
	b.active(9, "hi")
	b.counted()
	names := cat([]byte{0}, vec(str("mod")), []byte{1}, vec(cat([]byte{2}, uleb(0), str("host"), uleb(f), str("main"))))
	b.custom = cat(customSection("name", names), customSection("producers", []byte{0}))
	return b.bytes()
}

// TestEveryOpcode puts every instruction, known or not, into unreachable code, where operands of all types are on the
// stack, followed by zeros, which are good immediates for most and instructions (unreachable) where they are none.
func TestEveryOpcode(t *testing.T) {
	t.Parallel()
	var codes [][]byte
	for op := range 256 {
		codes = append(codes, []byte{byte(op)}, []byte{0xfc, byte(op)}, []byte{0xfd, byte(op)},
			[]byte{0xfc, byte(op) | 0x80, 0x00}, []byte{0xfd, byte(op), 0x01}, []byte{0xfe, byte(op)})
		for imm := range 256 {
			codes = append(codes, []byte{byte(op), byte(imm)})
		}
	}
	for _, code := range codes {
		b := newBuilder()
		b.memory(1, 0)
		b.table(funcref, 1, 0)
		b.table(externref, 1, 0)
		b.global(i32, true, 0x41, 0)
		f := b.function([]byte{i32}, nil, []byte{i32}, cat([]byte{0x00}, code, rep(20, 0))...)
		b.elem(0, f)
		b.passive("x")
		b.counted()
		checkAcceptance(t, b.bytes())
		if t.Failed() {
			t.Fatalf("%x", code)
		}
	}
}

// FuzzModule looks for modules that are accepted before and refused after, or the other way round.
func FuzzModule(f *testing.F) {
	f.Add(everything())
	f.Add(spectest)
	f.Add(killer)
	n := 0
	specModules(f, func(name string, wasm []byte) {
		if n++; n%17 == 0 && len(wasm) < 1<<10 {
			f.Add(wasm)
		}
	})
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > 1<<16 {
			t.Skip("long modules only slow the fuzzer down")
		}
		checkAcceptance(t, wasm)
	})
}
