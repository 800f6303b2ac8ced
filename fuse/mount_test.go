package fuse

import (
	"reflect"
	"testing"
)

func TestParseMounts(t *testing.T) {
	data := `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 254:0 /srv/run /run/with\040space rw - ext4 /dev/vda rw
91 90 0:50 / /run/with\040space/view rw,nosuid shared:5 master:1 - fuse.truesize truesize rw,user_id=0
broken line
`
	want := []mount{
		{"/", "/", "ext4"},
		{"/srv/run", "/run/with space", "ext4"},
		{"/", "/run/with space/view", "fuse.truesize"},
	}
	if got := parseMounts([]byte(data)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if m := topMount(append(want, mount{"/x", "/", "tmpfs"}), "/"); m.fsType != "tmpfs" {
		t.Errorf("top mount: %+v", m)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte("22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"))
	f.Add([]byte("1 2 3 \\04 \\999 x - a\n"))
	f.Fuzz(func(t *testing.T, data []byte) { parseMounts(data) })
}
