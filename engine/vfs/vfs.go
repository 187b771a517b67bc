// Package vfs is the file tree a guest sees: a router over mounts.
//
// A [Tree] says which [FS] is mounted at which absolute guest path. It is built
// once per function and never changes while calls use it. Each call takes a
// [View] of the tree, which opens the mounts it touches, and works on the
// [Dir] handles of that view. The handles route: they find the mount a path
// leads to, keep a path from leaving the directory it is relative to, list
// mount points among a directory's own entries, and refuse what would cross
// from one mount into another.
//
// A mount is anything that implements [FS]. Its files are of our own small
// interface [File]; what only some files can do (read, write, be read at an
// offset, be polled, …) is an interface of its own that a file implements or
// not. Positions, append mode and non-blocking mode belong to the descriptor
// that the guest holds, not to the file, so that a descriptor table is a plain
// value.
//
// Every error that reaches a guest is an [Errno]. Implementations may return
// any error; [ErrnoOf] finds the number.
//
// Operations that may wait take the context of the call. When it ends, they
// return without delay.
package vfs

import (
	"context"
	"time"
)

// FileType is the type of a file, numbered as preview 1's filetype.
type FileType uint8

// The file types of preview 1.
const (
	TypeUnknown FileType = iota
	TypeBlockDevice
	TypeCharacterDevice
	TypeDirectory
	TypeRegular
	TypeSocketDatagram
	TypeSocketStream
	TypeSymlink
)

// Stat describes a file. Device and Inode together tell files apart, times are
// nanoseconds since 1970, zero where unknown.
type Stat struct {
	Device, Inode               uint64
	Type                        FileType
	Links                       uint64
	Size                        int64
	Accessed, Modified, Changed int64
}

// Entry is one name in a directory. Inode is 0 where finding it would cost
// more than the listing.
type Entry struct {
	Name  string
	Inode uint64
	Type  FileType
}

// OpenFlags say how a file is to be opened.
type OpenFlags uint32

const (
	// Read asks for reading.
	Read OpenFlags = 1 << iota
	// Write asks for writing.
	Write
	// Append promises that everything written goes to the end of the file.
	Append
	// Create makes the file if there is none.
	Create
	// Exclusive, with Create, fails if there is one.
	Exclusive
	// Truncate empties the file.
	Truncate
	// OnlyDirectory fails with ENOTDIR for anything but a directory.
	OnlyDirectory
	// NoFollow fails with ELOOP if the last component is a symbolic link.
	NoFollow
	// NonBlock lets an open that has to wait (a connection) return before it
	// is done; the file then becomes writable when it is.
	NonBlock
	// Sync makes every write reach the disk before it returns.
	Sync
)

// Changing are the flags that need a file system which may be changed.
const Changing = Write | Append | Create | Truncate

// FS is one mounted file system. It is shared by all calls of a function and
// safe for concurrent use; what belongs to one call lives in the Directory that
// Root returns.
type FS interface {
	// Root returns the mount's root for one call. A view asks at the first
	// path that leads into the mount, at most once, and closes the root when
	// the call ends, after every file opened through it.
	//
	// The root of a mount that is a single file answers to the name "." only;
	// see [Device].
	Root(ctx context.Context) (Directory, error)
}

// Ahead is an FS of which start-ups may read before there is a call: its files are those of a
// directory of the host, and change only when somebody changes them.
type Ahead interface {
	FS
	// Host returns the directory's path.
	Host() string
}

// File is an open file. A file is used by one call, from one goroutine at a
// time.
type File interface {
	Stat(ctx context.Context) (Stat, error)
	// Close releases the file and reports what is known only now, such as a
	// write that could not be committed. The file is gone either way.
	Close(ctx context.Context) error
}

// Directory is an open directory.
//
// A name given to it is relative, at most [MaxPath] long, without NUL, empty or
// "." components; "." alone is the directory itself. It may contain ".."
// behind a component that it takes back, never more of them than that, and
// resolving them in the presence of symbolic links is the directory's business.
// Names to be made, removed or moved never are "." or end in "..".
type Directory interface {
	File
	// Open opens name. What is a directory comes back as a Directory.
	Open(ctx context.Context, name string, flags OpenFlags) (File, error)
	// Lookup describes name, or with follow what it links to.
	Lookup(ctx context.Context, name string, follow bool) (Stat, error)
	// List starts reading the directory's entries, without "." and "..".
	List(ctx context.Context) (Lister, error)
}

// Lister reads the entries of a directory in an order that does not depend on
// how many are asked for at once.
type Lister interface {
	// Next fills entries and returns how many it filled, 0 at the end.
	Next(ctx context.Context, entries []Entry) (int, error)
	Close() error
}

// Editor is a Directory in which names may be changed. A directory that is none
// is read-only to guests.
type Editor interface {
	Directory
	Mkdir(ctx context.Context, name string) error
	// Unlink removes anything but a directory.
	Unlink(ctx context.Context, name string) error
	// Rmdir removes an empty directory.
	Rmdir(ctx context.Context, name string) error
	// Rename moves name to newName in to, a directory of the same mount.
	Rename(ctx context.Context, name string, to Directory, newName string) error
	// Link makes newName in to, a directory of the same mount, another name
	// of the file. A symbolic link is not followed.
	Link(ctx context.Context, name string, to Directory, newName string) error
	Symlink(ctx context.Context, target, name string) error
	// SetTimesOf sets the times that are not zero.
	SetTimesOf(ctx context.Context, name string, follow bool, accessed, modified time.Time) error
}

// LinkReader is a Directory that knows symbolic links.
type LinkReader interface {
	// Readlink returns the target of a symbolic link, EINVAL for anything else.
	Readlink(ctx context.Context, name string) (string, error)
}

// Reader is a stream that can be read. A file that implements neither
// [ReaderAt] nor [WriterAt] has no position and can't be seeked.
type Reader interface {
	// Read waits for at least one byte. At the end it returns 0, and nil or
	// io.EOF.
	Read(ctx context.Context, p []byte) (int, error)
}

// Writer is a stream that can be written.
type Writer interface {
	// Write takes at least one byte, waiting only while there is room for
	// none; it may take fewer than len(p) without an error.
	Write(ctx context.Context, p []byte) (int, error)
}

// ReaderAt is a file with positions that can be read.
type ReaderAt interface {
	// ReadAt fills p unless the file ends; then it returns fewer bytes, and
	// nil or io.EOF.
	ReadAt(ctx context.Context, p []byte, offset int64) (int, error)
}

// WriterAt is a file with positions that can be written.
type WriterAt interface {
	WriteAt(ctx context.Context, p []byte, offset int64) (int, error)
}

// Appender is a WriterAt that can write at its end, wherever that is by then.
type Appender interface {
	// Append returns the number of bytes written and the offset behind them.
	Append(ctx context.Context, p []byte) (n int, end int64, err error)
}

// Truncater is a file whose size can be set.
type Truncater interface {
	Truncate(ctx context.Context, size int64) error
}

// TimeSetter is a file whose times can be set.
type TimeSetter interface {
	// SetTimes sets the times that are not zero.
	SetTimes(ctx context.Context, accessed, modified time.Time) error
}

// Syncer is a file that can be flushed to the disk, with dataOnly without what
// is not needed to read the data back.
type Syncer interface {
	Sync(ctx context.Context, dataOnly bool) error
}

// Discarder is a file whose Close commits something. A call that fails
// discards the files it left open instead of closing them.
type Discarder interface {
	Discard()
}

// Events are what can be waited for.
type Events uint8

const (
	// Readable: a Read would not wait, be it for data, the end or an error.
	Readable Events = 1 << iota
	// Writable: a Write would not wait.
	Writable
	// Hangup: the other side will send no more. Reported, not waited for.
	Hangup
)

// Poller is a stream whose reads or writes may have to wait. Streams that are
// no Poller are always ready.
type Poller interface {
	// Ready returns which of the wanted events hold now, Hangup added where
	// it applies, and how many bytes can be read at once, 0 if unknown.
	Ready(want Events) (Events, int64)
	// Notify calls wake, from any goroutine, whenever one of the wanted events
	// may have begun to hold since, until stop has been called. Polling starts
	// whatever is needed to find out, such as reading ahead.
	Notify(want Events, wake func()) (stop func())
}

// Socket is a connected byte stream.
type Socket interface {
	Reader
	Writer
	// Shutdown ends one direction or both.
	Shutdown(ctx context.Context, read, write bool) error
}

// Peeker is a stream that can be read without taking what was read.
type Peeker interface {
	Peek(ctx context.Context, p []byte) (int, error)
}
