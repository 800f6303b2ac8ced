//go:build cgo && (amd64 || arm64)

package answer

import (
	"os"
	"testing"

	"github.com/truesize/truesize/pkg/registry"
)

func TestFor(t *testing.T) {
	d, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &registry.Container{ID: "c", Env: []string{"NUM_CPUS"}}
	c.Decision.Size.CPUs, c.Decision.Size.Memory = 4, 1
	if err := d.Put(c); err != nil {
		t.Fatal(err)
	}
	if err := d.KeepSizePage(c, 0); err != nil {
		t.Fatal(err)
	}
	path, err := d.SizePageFile("c")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), page...)
	newer[8]++
	for _, tt := range []struct {
		name string
		page []byte
		env  string
		want Answer
	}{
		{"as created", page, "4", Answer{4, true, 4}},
		{"changed by the process", page, "6", Answer{6, true, 6}},
		{"garbage", page, "two", Answer{4, true, 0}},
		{"unset", page, "", Answer{4, true, 0}},
		{"no page", nil, "6", Answer{6, false, 6}},
		{"page cut short", page[:100], "6", Answer{6, false, 6}},
		{"page of a newer version", newer, "", Answer{0, false, 0}},
		{"nothing", nil, "", Answer{0, false, 0}},
	} {
		if got := For(tt.page, tt.env); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
