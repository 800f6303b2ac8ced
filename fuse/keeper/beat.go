package keeper

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/pkg/procfs"
	"golang.org/x/sys/unix"
)

// A server that is at work says so with every beat, in the file that all
// processes of the view have locked: when it started, and when it beat last, in
// ns since the epoch and since boot. Who must not wait for an answer
// knows from that, and from the lock, that he would get one.
const beatFormat = "%020d %020d\n"

// stale is how old the last beat of a server may be that is at work. It is less
// than [silentFor]: a server that stands still is not taken for one that works
// when the keeper is about to end it.
const stale = 5 * beatEvery / 2

// A beater writes the beats of one server.
type beater struct {
	lock    int // descriptor of the locked file
	started time.Time
	memory  *kept.Memory
	at      [kept.Slots]uint64 // request in each slot at the last beat
}

// beat beats the heart. It says that the server is at work unless it is at a
// request that it was at with the last beat.
func (b *beater) beat() {
	b.memory.Beat()
	stuck := false
	for i := range b.at {
		u := b.memory.Slot(i).Unique()
		stuck = stuck || u != 0 && u == b.at[i]
		b.at[i] = u
	}
	if !stuck {
		_ = SayAtWork(b.lock, b.started) // on failure it goes stale, and the server is asked
	}
}

// SayAtWork says now, in the locked file whose descriptor is lock, that the
// server is at work that started then.
func SayAtWork(lock int, started time.Time) error {
	var buf [64]byte
	_, err := unix.Pwrite(lock, fmt.Appendf(buf[:0], beatFormat, started.UnixNano(), procfs.SinceBoot()), 0)
	return err
}

// AtWork returns when the server started that is at work for the view whose
// lock is the file at that path. ok is false where that cannot be told without
// asking it.
func AtWork(lock string) (started time.Time, ok bool) {
	fd, err := unix.Open(lock, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return time.Time{}, false
	}
	defer unix.Close(fd)
	var buf [64]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return time.Time{}, false
	}
	began, beat, ok := parseBeat(string(buf[:n]))
	if age := procfs.SinceBoot() - time.Duration(beat); !ok || age < 0 || age > stale {
		return time.Time{}, false
	}
	// A server that has died since holds no lock, and no connection.
	held, err := isHeld(fd)
	return time.Unix(0, began), held && err == nil
}

func parseBeat(line string) (started, beat int64, ok bool) {
	first, rest, _ := strings.Cut(line, " ")
	second, _, ended := strings.Cut(rest, "\n")
	started, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	beat, err = strconv.ParseInt(second, 10, 64)
	return started, beat, err == nil && ended
}
