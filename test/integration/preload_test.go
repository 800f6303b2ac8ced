package integration

import "testing"

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
