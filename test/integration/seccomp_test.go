package integration

import (
	"context"
	"testing"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// TestSeccomp: under the runtime's default profile, as the kubelet asks for it
// (RuntimeDefault), every way to ask for the CPUs gives the same number.
func TestSeccomp(t *testing.T) {
	c, err := node.Run(t.Context(), stack.Spec{Image: image.Debian, CPUMilli: 1000, Memory: 512 << 20, Seccomp: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Remove(context.Background()) })
	for line, want := range map[string]string{
		"sed -n 's/^Seccomp:[[:space:]]*//p' /proc/self/status": "2", // filter mode
		"nproc":                     "1",
		"getconf _NPROCESSORS_ONLN": "1",
		"python3 -c 'import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))'": "1 1",
		"node -p 'os.cpus().length + \" \" + os.availableParallelism()'":              "1 1",
	} {
		got, err := c.Shell(t.Context(), line)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
}
