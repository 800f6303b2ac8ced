package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func ready(t *testing.T, yaml string) (*stack, *consumer) {
	t.Helper()
	s := newStack(t, 1, nil, "", yaml)
	s.startBroker()
	s.agent.start()
	return s, newConsumer(t, s.addr, "logs", nil, nil)
}

func writers(t *testing.T, s *stack, n int) []*writer {
	var ws []*writer
	for i := range n {
		ws = append(ws, newWriter(t, s.root, fmt.Sprintf("pod%d", i), "app"))
	}
	return ws
}

// steady writes lines with all writers until stop says so.
func steady(ws []*writer, lines, width int, pause time.Duration, stop func(i int) bool) {
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			for i := 0; !stop(i); i++ {
				w.lines(lines, width)
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
}

func rounds(n int) func(int) bool { return func(i int) bool { return i >= n } }

func until(d time.Duration) func(int) bool {
	end := time.Now().Add(d)
	return func(int) bool { return time.Now().After(end) }
}

func TestSteady(t *testing.T) {
	s, c := ready(t, "")
	ws := writers(t, s, 5)
	steady(ws, 50, 150, 10*time.Millisecond, rounds(50))
	c.await(ws...)
	if n := c.duplicates(); n != 0 {
		t.Errorf("%d duplicates without a crash", n)
	}
	s.nothingLost()
}

// Rotation every 500 ms while lines come at 20 MB/s. On a machine that cannot,
// it is the same amount in a longer time.
func TestRotation(t *testing.T) {
	const (
		rate  = 20e6 // bytes in a second, of both writers
		width = 1000
		pause = 25 * time.Millisecond
	)
	s, c := ready(t, "")
	ws := writers(t, s, 2)
	bytes := rate * float64(scale(4, 20))
	blocks := int(bytes / rate / pause.Seconds())
	lines := int(rate * pause.Seconds() / float64(len(ws)) / (width + 60)) // with time, stream and number
	began := time.Now()
	var writing, rotating sync.WaitGroup
	written := make(chan struct{})
	for _, w := range ws {
		rotating.Go(func() {
			for {
				select {
				case <-written:
					return
				case <-time.After(500 * time.Millisecond):
					w.rotate(5)
				}
			}
		})
		writing.Go(func() {
			for i := range blocks {
				time.Sleep(time.Until(began.Add(time.Duration(i) * pause)))
				w.block(lines, width)
			}
			w.endBlocks()
		})
	}
	writing.Wait()
	took := time.Since(began)
	close(written)
	rotating.Wait()
	c.await(ws...)
	var total int64
	rotations := 0
	for _, w := range ws {
		total += w.total
		rotations += w.at
	}
	t.Logf("%.1f MB/s, %d rotations", float64(total)/1e6/took.Seconds(), rotations)
	if n := c.duplicates(); n != 0 {
		t.Errorf("%d duplicates without a crash", n)
	}
	s.nothingLost()
}

// The reader is down while files are rotated and compressed: for a short time
// and a long one, after an orderly end and a kill.
func TestDownAcrossRotations(t *testing.T) {
	tests := []struct {
		sig  syscall.Signal
		down time.Duration
	}{
		{syscall.SIGKILL, 60 * time.Second}, // first: the others run beside it
		{syscall.SIGTERM, 5 * time.Second},
		{syscall.SIGKILL, 5 * time.Second},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.sig, " ", test.down), func(t *testing.T) {
			t.Parallel()
			s, c := ready(t, "")
			ws := writers(t, s, 3)
			steady(ws, 20, 200, 10*time.Millisecond, rounds(20))
			s.agent.end(test.sig)
			before := c.duplicates()
			// Four files are the most that the kubelet keeps beside the one
			// being written, so nothing is gone.
			const rotations = 4
			for range rotations {
				steady(ws, 100, 200, test.down/rotations/20, until(test.down/rotations))
				for _, w := range ws {
					w.rotate(rotations + 2)
				}
			}
			compressed, err := filepath.Glob(filepath.Join(s.root, "*", "*", "*.gz"))
			if err != nil || len(compressed) < len(ws)*(rotations-1) {
				t.Fatalf("%d compressed files, %v", len(compressed), err)
			}
			steady(ws, 20, 200, 0, rounds(3))
			s.agent.start()
			c.await(ws...)
			if n := c.duplicates() - before; test.sig == syscall.SIGTERM && n != 0 {
				t.Errorf("%d duplicates after an orderly stop", n)
			}
			s.nothingLost()
		})
	}
}

// Containers that live for 50 ms, whose directory goes at once, some without a
// newline at their end.
func TestShortLived(t *testing.T) {
	t.Parallel()
	s, c := ready(t, "")
	time.Sleep(500 * time.Millisecond)
	var ws []*writer
	for i := range scale(30, 200) {
		w := newWriter(t, s.root, fmt.Sprintf("job%d", i), "app")
		w.lines(10, 50)
		time.Sleep(40 * time.Millisecond)
		w.lines(10, 50)
		w.write(fmt.Appendf(nil, "2024-05-01T10:00:00Z stdout P last words of %d", i))
		time.Sleep(10 * time.Millisecond)
		w.close()
		if err := os.RemoveAll(filepath.Dir(w.dir)); err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	c.await(ws...)
	deadline := time.Now().Add(patience)
	for {
		c.mu.Lock()
		n := len(c.others)
		c.mu.Unlock()
		if n == len(ws) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d last words arrived", n, len(ws))
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.nothingLost()
	// All is given back.
	for {
		if st := s.status(); len(st.Containers) == 0 && st.OpenFiles == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still known: %d containers, %d open files", len(st.Containers), st.OpenFiles)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestThousandFiles(t *testing.T) {
	s := newStack(t, 1, []string{"-partitions", "12"}, "", "")
	s.startBroker()
	ws := writers(t, s, 1000)
	for _, w := range ws[:len(ws)/2] {
		w.lines(20, 100)
	}
	s.agent.start()
	c := newConsumer(t, s.addr, "logs", nil, nil)
	for range 5 {
		for _, w := range ws {
			w.lines(5, 100)
		}
	}
	c.await(ws...)
	s.nothingLost()
}

// The reader is killed at random while files are written and rotated.
func TestKill(t *testing.T) {
	t.Parallel()
	s, c := ready(t, "")
	ws := writers(t, s, 4)
	const kills = 100
	began := time.Now()
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(over)
		for range kills {
			time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
			s.agent.kill()
			s.agent.start()
		}
	})
	stop := func(int) bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	wg.Go(func() {
		for !stop(0) {
			time.Sleep(1500 * time.Millisecond)
			for _, w := range ws {
				if len(w.rotated()) < 4 { // never more than is kept
					w.rotate(6)
				}
			}
		}
	})
	steady(ws, 20, 200, 10*time.Millisecond, stop)
	wg.Wait()
	c.await(ws...)
	// At most a second's worth for each kill: the checkpoint's age.
	written := 0
	for _, w := range ws {
		written += w.n[0] + w.n[1]
	}
	if n, most := c.duplicates(), kills*int(float64(written)/time.Since(began).Seconds()); n > most {
		t.Errorf("%d duplicates of %d lines after %d kills, want at most %d", n, written, kills, most)
	}
	s.nothingLost()
}

// Kafka is away, the reader is killed meanwhile, and both come back.
func TestKafkaDown(t *testing.T) {
	t.Parallel()
	s, c := ready(t, "memory: 16MiB")
	ws := writers(t, s, 3)
	steady(ws, 50, 200, 10*time.Millisecond, rounds(20))
	s.broker.kill()
	steady(ws, 100, 500, 50*time.Millisecond, until(30*time.Second))
	s.agent.kill()
	steady(ws, 50, 200, 10*time.Millisecond, rounds(20))
	s.agent.start()
	steady(ws, 50, 200, 10*time.Millisecond, rounds(20))
	s.startBroker()
	steady(ws, 50, 200, 10*time.Millisecond, rounds(20))
	c.await(ws...)
	// A restart of the broker alone.
	s.broker.end(syscall.SIGTERM)
	steady(ws, 50, 200, 10*time.Millisecond, rounds(20))
	s.startBroker()
	c.await(ws...)
	s.nothingLost()
}

// The broker is slow, and leaders move from broker to broker.
func TestSlowAndMoving(t *testing.T) {
	for name, args := range map[string][]string{
		"slow":   {"-slow", "300ms"},
		"moving": {"-swing", "400ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, 3, args, "", "")
			s.startBroker()
			s.agent.start()
			c := newConsumer(t, s.addr, "logs", nil, nil)
			ws := writers(t, s, 5)
			steady(ws, 50, 200, 20*time.Millisecond, until(time.Duration(scale(4, 20))*time.Second))
			c.await(ws...)
			s.nothingLost()
		})
	}
}

// Memory stays bounded with Kafka away and far more to read than fits.
func TestMemory(t *testing.T) {
	s := newStack(t, 1, nil, "", "")
	w := writers(t, s, 20)
	for range scale(10, 50) {
		for _, w := range w {
			w.lines(1000, 1000)
		}
	}
	s.agent.start() // no broker yet: nothing is read
	time.Sleep(2 * time.Second)
	s.startBroker()
	c := newConsumer(t, s.addr, "logs", nil, nil)
	time.Sleep(1 * time.Second)
	s.broker.kill() // in the middle
	steady(w, 100, 1000, 50*time.Millisecond, until(time.Duration(scale(3, 30))*time.Second))
	most := s.agent.rss()
	s.startBroker()
	for deadline := time.Now().Add(patience); !c.complete(w) && time.Now().Before(deadline); {
		most = max(most, s.agent.rss())
		time.Sleep(50 * time.Millisecond)
	}
	c.await(w...)
	t.Logf("%d MiB resident at most", most>>20)
	if most > 96<<20 {
		t.Errorf("%d MiB resident, want at most 96 (64 for logs)", most>>20)
	}
}

// A line far above the bound arrives in pieces that say so.
func TestLongLine(t *testing.T) {
	t.Parallel()
	s, c := ready(t, "")
	w := newWriter(t, s.root, "pod", "app")
	w.lines(10, 100)
	long := strings.Repeat("0123456789abcde\n", 10<<20/16) // newlines become partial lines
	var b []byte
	for line := range strings.Lines(long) {
		b = fmt.Appendf(b, "2024-05-01T10:00:00Z stdout P %s\n", strings.TrimSuffix(line, "\n"))
	}
	w.write(append(b, "2024-05-01T10:00:00Z stdout F end\n"...))
	w.lines(10, 100)
	c.await(w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := strings.Join(c.others, ""); got != strings.ReplaceAll(long, "\n", "")+"end" || len(c.others) < 10 {
		t.Errorf("%d bytes in %d pieces", len(got), len(c.others))
	}
}
