package engine

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/vfs"
)

// errno is the result of most functions of preview 1; 0 is success.
type errno = vfs.Errno

// process is what a guest sees of the world through WASI preview 1: its
// arguments, environment, clocks and descriptors. It lives in a [Sandbox] and
// is begun and finished with each call.
type process struct {
	sandbox supervisor
	mem     guestMemory // during a host call

	args, env []string
	files     descriptors
	view      *vfs.View

	life *lifetime // of the call: the context of everything done for it

	origin time.Time     // of the monotonic clock
	slept  time.Duration // in poll_oneoff, which is no CPU time

	vectors [][]byte // scratch of iovecs
}

// supervisor is the sandbox as its process needs it.
type supervisor interface {
	// charge lowers the guest's fuel; it doesn't return if the call is over.
	charge(units int64)
	// finish ends the call; it doesn't return.
	finish(reason error)
}

// begin makes the process ready for one call in s.
func (p *process) begin(s *Sandbox, in io.Reader, out, log io.Writer) {
	options := &s.function.options
	p.sandbox = s
	p.life = &lifetime{parent: s.ctx, deadline: s.deadline, closing: s.function.pool.closing}
	p.args, p.env = p.args[:0], p.env[:0]
	for _, arg := range options.Args {
		p.args = append(p.args, cString(arg.of(s.ctx)))
	}
	for _, v := range options.Grants.env {
		p.env = append(p.env, v.name+"="+cString(v.value.of(s.ctx)))
	}
	p.open(s.function.tree, options.Limits.Files, in, out, log)
}

// cString ends a string where guests see its end. Request placeholders may
// bring NULs.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// open gives the process its clocks and descriptors.
func (p *process) open(tree *vfs.Tree, maxFiles int, in io.Reader, out, log io.Writer) {
	p.origin, p.slept = time.Now(), 0
	p.view = tree.View()
	p.files.reset(maxFiles)
	p.files.add(newDescriptor(newInput(in), vfs.Read, 0))
	p.files.add(newDescriptor(&output{to: out}, vfs.Write, 0))
	p.files.add(newDescriptor(&output{to: log}, vfs.Write, 0))
	root := newDescriptor(p.view.Root(), vfs.Read, 0)
	root.preopen = true
	p.files.add(root)
}

// finish closes what the guest left open. With commit, what is written only
// when a file is closed is written; otherwise it is discarded. The error is
// that of a commit.
func (p *process) finish(commit bool) error {
	err := p.files.closeAll(p.life, commit)
	if errView := p.view.Close(p.life); err == nil {
		err = errView
	}
	p.life.end()
	p.mem, p.vectors = nil, nil
	return err
}

// bytesPerUnit, as a shift, is how many bytes a unit of fuel moves: as many as
// the bulk instructions of rewritten modules.
const bytesPerUnit = 3

// chargeBytes charges for moving n bytes, and ends the call if it is over.
func (p *process) chargeBytes(n int) { p.sandbox.charge(int64(n) >> bytesPerUnit) }

// hostFunction is one function of preview 1.
type hostFunction struct {
	params, results []api.ValueType
	cost            int64 // units of fuel, charged at the entry
	call            func(*process, arguments) errno
}

// Call implements [api.GoModuleFunction].
func (f *hostFunction) Call(ctx context.Context, module api.Module, stack []uint64) {
	p := &sandboxFrom(ctx).process
	p.sandbox.charge(f.cost)
	memory := module.Memory()
	p.mem = wholeMemory(memory)
	result := f.call(p, stack)
	if len(f.results) > 0 {
		stack[0] = uint64(result)
	}
}

// arguments are the parameters of a call, one on each place.
type arguments []uint64

func (a arguments) u32(i int) uint32 { return uint32(a[i]) }
func (a arguments) u64(i int) uint64 { return a[i] }

// function describes a function whose parameters are written as one letter
// each, i for i32 and I for i64, and whose result is an errno.
func function(params string, cost int64, call func(*process, arguments) errno) *hostFunction {
	f := &hostFunction{results: []api.ValueType{api.ValueTypeI32}, cost: cost, call: call}
	for _, letter := range params {
		f.params = append(f.params, map[rune]api.ValueType{'i': api.ValueTypeI32, 'I': api.ValueTypeI64}[letter])
	}
	return f
}

// What a call costs beside the bytes it moves: about as many instructions as
// the guest could have executed in the same time.
const (
	costCheap  = 200  // touches the process only
	costFile   = 2000 // may be a system call
	costPath   = 8000 // is several
	costRandom = 1000
)

// preview1 is all of wasi_snapshot_preview1: what a module may import, and with
// which types.
var preview1 = map[string]*hostFunction{
	"args_get":          function("ii", costCheap, func(p *process, a arguments) errno { return p.strings(p.args, a.u32(0), a.u32(1)) }),
	"args_sizes_get":    function("ii", costCheap, func(p *process, a arguments) errno { return p.stringSizes(p.args, a.u32(0), a.u32(1)) }),
	"environ_get":       function("ii", costCheap, func(p *process, a arguments) errno { return p.strings(p.env, a.u32(0), a.u32(1)) }),
	"environ_sizes_get": function("ii", costCheap, func(p *process, a arguments) errno { return p.stringSizes(p.env, a.u32(0), a.u32(1)) }),

	"clock_res_get":  function("ii", costCheap, func(p *process, a arguments) errno { return p.clockResGet(a.u32(0), a.u32(1)) }),
	"clock_time_get": function("iIi", costCheap, func(p *process, a arguments) errno { return p.clockTimeGet(a.u32(0), a.u32(2)) }),
	"random_get":     function("ii", costRandom, func(p *process, a arguments) errno { return p.randomGet(a.u32(0), a.u32(1)) }),
	"sched_yield":    function("", costCheap, func(p *process, _ arguments) errno { return p.schedYield() }),
	"proc_raise":     function("i", costCheap, func(p *process, _ arguments) errno { return vfs.ENOSYS }),
	"proc_exit": {
		params: []api.ValueType{api.ValueTypeI32},
		call:   func(p *process, a arguments) errno { p.sandbox.finish(&ExitError{a.u32(0)}); return 0 },
	},
	"poll_oneoff": function("iiii", costFile, func(p *process, a arguments) errno {
		return p.pollOneoff(a.u32(0), a.u32(1), a.u32(2), a.u32(3))
	}),

	"fd_advise": function("iIIi", costCheap, func(p *process, a arguments) errno {
		return p.fdAdvise(a.u32(0), a.u64(1), a.u64(2), a.u32(3))
	}),
	"fd_allocate":         function("iII", costFile, func(p *process, a arguments) errno { return p.fdAllocate(a.u32(0), a.u64(1), a.u64(2)) }),
	"fd_close":            function("i", costFile, func(p *process, a arguments) errno { return p.fdClose(a.u32(0)) }),
	"fd_datasync":         function("i", costPath, func(p *process, a arguments) errno { return p.fdSync(a.u32(0), rightFDDatasync) }),
	"fd_fdstat_get":       function("ii", costCheap, func(p *process, a arguments) errno { return p.fdFdstatGet(a.u32(0), a.u32(1)) }),
	"fd_fdstat_set_flags": function("ii", costCheap, func(p *process, a arguments) errno { return p.fdFdstatSetFlags(a.u32(0), a.u32(1)) }),
	"fd_fdstat_set_rights": function("iII", costCheap, func(p *process, a arguments) errno {
		return p.fdFdstatSetRights(a.u32(0), rights(a.u64(1)), rights(a.u64(2)))
	}),
	"fd_filestat_get":      function("ii", costFile, func(p *process, a arguments) errno { return p.fdFilestatGet(a.u32(0), a.u32(1)) }),
	"fd_filestat_set_size": function("iI", costFile, func(p *process, a arguments) errno { return p.fdFilestatSetSize(a.u32(0), a.u64(1)) }),
	"fd_filestat_set_times": function("iIIi", costFile, func(p *process, a arguments) errno {
		return p.fdFilestatSetTimes(a.u32(0), a.u64(1), a.u64(2), a.u32(3))
	}),
	"fd_pread": function("iiiIi", costFile, func(p *process, a arguments) errno {
		return p.fdPread(a.u32(0), a.u32(1), a.u32(2), a.u64(3), a.u32(4))
	}),
	"fd_prestat_get":      function("ii", costCheap, func(p *process, a arguments) errno { return p.fdPrestatGet(a.u32(0), a.u32(1)) }),
	"fd_prestat_dir_name": function("iii", costCheap, func(p *process, a arguments) errno { return p.fdPrestatDirName(a.u32(0), a.u32(1), a.u32(2)) }),
	"fd_pwrite": function("iiiIi", costFile, func(p *process, a arguments) errno {
		return p.fdPwrite(a.u32(0), a.u32(1), a.u32(2), a.u64(3), a.u32(4))
	}),
	"fd_read": function("iiii", costFile, func(p *process, a arguments) errno { return p.fdRead(a.u32(0), a.u32(1), a.u32(2), a.u32(3)) }),
	"fd_readdir": function("iiiIi", costFile, func(p *process, a arguments) errno {
		return p.fdReaddir(a.u32(0), a.u32(1), a.u32(2), a.u64(3), a.u32(4))
	}),
	"fd_renumber": function("ii", costFile, func(p *process, a arguments) errno { return p.fdRenumber(a.u32(0), a.u32(1)) }),
	"fd_seek": function("iIii", costFile, func(p *process, a arguments) errno {
		return p.fdSeek(a.u32(0), int64(a.u64(1)), a.u32(2), a.u32(3))
	}),
	"fd_sync":  function("i", costPath, func(p *process, a arguments) errno { return p.fdSync(a.u32(0), rightFDSync) }),
	"fd_tell":  function("ii", costCheap, func(p *process, a arguments) errno { return p.fdTell(a.u32(0), a.u32(1)) }),
	"fd_write": function("iiii", costFile, func(p *process, a arguments) errno { return p.fdWrite(a.u32(0), a.u32(1), a.u32(2), a.u32(3)) }),

	"path_create_directory": function("iii", costPath, func(p *process, a arguments) errno {
		return p.pathCreateDirectory(a.u32(0), a.u32(1), a.u32(2))
	}),
	"path_filestat_get": function("iiiii", costPath, func(p *process, a arguments) errno {
		return p.pathFilestatGet(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4))
	}),
	"path_filestat_set_times": function("iiiiIIi", costPath, func(p *process, a arguments) errno {
		return p.pathFilestatSetTimes(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u64(4), a.u64(5), a.u32(6))
	}),
	"path_link": function("iiiiiii", costPath, func(p *process, a arguments) errno {
		return p.pathLink(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4), a.u32(5), a.u32(6))
	}),
	"path_open": function("iiiiiIIii", costPath, func(p *process, a arguments) errno {
		return p.pathOpen(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4), rights(a.u64(5)), rights(a.u64(6)), a.u32(7), a.u32(8))
	}),
	"path_readlink": function("iiiiii", costPath, func(p *process, a arguments) errno {
		return p.pathReadlink(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4), a.u32(5))
	}),
	"path_remove_directory": function("iii", costPath, func(p *process, a arguments) errno {
		return p.pathRemoveDirectory(a.u32(0), a.u32(1), a.u32(2))
	}),
	"path_rename": function("iiiiii", costPath, func(p *process, a arguments) errno {
		return p.pathRename(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4), a.u32(5))
	}),
	"path_symlink": function("iiiii", costPath, func(p *process, a arguments) errno {
		return p.pathSymlink(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4))
	}),
	"path_unlink_file": function("iii", costPath, func(p *process, a arguments) errno {
		return p.pathUnlinkFile(a.u32(0), a.u32(1), a.u32(2))
	}),

	"sock_accept": function("iii", costFile, func(p *process, a arguments) errno { return p.sockAccept(a.u32(0)) }),
	"sock_recv": function("iiiiii", costFile, func(p *process, a arguments) errno {
		return p.sockRecv(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4), a.u32(5))
	}),
	"sock_send": function("iiiii", costFile, func(p *process, a arguments) errno {
		return p.sockSend(a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4))
	}),
	"sock_shutdown": function("ii", costFile, func(p *process, a arguments) errno { return p.sockShutdown(a.u32(0), a.u32(1)) }),
}
