package engine

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// TestGiveWay: what comes from the network is noticed while every processor computes, long before
// Go would look by itself.
func TestGiveWay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no bell")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one, other := localPair(t)
	const echoes = 50
	go func() {
		var b [1]byte
		for range echoes {
			if _, err := one.Read(b[:]); err != nil {
				t.Error(err)
				return
			}
			if _, err := one.Write(b[:]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	took := func(giveWay func(*bell)) time.Duration {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			b := newBell()
			defer b.close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
				}
				giveWay(b)
			}
		}()
		start := time.Now()
		var b [1]byte
		for range echoes / 2 {
			if _, err := other.Write(b[:]); err != nil {
				t.Fatal(err)
			}
			if _, err := other.Read(b[:]); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(start)
	}
	with, without := took((*bell).giveWay), took(func(*bell) { runtime.Gosched() })
	t.Logf("%s with bells, %s without", with, without)
	if with > without/2 {
		t.Errorf("it takes %s with bells and %s without", with, without)
	}
}

// localPair returns both ends of a connection.
func localPair(t *testing.T) (one, other net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if one, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if other, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close(); other.Close() })
	return one, other
}

// TestGiveWayAllocates nothing.
func TestGiveWayAllocates(t *testing.T) {
	b := newBell()
	defer b.close()
	if n := testing.AllocsPerRun(1000, b.giveWay); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	(*bell)(nil).giveWay()
	(*bell)(nil).close()
}

func BenchmarkGiveWay(b *testing.B) {
	bell := newBell()
	defer bell.close()
	for b.Loop() {
		bell.giveWay()
	}
}

// TestGiveWayToTimers: timers go off in time while a goroutine gives way again and again, also those
// of processors that have nothing to run.
func TestGiveWayToTimers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := newBell()
		defer b.close()
		for {
			select {
			case <-stop:
				return
			default:
			}
			for start := time.Now(); time.Since(start) < 200*time.Microsecond; {
			}
			b.giveWay()
		}
	}()
	var longest time.Duration
	for range 200 {
		start := time.Now()
		time.Sleep(2 * time.Millisecond)
		longest = max(longest, time.Since(start))
	}
	close(stop)
	<-ended
	t.Logf("the longest 2 ms took %s", longest)
	if longest > time.Second {
		t.Errorf("2 ms took %s", longest)
	}
}
