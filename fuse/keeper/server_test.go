package keeper

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// newLink returns a server's side of a link, and the keeper's.
func newLink(t *testing.T) (*Link, *os.File) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Holdings: Holdings{Memory: memory}, keeper: os.NewFile(uintptr(ours), "server"), log: slog.New(slog.DiscardHandler)}
	keeper := os.NewFile(uintptr(theirs), "keeper")
	t.Cleanup(func() {
		l.keeper.Close()
		keeper.Close()
	})
	return l, keeper
}

// A keeper may be killed at any moment of a server's start. Where none serves,
// the server that starts is all that is left of the view: it serves.
func TestReadyWithoutKeeper(t *testing.T) {
	ends := map[string]func(keeper *os.File){
		"before it is ready": func(keeper *os.File) { keeper.Close() },
		"before that is read": func(keeper *os.File) {
			awaitLine(keeper)
			keeper.Close()
		},
		"before it is told to serve": func(keeper *os.File) {
			_, _ = recvLine(int(keeper.Fd()), make([]byte, 64))
			keeper.Close()
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			l, keeper := newLink(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				end(keeper)
			}()
			if name == "before it is ready" {
				<-done
			}
			if err := l.Ready(); err != nil {
				t.Errorf("%v; want the server to serve", err)
			}
			<-done
		})
	}
}

// awaitLine waits until there is something to read.
func awaitLine(f *os.File) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, -1)
}

// It does not serve where another does, or one has been chosen, or where the
// keeper was stopped and took the view away.
func TestReadyUnwanted(t *testing.T) {
	t.Run("another serves", func(t *testing.T) {
		l, keeper := newLink(t)
		keeper.Close()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				l.Memory.Beat()
				select {
				case <-stop:
					return
				case <-time.After(beatEvery / 10):
				}
			}
		}()
		if err := l.Ready(); err == nil {
			t.Error("it serves")
		}
	})
	t.Run("claimed", func(t *testing.T) {
		l, keeper := newLink(t)
		keeper.Close()
		if !l.Memory.Claim(1) {
			t.Fatal("the view is claimed already")
		}
		if err := l.Ready(); err == nil {
			t.Error("it serves")
		}
	})
}

// The last server had started a keeper before it died too. That one starts a
// server, which takes longer than silence tells; where it does not, this one
// serves.
func TestReadyBesideAdoption(t *testing.T) {
	for name, started := range map[string]bool{"starts a server": true, "died as well": false} {
		t.Run(name, func(t *testing.T) {
			l, keeper := newLink(t)
			l.Memory.Count(kept.Adoptions)
			keeper.Close()
			if started {
				time.AfterFunc(silence+400*time.Millisecond, l.Memory.Beat)
			}
			if err := l.Ready(); (err != nil) != started {
				t.Errorf("error %v, want one: %v", err, started)
			}
		})
	}
}
