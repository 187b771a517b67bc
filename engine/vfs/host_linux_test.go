//go:build linux && !vfsportable

package vfs

// betweenHandles is the error for renaming from one open directory to another.
var betweenHandles error
