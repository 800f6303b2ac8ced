package shim_test

import "testing"

// What a JVM was told on its command line goes first, then the container's
// size, then what the JVM finds by itself.
func TestJVM(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags []string
		sized bool
		want  int
	}{
		{"flag", []string{"-DFLAG=3"}, true, 3},
		{"flag above the size", []string{"-DFLAG=100"}, true, 100},
		{"flag of JDK 8", []string{"-DFLAG=3", `-DTYPE="Flag"`}, true, 3},
		{"flag without a size", []string{"-DFLAG=3"}, false, 3},
		{"no flag", []string{"-DFLAG=-1"}, true, 77},
		{"no flag, no size", []string{"-DFLAG=-1"}, false, 55},
		{"no flags known", []string{"-DFLAG=3", `-DTYPE="Option"`}, true, 77},
		{"no tables", nil, true, 77},
		{"no tables, no size", nil, false, 55},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, func(t *testing.T, w world) {
				jvm := w.compile(t, "libjvm.c", append(tt.flags, "-shared", "-fPIC")...)
				var b box
				if tt.sized {
					b = sized(t)
				}
				b.preload = w.install(t) + ":" + jvm
				p := w.bareProbe(t, b)
				p.want("jvm", tt.want)
				p.want("jvm", tt.want)
			})
		})
	}
}
