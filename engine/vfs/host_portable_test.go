//go:build !linux || vfsportable

package vfs

// betweenHandles is the error for renaming from one open directory to another,
// for which the standard library has no call.
var betweenHandles error = EXDEV
