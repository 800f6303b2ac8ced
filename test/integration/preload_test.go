package integration

import (
	"fmt"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// TestSeccomp: under the runtime's default profile, as the kubelet asks for it
// (RuntimeDefault), every way to ask for the CPUs gives the same number.
func TestSeccomp(t *testing.T) {
	spec := debian()
	spec.Seccomp = true
	c := run(t, spec)
	wantSh(t, c, "sed -n 's/^Seccomp:[[:space:]]*//p' /proc/self/status", "2") // filter mode
	wantSh(t, c, "nproc; getconf _NPROCESSORS_ONLN", "1\n1")
	wantSh(t, c, "python3 -c 'import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))'", "1 1")
	wantSh(t, c, `node -p 'os.cpus().length + " " + os.availableParallelism()'`, "1 1")
}

// TestSystemPreload: an image's own /etc/ld.so.preload is kept, and works
// beside the shim.
func TestSystemPreload(t *testing.T) {
	c := run(t, debian())
	wantSh(t, c, "ls /lib/*-linux-gnu/libm.so.6 > /etc/ld.so.preload; grep -c libm.so.6 /etc/ld.so.preload", "1")
	// cat links to no libm by itself.
	wantSh(t, c, "cat /proc/self/maps | grep -o -e libm.so -e libtruesize.so | sort -u | tr '\\n' ' '; nproc",
		"libm.so libtruesize.so 1")
}

// TestAppArmor: under the runtime's default profiles of AppArmor and seccomp,
// the shim is loaded and the view is read, by the container's own process and
// by those that are executed in it.
func TestAppArmor(t *testing.T) {
	needGuest(t)
	const (
		ask     = "/usr/bin/nproc; /usr/bin/getconf _NPROCESSORS_ONLN; /usr/bin/getconf _PHYS_PAGES"
		answer  = "1\n1\n65536" // pages of 4 KiB
		profile = "cri-containerd.apparmor.d (enforce)"
	)
	spec := small()
	spec.Seccomp = true
	// The node's programs: those of the image are static.
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		spec.Mounts = append(spec.Mounts, stack.Mount{Source: dir, Target: dir, ReadOnly: true})
	}
	spec.Command = []string{"sh", "-c", "(cat /proc/self/attr/current; " + ask + ") > /tmp/first; exec sleep 86400"}
	c := run(t, spec)
	eventually(t, func() error {
		if got := sh(t, c, "cat /tmp/first || true"); got != profile+"\n"+answer {
			return fmt.Errorf("the container's process saw %q", got)
		}
		return nil
	})
	wantSh(t, c, "cat /proc/self/attr/current", profile)
	wantSh(t, c, ask, answer)
	wantSh(t, c, "/usr/bin/grep -c 'r-xp .*/libtruesize.so' /proc/self/maps", "1")
	wantSize(t, c, 1, 256)
	wantSh(t, c, "cat /sys/devices/system/cpu/online", "0")
}
