package procview

import (
	"github.com/truesize/truesize/fuse/layout"
	"github.com/truesize/truesize/pkg/size"
)

// Swaps is /proc/swaps of a container (mm/swapfile.c): one partition of the
// size of its swap, or none.
type Swaps struct {
	swap   uint64
	layout *layout.Layout
}

const (
	swapsHeader = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"
	// swapName stands for whatever the host swaps to: its devices are no
	// concern of the container.
	swapName = "/dev/swap                               partition\t"
	// swapDigits holds 2^52 bytes in kB.
	swapDigits = 13
)

// NewSwaps returns the renderer.
func NewSwaps(s size.Size) *Swaps {
	widths := []int{len(swapsHeader) + 1}
	if s.Swap >= kB {
		widths = append(widths, len(swapName)+2*(swapDigits+2)+len("-2\n"))
	}
	l, err := layout.New(widths)
	if err != nil {
		panic(err) // constants of this package
	}
	return &Swaps{swap: s.Swap, layout: l}
}

// Size returns the file's constant size in bytes.
func (s *Swaps) Size() int { return s.layout.Size() }

// Append appends one snapshot, used in bytes.
func (s *Swaps) Append(dst []byte, used uint64) []byte {
	w := s.layout.Write(dst)
	w.String(swapsHeader)
	w.End()
	if s.swap >= kB {
		w.String(swapName)
		writeSwapColumn(&w, s.swap/kB)
		writeSwapColumn(&w, min(used, s.swap)/kB)
		w.String("-2")
		w.End()
	}
	return w.Done()
}

// writeSwapColumn writes a number and the tabs that the kernel sets after it:
// two, or one when the number is as wide as a tab.
func writeSwapColumn(w *layout.Writer, n uint64) {
	w.Uint(n, swapDigits)
	w.String("\t")
	if n < 10_000_000 {
		w.String("\t")
	}
}
