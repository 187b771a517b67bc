package engine

import (
	"context"
	"io"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/frozen"
	"github.com/gojinn/gojinn/engine/vfs"
)

// errno is the result of most functions of preview 1; 0 is success.
type errno = vfs.Errno

// process is what a guest sees of the world through WASI preview 1: its
// arguments, environment, clocks and descriptors. It lives in a [Sandbox]. boot
// makes it ready for a program's start, attach gives it the streams of a call, finish
// ends that call, and revert takes it back to where the program first read.
type process struct {
	sandbox supervisor
	host    context.Context // of the host call under way
	mem     guestMemory     // during a host call

	args, env []string
	environ   func(context.Context) []string // yields more of env for a call; nil: there is no more
	files     descriptors
	std       [standardDescriptors]descriptor
	out, log  output
	view      *vfs.View
	watch     func(Refusal) // nil: nobody does

	startup startup
	reading *frozen.Startup // what it reads is kept, or was; nil: it reads what there is
	early   []byte          // written to standard error before there was a call

	life *lifetime // of the call: the context of everything done for it

	origin time.Time     // of the monotonic clock: when the program started
	idle   time.Duration // since then that it slept, or waited for a call: no CPU time
	parked time.Time     // since when it waits for a call; zero: it was started with the call

	vectors [][]byte // scratch of iovecs
}

// supervisor is the sandbox as its process needs it.
type supervisor interface {
	// rest lets others have the processor: the host call under way has to wait.
	rest()
	// charge lowers the guest's fuel; it doesn't return if the call is over.
	charge(units int64)
	// finish ends the call; it doesn't return.
	finish(reason error)
	// park waits for a call; it doesn't return if none will come.
	park()
	// started notes that a start-up with its call has come to its first read.
	started()
	// caller is the context of who made the call.
	caller() context.Context
	// exit ends the call as the guest wishes; it doesn't return.
	exit(code uint32)
}

// boot makes the process ready for the start of s's program. With ahead it
// starts before there is a call.
func (p *process) boot(s *Sandbox, ahead bool) {
	f := s.function
	p.sandbox, p.watch = s, f.options.Grants.watch
	p.args, p.env, p.environ = f.args, f.env, f.options.Environ
	if f.resolves {
		p.args, p.env = f.options.strings(s.ctx)
	}
	if !ahead {
		_ = s.freeze(false) // which a call never has to wait for
	}
	p.open(f.tree, f.options.Limits.Files)
	p.startup = startup{ahead: ahead}
	if ahead {
		p.log.to = &boundedLog{(*earlyLog)(p), f.options.Limits.Log}
	}
}

// open gives the process its clocks and descriptors. Its standard streams lead nowhere yet.
func (p *process) open(tree *vfs.Tree, maxFiles int) {
	p.origin, p.idle, p.parked = time.Now(), 0, time.Time{}
	p.early = p.early[:0] // of a start that was abandoned
	p.look(tree)
	p.files.reset(maxFiles)
	p.std = [...]descriptor{
		newDescriptor(waitingInput{}, vfs.Read, 0),
		newDescriptor(&p.out, vfs.Write, 0),
		newDescriptor(&p.log, vfs.Write, 0),
		newDescriptor(p.view.Root(), vfs.Read, 0),
	}
	p.std[rootDescriptor].preopen = true
	for i := range p.std {
		p.files.add(&p.std[i])
	}
}

// attach connects the standard streams. What the program had to say before, it
// says now.
func (p *process) attach(in io.Reader, out, log io.Writer) {
	p.std[inputDescriptor].file = newInput(in)
	p.out.to, p.log.to = out, log
	p.startup.ahead = false
	if len(p.early) > 0 {
		_, _ = log.Write(p.early) // a log that can't be written must not end the call
		p.early = p.early[:0]
	}
	if !p.parked.IsZero() {
		p.idle += time.Since(p.parked)
	}
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
	p.mem, p.host = nil, nil
	p.vectors = nil
	p.thaw()
	p.std[inputDescriptor].file, p.out.to, p.log.to = waitingInput{}, nil, nil
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
	s := sandboxFrom(ctx)
	result, ok := f.run(ctx, s, module, stack)
	if !ok {
		s.stay()
	}
	if len(f.results) > 0 {
		stack[0] = uint64(result)
	}
}

// run is not ok if it has ended the call in a way that lets the guest go back from where it is.
func (f *hostFunction) run(ctx context.Context, s *Sandbox, module api.Module, stack []uint64) (result errno, ok bool) {
	defer s.caught(&ok)
	p := &s.process
	p.sandbox.charge(f.cost)
	p.host = ctx
	p.mem = wholeMemory(module.Memory())
	if f.cost >= costFile { // it may wait
		s.claim.lend()
	}
	result = f.call(p, stack)
	s.resume()
	return result, true
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
	"environ_get":       function("ii", costCheap, func(p *process, a arguments) errno { return p.strings(p.environment(), a.u32(0), a.u32(1)) }),
	"environ_sizes_get": function("ii", costCheap, func(p *process, a arguments) errno { return p.stringSizes(p.environment(), a.u32(0), a.u32(1)) }),

	"clock_res_get":  function("ii", costCheap, func(p *process, a arguments) errno { return p.clockResGet(a.u32(0), a.u32(1)) }),
	"clock_time_get": function("iIi", costCheap, func(p *process, a arguments) errno { return p.clockTimeGet(a.u32(0), a.u32(2)) }),
	"random_get":     function("ii", costRandom, func(p *process, a arguments) errno { return p.randomGet(a.u32(0), a.u32(1)) }),
	"sched_yield":    function("", costCheap, func(p *process, _ arguments) errno { return p.schedYield() }),
	"proc_raise":     function("i", costCheap, func(p *process, _ arguments) errno { return vfs.ENOSYS }),
	"proc_exit": {
		params: []api.ValueType{api.ValueTypeI32},
		call:   func(p *process, a arguments) errno { p.sandbox.exit(a.u32(0)); return 0 },
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
