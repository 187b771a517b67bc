package rewrite_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// killer has 25 bytes and says that it has 2^32-1 function bodies: wazero allocates 300 GB for them, which no recover
// catches.
var killer = []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\xff\xff\xff\xff\x0f")

// section makes a module of a header and sections.
func sections(ids_contents ...any) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for i := 0; i < len(ids_contents); i += 2 {
		out = cat(out, []byte{byte(ids_contents[i].(int))}, vec([]byte(ids_contents[i+1].(string))))
	}
	return out
}

// body makes a module with one function of one i32 parameter, a table, a memory, a global and the given code.
func body(code ...byte) []byte { return bodyWith(nil, code...) }

func bodyWith(locals []byte, code ...byte) []byte {
	b := newBuilder()
	b.memory(1, 0)
	b.table(funcref, 1, 0)
	b.global(i32, true, 0x41, 0)
	b.function([]byte{i32}, nil, locals, code...)
	return b.bytes()
}

// exporting makes a module that exports its memory under a name.
func exporting(name string) []byte {
	b := newBuilder()
	b.memory(1, 0)
	b.export(name, 2, 0)
	return b.bytes()
}

const huge = "\xff\xff\xff\xff\x0f"

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		wasm   []byte
		kind   rewrite.Kind
		reason string // a part of it
	}{
		{"empty", nil, rewrite.Malformed, "empty"},
		{"one byte", []byte{0}, rewrite.Malformed, "not a WebAssembly module"},
		{"text", []byte("(module)"), rewrite.Malformed, "not a WebAssembly module"},
		{"ELF", []byte("\x7fELF\x02\x01\x01\x00"), rewrite.Malformed, "not a WebAssembly module"},
		{"magic alone", []byte("\x00asm"), rewrite.Malformed, "ends after"},
		{"version 2", []byte("\x00asm\x02\x00\x00\x00"), rewrite.Malformed, "version"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), rewrite.Unsupported, "component"},
		{"killer", killer, rewrite.Malformed, "do not fit"},

		{"section beyond the file", []byte("\x00asm\x01\x00\x00\x00\x01\x7f"), rewrite.Malformed, "only"},
		{"section size overlong", []byte("\x00asm\x01\x00\x00\x00\x01\x80\x80\x80\x80\x80\x00"), rewrite.Malformed, "number"},
		{"section size over 32 bits", []byte("\x00asm\x01\x00\x00\x00\x01\xff\xff\xff\xff\x1f"), rewrite.Malformed, "number"},
		{"section twice", sections(1, "\x00", 1, "\x00"), rewrite.Malformed, "order"},
		{"sections out of order", sections(3, "\x00", 1, "\x00"), rewrite.Malformed, "order"},
		{"data count after code", sections(10, "\x00", 12, "\x00"), rewrite.Malformed, "order"},
		{"unknown section", sections(14, ""), rewrite.Malformed, "unknown section"},
		{"tag section", sections(13, "\x00"), rewrite.Unsupported, "exceptions"},
		{"bytes left over", sections(1, "\x00\x00"), rewrite.Malformed, "left over"},

		{"types that lie", sections(1, huge), rewrite.Malformed, "do not fit"},
		{"parameters that lie", sections(1, "\x01\x60"+huge), rewrite.Malformed, "do not fit"},
		{"results that lie", sections(1, "\x01\x60\x00"+huge), rewrite.Malformed, "do not fit"},
		{"imports that lie", sections(2, huge), rewrite.Malformed, "do not fit"},
		{"import name that lies", sections(2, "\x01"+huge+"\x00\x00\x00\x00"), rewrite.Malformed, "do not fit"},
		{"functions that lie", sections(1, "\x01\x60\x00\x00", 3, huge), rewrite.Malformed, "do not fit"},
		{"tables that lie", sections(4, huge), rewrite.Malformed, "do not fit"},
		{"memories that lie", sections(5, huge), rewrite.Malformed, "more than one"},
		{"globals that lie", sections(6, huge), rewrite.Malformed, "do not fit"},
		{"exports that lie", sections(7, huge), rewrite.Malformed, "do not fit"},
		{"element segments that lie", sections(9, huge), rewrite.Malformed, "do not fit"},
		{"elements that lie", sections(4, "\x01\x70\x00\x00", 9, "\x01\x00\x41\x00\x0b"+huge), rewrite.Malformed, "do not fit"},
		{"element expressions that lie", sections(9, "\x01\x05\x70"+huge), rewrite.Malformed, "do not fit"},
		{"bodies that lie", sections(10, huge), rewrite.Malformed, "do not fit"},
		{"body size that lies", sections(1, "\x01\x60\x00\x00", 3, "\x01\x00", 10, "\x01"+huge+"\x00"), rewrite.Malformed, "do not fit"},
		{"local groups that lie", sections(1, "\x01\x60\x00\x00", 3, "\x01\x00", 10, "\x01\x06"+huge+"\x0b"), rewrite.Malformed, "do not fit"},
		{"labels that lie", body(append([]byte{0x20, 0, 0x0e}, huge...)...), rewrite.Malformed, "do not fit"},
		{"data segments that lie", sections(11, huge), rewrite.Malformed, "do not fit"},
		{"data that lies", sections(5, "\x01\x00\x01", 11, "\x01\x00\x41\x00\x0b"+huge), rewrite.Malformed, "do not fit"},
		{"data count that lies", sections(12, huge), rewrite.Malformed, "data count"},
		{"function names that lie", sections(0, "\x04name\x01\x05"+huge), rewrite.Malformed, "do not fit"},
		{"custom section name that lies", sections(0, huge), rewrite.Malformed, "do not fit"},
		{"more functions than bodies", sections(1, "\x01\x60\x00\x00", 3, "\x01\x00"), rewrite.Malformed, "bodies"},

		{"locals that nobody looks at", sections(10, "\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b"), rewrite.Malformed, "bodies"},
		{"locals behind what is wrong", sections(1, "\x01\x60\x00\x00", 3, "\x02\x00\x00", 10, "\x02\x03\x00\xff\x0b\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b"), rewrite.Malformed, "unknown instruction"},
		{"locals over 32 bits", sections(1, "\x01\x60\x00\x00", 3, "\x01\x00", 10, "\x01\x0e\x02"+huge+"\x7f"+huge+"\x7f\x0b"), rewrite.Malformed, "2^32"},
		{"memory over 65536 pages", sections(5, "\x01\x00\x81\x80\x04"), rewrite.Malformed, "pages"},
		{"shared memory", sections(5, "\x01\x03\x01\x02"), rewrite.Unsupported, "threads"},
		{"two memories", sections(5, "\x02\x00\x01\x00\x01"), rewrite.Malformed, "more than one"},
		{"memory64", sections(5, "\x01\x04\x01"), rewrite.Malformed, "limits"},

		// What would become valid once our own things stand behind the module's.
		{"set the fuel", body(0x42, 1, 0x24, 1), rewrite.Malformed, "global"},
		{"set the stack budget", body(0x42, 1, 0x24, 2), rewrite.Malformed, "global"},
		{"get the fuel", body(0x23, 1, 0x1a), rewrite.Malformed, "global"},
		{"export the fuel", sections(6, "\x00", 7, "\x01\x01f\x03\x00"), rewrite.Malformed, "global"},
		{"call tick", body(0x10, 1), rewrite.Malformed, "function"},
		{"call a function of ours", body(0x10, 3), rewrite.Malformed, "function"},
		{"export tick", sections(7, "\x01\x01f\x00\x00"), rewrite.Malformed, "function"},
		{"element of ours", sections(4, "\x01\x70\x00\x01", 9, "\x01\x00\x41\x00\x0b\x01\x00"), rewrite.Malformed, "function"},
		{"type of ours", body(0x02, 1, 0x0b), rewrite.Malformed, "type"},
		{"indirect call of a type of ours", body(0x41, 0, 0x11, 1, 0), rewrite.Malformed, "type"},
		{"local of ours", body(0x20, 1, 0x1a), rewrite.Malformed, "local"},
		{"label of our block", body(0x10, 0, 0x0c, 1), rewrite.Malformed, "label"},
		{"label of our block by table", body(0x20, 0, 0x10, 0, 0x41, 0, 0x0e, 0, 1), rewrite.Malformed, "label"},
		{"end of our block", body(0x20, 0, 0x10, 0, 0x0b, 0x01), rewrite.Malformed, "after the end"},
		{"reference to the start function", func() []byte {
			b := newBuilder()
			f := b.function(nil, nil, nil)
			b.function(nil, nil, nil, 0xd2, byte(f), 0x1a)
			b.start = uleb(f)
			return b.bytes()
		}(), rewrite.Malformed, "ref.func"},
		{"start function with a parameter", func() []byte {
			b := newBuilder()
			b.start = uleb(b.function([]byte{i32}, nil, nil))
			return b.bytes()
		}(), rewrite.Malformed, "start"},
		{"data count missing", func() []byte {
			b := newBuilder()
			b.memory(1, 0)
			b.passive("x")
			b.function(nil, nil, nil, 0xfc, 9, 0)
			return b.bytes()
		}(), rewrite.Malformed, "data"},

		{"imports ours", sections(1, "\x01\x60\x00\x00", 2, "\x01\x06gojinn\x04tick\x00\x00"), rewrite.Reserved, "gojinn"},
		{"imports the exit", sections(1, "\x01\x60\x00\x00", 2, "\x01\x06gojinn\x04exit\x00\x00"), rewrite.Reserved, "gojinn"},
		{"exports our entrance", exporting(rewrite.EnterExport), rewrite.Reserved, "gojinn:"},
		{"exports our counter of elements", exporting(rewrite.ElementsExport), rewrite.Reserved, "gojinn:"},
		{"exports our counter of the way out", exporting(rewrite.PaceExport), rewrite.Reserved, "gojinn:"},
		{"exports a global like us", exporting(rewrite.GlobalPrefix + "0"), rewrite.Reserved, "gojinn:"},
		{"exports ours", sections(5, "\x01\x00\x01", 7, "\x01\x0bgojinn:fuel\x02\x00"), rewrite.Reserved, "gojinn:"},

		{"tail call", body(0x20, 0, 0x12, 0), rewrite.Unsupported, "not enabled"},
		{"atomic", body(0xfe, 3, 0), rewrite.Unsupported, "not enabled"},
		{"throw", body(0x08, 0), rewrite.Unsupported, "not enabled"},
		{"exception reference", body(0xd0, 0x69, 0x1a), rewrite.Unsupported, "not enabled"},
		{"typed reference", sections(1, "\x01\x60\x01\x63\x70\x00"), rewrite.Unsupported, "not enabled"},
		{"recursive types", sections(1, "\x01\x4e\x01\x60\x00\x00"), rewrite.Unsupported, "not enabled"},
		{"extended constant", sections(6, "\x01\x7f\x00\x41\x01\x41\x01\x6a\x0b"), rewrite.Malformed, "constant expression"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, report, err := rewrite.Module(test.wasm)
			var refused *rewrite.Error
			if !errors.As(err, &refused) || out != nil || report != nil {
				t.Fatalf("got %d bytes, %v, %v", len(out), report, err)
			}
			if refused.Kind != test.kind || !strings.Contains(refused.Reason, test.reason) {
				t.Errorf("got kind %d, %v; want kind %d, %q", refused.Kind, err, test.kind, test.reason)
			}
			checkAcceptance(t, test.wasm)
		})
	}
}

// TestRefusedCheaply: a module that lies must not make us allocate.
func TestRefusedCheaply(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, _, err := rewrite.Module(killer); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / 100; n > 1<<20 {
		t.Errorf("refusing %d bytes allocates %d", len(killer), n)
	}
}
