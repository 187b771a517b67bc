package engine

import (
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestHeadroom: the collector counts the headroom, and the machine does not.
func TestHeadroom(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Skip("GOGC is set")
	}
	newTestEngine(t, Config{})
	room := headroom()
	if len(room) != headroomSize {
		t.Fatalf("got %d bytes", len(room))
	}
	page := uintptr(os.Getpagesize())
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(room))) % page
	room = room[skip : uintptr(len(room))-(page-skip)%page]
	resident := make([]byte, (len(room)+int(page)-1)/int(page))
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(room))), uintptr(len(room)), uintptr(unsafe.Pointer(&resident[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	touched := 0
	for _, r := range resident {
		touched += int(r & 1)
	}
	if touched > len(resident)/64 {
		t.Errorf("%d of %d pages take memory", touched, len(resident))
	}

	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	if got := goal[0].Value.Uint64(); got < 2*headroomSize {
		t.Errorf("the next collection comes at %d bytes", got)
	}
}
