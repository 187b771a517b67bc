package vfs

import (
	"context"
	"crypto/rand"
)

// Device is a mount that is a single file: every open makes one of its own.
type Device struct {
	Type FileType
	// Inert: using it depends on nothing outside of the sandbox and changes
	// nothing there.
	Inert bool
	// New returns the file for one open. The flags that concern making or
	// emptying a file have been dealt with.
	New func(ctx context.Context, flags OpenFlags) (File, error)
}

// Null reads as empty and swallows what is written to it.
var Null FS = &Device{TypeCharacterDevice, true, func(context.Context, OpenFlags) (File, error) { return nullFile{}, nil }}

// Random reads as cryptographically secure random bytes and swallows what is
// written to it.
var Random FS = &Device{TypeCharacterDevice, true, func(context.Context, OpenFlags) (File, error) { return randomFile{}, nil }}

// Root returns a directory in which only "." exists, and is the device.
func (d *Device) Root(context.Context) (Directory, error) { return deviceRoot{d}, nil }

// isInert tells whether fs is a device that nothing outside of the sandbox knows of.
func isInert(fs FS) bool {
	d, ok := fs.(*Device)
	return ok && d.Inert
}

type deviceRoot struct{ device *Device }

func (r deviceRoot) check(name string) error {
	if name != "." {
		return ENOTDIR
	}
	return nil
}

func (r deviceRoot) Stat(context.Context) (Stat, error) {
	return Stat{Device: treeDevice, Type: r.device.Type, Links: 1}, nil
}

func (r deviceRoot) Close(context.Context) error { return nil }

func (r deviceRoot) Open(ctx context.Context, name string, flags OpenFlags) (File, error) {
	switch {
	case r.check(name) != nil, flags&OnlyDirectory != 0:
		return nil, ENOTDIR
	case flags&(Create|Exclusive) == Create|Exclusive:
		return nil, EEXIST
	}
	return r.device.New(ctx, flags&^(Create|Exclusive|Truncate|NoFollow))
}

func (r deviceRoot) Lookup(ctx context.Context, name string, _ bool) (Stat, error) {
	if err := r.check(name); err != nil {
		return Stat{}, err
	}
	return r.Stat(ctx)
}

func (r deviceRoot) List(context.Context) (Lister, error) { return nil, ENOTDIR }

// characterDevice is what the simple devices have in common.
type characterDevice struct{}

func (characterDevice) Stat(context.Context) (Stat, error) {
	return Stat{Device: treeDevice, Type: TypeCharacterDevice, Links: 1}, nil
}

func (characterDevice) Close(context.Context) error { return nil }

func (characterDevice) Write(_ context.Context, p []byte) (int, error) { return len(p), nil }

type nullFile struct{ characterDevice }

func (nullFile) Read(context.Context, []byte) (int, error) { return 0, nil }

type randomFile struct{ characterDevice }

// IsRandom tells whether reading f yields random numbers: f is an open [Random].
func IsRandom(f File) bool {
	_, ok := f.(randomFile)
	return ok
}

func (randomFile) Read(_ context.Context, p []byte) (int, error) { return rand.Read(p) }
