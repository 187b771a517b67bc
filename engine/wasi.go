package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/vfs"
)

// process is what a guest sees of the world through WASI preview 1.
type process struct {
	sandbox        *Sandbox
	stdin          io.Reader
	stdout, stderr io.Writer
}

// hostFunction is a function of preview 1.
type hostFunction struct {
	params, results []api.ValueType
	call            func(p *process, memory api.Memory, stack []uint64) vfs.Errno
}

func (f hostFunction) Call(ctx context.Context, m api.Module, stack []uint64) {
	s := sandboxFrom(ctx)
	s.charge(100)
	errno := f.call(&s.process, m.Memory(), stack)
	if len(f.results) > 0 {
		stack[0] = uint64(errno)
	}
}

func (p *process) begin(s *Sandbox, in io.Reader, out, log io.Writer) error {
	p.sandbox, p.stdin, p.stdout, p.stderr = s, in, out, log
	return nil
}

func (p *process) end(ok bool) error { return nil }

func types(n int) []api.ValueType {
	t := make([]api.ValueType, n)
	for i := range t {
		t[i] = api.ValueTypeI32
	}
	return t
}

var preview1 = map[string]hostFunction{
	"fd_read": {types(4), types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		return p.vec(m, s, func(b []byte) (int, error) { return p.stdin.Read(b) })
	}},
	"fd_write": {types(4), types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		w := p.stdout
		if s[0] == 2 {
			w = p.stderr
		}
		return p.vec(m, s, w.Write)
	}},
	"proc_exit": {types(1), nil, func(p *process, m api.Memory, s []uint64) vfs.Errno {
		p.sandbox.finish(&ExitError{uint32(s[0])})
		return 0
	}},
	"poll_oneoff": {types(4), types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		time.Sleep(300 * time.Millisecond)
		p.sandbox.check()
		return 0
	}},
	"random_get": {types(2), types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		b, _ := m.Read(uint32(s[0]), uint32(s[1]))
		rand.Read(b)
		return 0
	}},
	"args_sizes_get":      {types(2), types(1), zeros},
	"environ_sizes_get":   {types(2), types(1), zeros},
	"args_get":            {types(2), types(1), nothing},
	"environ_get":         {types(2), types(1), nothing},
	"sched_yield":         {nil, types(1), nothing},
	"fd_close":            {types(1), types(1), nothing},
	"fd_prestat_get":      {types(2), types(1), badf},
	"fd_prestat_dir_name": {types(3), types(1), badf},
	"fd_fdstat_get": {types(2), types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		m.Write(uint32(s[1]), make([]byte, 24))
		return 0
	}},
	"fd_fdstat_set_flags": {types(2), types(1), nothing},
	"clock_time_get": {[]api.ValueType{api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeI32}, types(1), func(p *process, m api.Memory, s []uint64) vfs.Errno {
		m.WriteUint64Le(uint32(s[2]), uint64(time.Now().UnixNano()))
		return 0
	}},
}

func nothing(p *process, m api.Memory, s []uint64) vfs.Errno { return 0 }
func badf(p *process, m api.Memory, s []uint64) vfs.Errno    { return vfs.EBADF }
func zeros(p *process, m api.Memory, s []uint64) vfs.Errno {
	m.WriteUint32Le(uint32(s[0]), 0)
	m.WriteUint32Le(uint32(s[1]), 0)
	return 0
}

func (p *process) vec(m api.Memory, s []uint64, do func([]byte) (int, error)) vfs.Errno {
	total := 0
	for i := uint32(0); i < uint32(s[2]); i++ {
		v, _ := m.Read(uint32(s[1])+8*i, 8)
		b, _ := m.Read(binary.LittleEndian.Uint32(v), binary.LittleEndian.Uint32(v[4:]))
		n, err := do(b)
		total += n
		if err != nil || n < len(b) {
			break
		}
	}
	p.sandbox.charge(int64(total))
	m.WriteUint32Le(uint32(s[3]), uint32(total))
	return 0
}
