package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// plainPrograms holds the programs that runPlain runs, each compiled once. Nobody
// closes them: they live as long as the test process.
var plainPrograms sync.Map // name → func() (*plainProgram, error)

type plainProgram struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
}

func compilePlain(tb testing.TB, name string) *plainProgram {
	tb.Helper()
	module := toolchaintest.Build(tb, filepath.Join("testdata", "guests", name))
	once, _ := plainPrograms.LoadOrStore(name, sync.OnceValues(func() (*plainProgram, error) {
		ctx := context.Background()
		p := &plainProgram{runtime: wazero.NewRuntime(ctx)}
		if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
			return nil, err
		}
		var err error
		p.code, err = p.runtime.CompileModule(ctx, module)
		return p, err
	}))
	p, err := once.(func() (*plainProgram, error))()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// runPlain runs a guest under nothing but wazero. Its random bytes and its clocks
// are the same in every run. When it first reads standard input, parked gets its
// memory, which it may change, and the first 32 bytes the guest drew.
func runPlain(tb testing.TB, name, stdin string, parked func(memory, entropy []byte), args ...string) string {
	tb.Helper()
	p := compilePlain(tb, name)
	var instance api.Module
	var drawn, stdout, stderr bytes.Buffer
	text := strings.NewReader(stdin)
	in := readerFunc(func(b []byte) (int, error) {
		if parked != nil {
			memory, _ := instance.Memory().Read(0, instance.Memory().Size())
			parked(memory, bytes.Clone(drawn.Bytes()[:min(32, drawn.Len())]))
			parked = nil
		}
		return text.Read(b)
	})
	instance, err := p.runtime.InstantiateModule(tb.Context(), p.code, wazero.NewModuleConfig().WithName("").
		WithArgs(append([]string{name}, args...)...).WithStartFunctions().
		WithRandSource(io.TeeReader(rand.NewChaCha8([32]byte{1}), &drawn)).
		WithStdin(in).WithStdout(&stdout).WithStderr(&stderr))
	if err != nil {
		tb.Fatal(err)
	}
	defer instance.Close(tb.Context())
	_, err = instance.ExportedFunction("_start").Call(tb.Context())
	if exit, ok := errors.AsType[*sys.ExitError](err); err != nil && (!ok || exit.ExitCode() != 0) {
		tb.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	if parked != nil {
		tb.Fatal("the guest has read nothing")
	}
	return stdout.String()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// goImage returns the memory of a Go program that has started and waits for
// standard input, and the bytes its runtime drew.
func goImage(tb testing.TB, name string, args ...string) (image, entropy []byte) {
	tb.Helper()
	runPlain(tb, name, "hello stdin\n", func(memory, drawn []byte) { image, entropy = bytes.Clone(memory), drawn }, args...)
	return image, entropy
}

// The generator is found however much a program draws while it starts.
func TestFindGoRandomInPrograms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, guest, args string
		want              bool
	}{
		{"plain", "wasicheck-go", "stdin", true},
		{"server", "random-go", "", true},
		{"second seed", "random-go", "124 0", true},
		{"many numbers", "random-go", "5000 0", true},
		{"many maps", "random-go", "0 200", true},
		{"nearly too many", "random-go", "507000 0", true},
		{"too many", "random-go", "508000 0", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			image, entropy := goImage(t, test.guest, strings.Fields(test.args)...)
			offset, ok := findGoRandom(image, entropy)
			if ok != test.want {
				t.Fatalf("got %t, want %t, in %d bytes", ok, test.want, len(image))
			}
			initial := uint64(compilePlain(t, test.guest).code.ExportedMemories()["memory"].Min()) << 16
			if ok && uint64(offset)+goEnd > initial {
				t.Errorf("got offset %d, want it in the initial %d bytes", offset, initial)
			}
		})
	}
}

// A program that goes on with other entropy draws other numbers from everything
// that isn't listed as repeating, and its maps still work.
func TestReseedGoRandom(t *testing.T) {
	t.Parallel()
	run := func(entropy byte) map[string]string {
		parked := func([]byte, []byte) {}
		if entropy != 0 {
			parked = func(memory, drawn []byte) {
				offset, ok := findGoRandom(memory, drawn)
				if !ok {
					t.Fatal("no generator found")
				}
				reseedGoRandom(memory, offset, bytes.Repeat([]byte{entropy}, 32))
			}
		}
		lines := map[string]string{}
		for line := range strings.Lines(runPlain(t, "random-go", "", parked, "150", "20")) {
			name, value, _ := strings.Cut(line, " ")
			for _, two := range []string{"map from start-up", "new map", "number from start-up", "maphash from start-up"} {
				if strings.HasPrefix(line, two) {
					name, value = two, line[len(two):]
				}
			}
			lines[name] = value
		}
		return lines
	}
	plain, again, one, other, oneAgain := run(0), run(0), run(1), run(2), run(1)
	tests := []struct {
		name    string
		repeats bool
	}{
		{"math/rand", false},
		{"math/rand/v2", false},
		{"shuffle", false},
		{"maphash", false},
		{"map from start-up", false},
		{"new map", false},
		{"crypto/rand", true}, // comes from the host, which gives the same in this test
		{"select", true},
		{"number from start-up", true},
		{"maphash from start-up", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			values := []string{plain[test.name], one[test.name], other[test.name]}
			if values[0] == "" || values[0] != again[test.name] || values[1] != oneAgain[test.name] {
				t.Fatalf("got %q then %q, and %q then %q", values[0], again[test.name], values[1], oneAgain[test.name])
			}
			slices.Sort(values)
			if got := len(slices.Compact(values)); test.repeats != (got == 1) || !test.repeats && got != 3 {
				t.Errorf("got %d different values, repeats: want %t", got, test.repeats)
			}
		})
	}
	if len(one) != len(tests) {
		t.Errorf("got %d lines, want %d: %v", len(one), len(tests), one)
	}
}

// goEntropy is what the runtime of the made-up images drew.
var goEntropy = bytes.Repeat([]byte{7}, goSeedSize)

// goState is the state a generator has after drawing that many numbers from the
// seed that the given entropy leads to. It is computed by drawing, all but the
// seed it has then.
func goState(entropy []byte, drawn int) []byte {
	source := rand.NewChaCha8([goSeedSize]byte(entropy))
	seed := make([]byte, 0, goSeedSize)
	for i := range 8 {
		if word := source.Uint64(); i >= 4 {
			seed = binary.LittleEndian.AppendUint64(seed, word)
		}
	}
	const perSeed = goLastBlock*goBlockWords + goLastWords
	source = rand.NewChaCha8([goSeedSize]byte(seed))
	for ; drawn > perSeed; drawn -= perSeed {
		for range perSeed {
			source.Uint64()
		}
	}
	// One more number, from a copy, and its encoding ends with the present seed.
	ahead := *source
	ahead.Uint64()
	encoded, err := ahead.MarshalBinary()
	if err != nil {
		panic(err)
	}
	block := max(drawn-1, 0) / goBlockWords // the next block is made when it is needed
	for range block * goBlockWords {
		source.Uint64()
	}
	state := make([]byte, 0, goEnd)
	for range goBlockLen(block) {
		state = binary.LittleEndian.AppendUint64(state, source.Uint64())
	}
	state = append(state[:goSeedAt:goSeedAt], encoded[len(encoded)-goSeedSize:]...)
	state = binary.LittleEndian.AppendUint32(state, uint32(drawn-block*goBlockWords))
	state = binary.LittleEndian.AppendUint32(state, uint32(goBlockLen(block)))
	return binary.LittleEndian.AppendUint32(state, uint32(4*block))
}

// goMemory is a memory with those parts at those places.
func goMemory(parts map[int][]byte) []byte {
	memory := make([]byte, 8<<10)
	for at, part := range parts {
		copy(memory[at:], part)
	}
	return memory
}

// It is found at each point of its way through blocks and seeds.
func TestFindGoRandom(t *testing.T) {
	t.Parallel()
	for _, drawn := range []int{0, 1, 31, 32, 33, 64, 65, 96, 97, 123, 124, 125, 200, 248, 249, 1000, 12345} {
		memory := goMemory(map[int][]byte{1000: goState(goEntropy, drawn)})
		if offset, ok := findGoRandom(memory, goEntropy); !ok || offset != 1000 {
			t.Errorf("after %d numbers: got %d, %t", drawn, offset, ok)
		}
	}
}

// Anything that isn't exactly one state of that generator is no match: not
// another language, not a version of Go that has changed.
func TestFindGoRandomRefuses(t *testing.T) {
	t.Parallel()
	state := goState(goEntropy, 300)
	changed := func(at int, to byte) []byte {
		other := bytes.Clone(state)
		if other[at] == to {
			t.Fatalf("byte %d is %d already", at, to)
		}
		other[at] = to
		return other
	}
	counters := make([]byte, 1<<20)
	for i := 0; i < len(counters); i += 8 {
		binary.LittleEndian.PutUint64(counters[i:], goBlockWords<<32)
	}
	tests := []struct {
		name    string
		memory  []byte
		entropy []byte
		want    bool
	}{
		{"one", goMemory(map[int][]byte{1000: state}), goEntropy, true},
		{"at the start", goMemory(map[int][]byte{0: state}), goEntropy, true},
		{"at the end", state, goEntropy, true},
		{"beside another generator", goMemory(map[int][]byte{1000: state, 2000: goState(make([]byte, 32), 5)}), goEntropy, true},
		{"beside its bare seed", goMemory(map[int][]byte{1000: state, 2000: state[goSeedAt:]}), goEntropy, true},
		{"twice", goMemory(map[int][]byte{1000: state, 2000: state}), goEntropy, false},
		{"beside itself, earlier", goMemory(map[int][]byte{1000: state, 2000: goState(goEntropy, 20)}), goEntropy, false},
		{"empty", nil, goEntropy, false},
		{"zeros", goMemory(nil), goEntropy, false},
		{"zero entropy", goMemory(nil), make([]byte, 32), false},
		{"cut off", state[:goEnd-1], goEntropy, false},
		{"not aligned", goMemory(map[int][]byte{1004: state}), goEntropy, false},
		{"bare seed", goMemory(map[int][]byte{1000: state[goSeedAt:]}), goEntropy, false},
		{"other entropy", goMemory(map[int][]byte{1000: state}), make([]byte, 32), false},
		{"no entropy", goMemory(map[int][]byte{1000: state}), nil, false},
		{"short entropy", goMemory(map[int][]byte{1000: state}), goEntropy[:31], false},
		{"long entropy", goMemory(map[int][]byte{1000: state}), append(goEntropy[:32:32], 7), false},
		{"other output", goMemory(map[int][]byte{1000: changed(8*goBlockWords-1, state[8*goBlockWords-1]^1)}), goEntropy, false},
		{"other seed", goMemory(map[int][]byte{1000: changed(goSeedAt+8, state[goSeedAt+8]^1)}), goEntropy, false},
		{"too many words used", goMemory(map[int][]byte{1000: changed(goCountsAt, goBlockWords+1)}), goEntropy, false},
		{"too many words", goMemory(map[int][]byte{1000: changed(goCountsAt+4, goBlockWords+1)}), goEntropy, false},
		{"too few words", goMemory(map[int][]byte{1000: changed(goCountsAt+4, goLastWords)}), goEntropy, false},
		{"other block", goMemory(map[int][]byte{1000: changed(goBlockAt, 0)}), goEntropy, false},
		{"no block", goMemory(map[int][]byte{1000: changed(goBlockAt, 5)}), goEntropy, false},
		{"no such block", goMemory(map[int][]byte{1000: changed(goBlockAt, 16)}), goEntropy, false},
		{"full of counters", append(slices.Concat(state, make([]byte, -goEnd&(goAlign-1))), counters...), goEntropy, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := bytes.Clone(test.memory)
			if _, ok := findGoRandom(test.memory, test.entropy); ok != test.want {
				t.Errorf("got %t, want %t", ok, test.want)
			}
			if !bytes.Equal(test.memory, before) {
				t.Error("searching has changed the memory")
			}
		})
	}
}

func FuzzFindGoRandom(f *testing.F) {
	f.Add([]byte(nil), []byte(nil))
	f.Add(goState(goEntropy, 0), goEntropy)
	f.Add(append(make([]byte, 64), goState(goEntropy, 150)...), goEntropy)
	f.Add(append(goState(goEntropy, 500), goState(goEntropy, 100)...), goEntropy)
	f.Add(append(goState(goEntropy, 124), make([]byte, 400)...), goEntropy)
	fresh := bytes.Repeat([]byte{0xfe}, goSeedSize)
	f.Fuzz(func(t *testing.T, memory, entropy []byte) {
		offset, ok := findGoRandom(memory, entropy)
		if !ok {
			return
		}
		before := bytes.Clone(memory)
		reseedGoRandom(memory, offset, fresh)
		state := int(offset)
		if !bytes.Equal(memory[:state+goSeedAt], before[:state+goSeedAt]) || !bytes.Equal(memory[state+goEnd:], before[state+goEnd:]) {
			t.Error("wrote beyond the state")
		}
		if !bytes.Equal(memory[state+goSeedAt:][:goSeedSize], fresh) {
			t.Error("the seed wasn't replaced")
		}
		if _, ok := findGoRandom(memory, entropy); ok {
			t.Error("found again after its seed was replaced")
		}
	})
}

// What can't come from findGoRandom panics before anything is written.
func TestReseedGoRandomElsewhere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		offset  uint32
		entropy []byte
	}{
		{"state past the end", 8<<10 - goEnd + 1, goEntropy},
		{"offset past the end", 1<<32 - 1, goEntropy},
		{"short entropy", 0, goEntropy[:31]},
		{"no entropy", 0, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			memory := goMemory(nil)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
				if !bytes.Equal(memory, goMemory(nil)) {
					t.Error("the memory has changed")
				}
			}()
			reseedGoRandom(memory, test.offset, test.entropy)
		})
	}
}

// BenchmarkFindGoRandom searches the image of a program with net/http, the same
// with so much memory that it has 100 MiB, and one that was made to be slow.
func BenchmarkFindGoRandom(b *testing.B) {
	image, entropy := goImage(b, "random-go")
	large := append(bytes.Clone(image), make([]byte, max(0, 100<<20-len(image)))...)
	hostile := bytes.Clone(large)
	for i := 0; i < len(hostile); i += 16 {
		// Counters that are turned down as late as possible without counting as a try.
		binary.LittleEndian.PutUint64(hostile[i:], goBlockWords<<32)
		binary.LittleEndian.PutUint64(hostile[i+8:], goLastWords<<32+16)
	}
	for i := range maxGoTries { // and as many tries as there may be
		binary.LittleEndian.PutUint64(hostile[len(hostile)-16*(i+1)+8:], goLastWords<<32)
	}
	for _, bench := range []struct {
		name   string
		memory []byte
		want   bool
	}{{"image", image, true}, {"100MiB", large, true}, {"hostile", hostile, false}} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.memory)))
			for b.Loop() {
				if _, ok := findGoRandom(bench.memory, entropy); ok != bench.want {
					b.Fatalf("got %t, want %t", ok, bench.want)
				}
			}
		})
	}
}
