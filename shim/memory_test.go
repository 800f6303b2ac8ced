package shim_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
)

// sinceBoot returns CLOCK_BOOTTIME.
func sinceBoot(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// sysinfo asks for all fields of sysinfo(2).
func (p *probe) sysinfo() map[string]string {
	p.t.Helper()
	fields := make(map[string]string)
	for _, field := range strings.Fields(p.ask("sysinfo")) {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	return fields
}

const mib = 1 << 20

func TestSysinfo(t *testing.T) {
	v2 := map[string]string{"memory.current": "268435456\n", "memory.swap.current": "1048576\n", "pids.current": "77\n"}
	v1 := map[string]string{
		"memory/memory.usage_in_bytes":       "268435456\n",
		"memory/memory.memsw.usage_in_bytes": "269484032\n",
		"pids/pids.current":                  "70000\n",
	}
	tests := []struct {
		name   string
		cgroup map[string]string
		page   registry.SizePage
		want   map[string]int
	}{
		{"v2", v2, registry.SizePage{Memory: 512 * mib, Swap: 4 * mib},
			map[string]int{"total": 512 * mib, "free": 256 * mib, "swap": 4 * mib, "freeswap": 3 * mib, "procs": 77}},
		{"v1", v1, registry.SizePage{Memory: 512 * mib, Swap: 4 * mib},
			map[string]int{"total": 512 * mib, "free": 256 * mib, "swap": 4 * mib, "freeswap": 3 * mib, "procs": 65535}},
		{"no swap", v2, registry.SizePage{Memory: 256 * mib},
			map[string]int{"total": 256 * mib, "free": 0, "swap": 0, "freeswap": 0}},
		{"usage above the size", v2, registry.SizePage{Memory: 1 * mib}, map[string]int{"total": mib, "free": 0}},
		{"no cgroup", map[string]string{}, registry.SizePage{Memory: 3 * mib, Swap: 2 * mib},
			map[string]int{"total": 3 * mib, "free": 3 * mib, "swap": 2 * mib}},
		{"garbage", map[string]string{"memory.current": "max\n", "pids.current": ""}, registry.SizePage{Memory: 3 * mib},
			map[string]int{"total": 3 * mib, "free": 3 * mib}},
		{"number cut short", map[string]string{"memory.current": "12"}, registry.SizePage{Memory: 3 * mib},
			map[string]int{"free": 3 * mib}},
		{"number too large", map[string]string{"memory.current": "99999999999999999999\n"}, registry.SizePage{Memory: 3 * mib},
			map[string]int{"free": 3 * mib}},
		{"terabytes", v2, registry.SizePage{Memory: 64 << 40}, map[string]int{"total": 64 << 40, "free": 64<<40 - 256*mib}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, func(t *testing.T, w world) {
				tt.page.CPUs = 1
				p := w.probe(t, box{page: newPage(t, tt.page), cgroup: tt.cgroup})
				got := p.sysinfo()
				for field, want := range tt.want {
					if got[field] != strconv.Itoa(want) {
						t.Errorf("%s: got %s, want %d", field, got[field], want)
					}
				}
				if got["unit"] != "1" || got["shared"] != "0" || got["buffer"] != "0" {
					t.Errorf("got unit %s, shared %s, buffer %s, want 1, 0, 0", got["unit"], got["shared"], got["buffer"])
				}
				if free, ok := tt.want["free"]; ok {
					p.want("avphys_pages", free/4096)
					p.want("sysconf 86", fmt.Sprintf("%d errno 0", free/4096))
				}
				p.want("phys_pages", tt.page.Memory/4096)
				p.want("sysconf 85", fmt.Sprintf("%d errno 0", tt.page.Memory/4096))
			})
		})
	}
}

func TestSysinfoWithoutSize(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			t.Fatal(err)
		}
		p := w.probe(t, box{})
		got := p.sysinfo()
		if want := strconv.FormatUint(info.Totalram, 10); got["total"] != want {
			t.Errorf("total: got %s, want the node's %s", got["total"], want)
		}
		p.want("phys_pages", info.Totalram/4096)
	})
}

func TestUptimeIsTheContainers(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		boot := sinceBoot(t)
		page := newPage(t, registry.SizePage{CPUs: 1, Memory: gib, Start: boot - 10*time.Second})
		got, err := strconv.Atoi(w.probe(t, box{page: page}).sysinfo()["uptime"])
		// The kernel rounds its uptime up.
		if passed := int((sinceBoot(t) - boot).Seconds()) + 12; err != nil || got < 10 || got > passed {
			t.Errorf("uptime is %d s (%v), want 10 to %d", got, err, passed)
		}

		page = newPage(t, registry.SizePage{CPUs: 1, Memory: gib, Start: boot + time.Hour})
		if got, err := strconv.Atoi(w.probe(t, box{page: page}).sysinfo()["uptime"]); err != nil || got < int(boot.Seconds()) {
			t.Errorf("started in the future: uptime is %d s (%v), want the node's", got, err)
		}
	})
}

func TestLoads(t *testing.T) {
	loadavg := map[string]string{"/proc/loadavg": "12.25 3.50 0.07 1/123 4567\n"}
	inWorlds(t, func(t *testing.T, w world) {
		d := newRegistry(t)
		page := put(t, d, registry.SizePage{CPUs: 1, Memory: gib})
		p := w.probe(t, box{page: page, files: loadavg})
		p.want("loads 3", "3: 12.25 3.50 0.07")
		p.want("loads 1", "1: 12.25 -1.00 -1.00")
		p.want("loads 9", "3: 12.25 3.50 0.07")

		m, err := d.MapSizePage(id)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.SetLoads([3]float64{0.5, 700.25, 0}, sinceBoot(t))
		p.want("loads 3", "3: 0.50 700.25 0.00")
		if got, want := p.sysinfo()["loads"], "32768,45891584,0"; got != want {
			t.Errorf("sysinfo's loads: got %s, want %s", got, want)
		}

		m.SetLoads([3]float64{9, 9, 9}, sinceBoot(t)-time.Minute) // whoever wrote them is gone
		p.want("loads 3", "3: 12.25 3.50 0.07")
		if got := p.sysinfo()["loads"]; strings.HasPrefix(got, "589824,") {
			t.Errorf("sysinfo's loads: got %s, which are a minute old", got)
		}
	})
}

// A /proc/loadavg that is none makes the libc answer.
func TestLoadsOfGarbage(t *testing.T) {
	answer := regexp.MustCompile(`^(3: \d+\.\d\d \d+\.\d\d \d+\.\d\d|-?[01]: .*)$`)
	for _, content := range []string{"", "\n", "1.0", "1.0 2.0 3.0", ". . . ", "1.0 2.0 x ", "-1 2 3 ", "1..2 3 4 ",
		strings.Repeat("9", 200) + " 1 1 "} {
		t.Run(fmt.Sprintf("%.10q", content), func(t *testing.T) {
			p := worlds()[1].probe(t, box{files: map[string]string{"/proc/loadavg": content}})
			if got := p.ask("loads 3"); !answer.MatchString(got) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Every name but the container's four is answered as without the shim.
func TestSysconfOfOtherNames(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		page := newPage(t, registry.SizePage{CPUs: 7, Memory: gib})
		sized, bare := w.probe(t, box{page: page}), w.bareProbe(t, box{page: page})
		for name := -1; name < 300; name++ {
			if name >= 83 && name <= 86 {
				continue
			}
			command := fmt.Sprintf("sysconf %d", name)
			sized.want(command, bare.ask(command))
		}
	})
}
