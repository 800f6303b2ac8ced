package view

import (
	"time"

	"github.com/truesize/truesize/fuse"
)

// The files of a container, by their number in the tree.
const (
	cpuinfo = iota
	diskstats
	loadavg
	meminfo
	stat
	swaps
	uptime
	cpuOnline
	numFiles
)

// uptimeFreshness is what /proc/uptime shows at best: hundredths of a second.
const uptimeFreshness = 10 * time.Millisecond

// Files is the tree's table: what every container has, and how old it may be
// when it is read. A file of freshness 0 changes with the size only.
func Files(freshness time.Duration) []fuse.File {
	return []fuse.File{
		cpuinfo:   {Path: "proc/cpuinfo"},
		diskstats: {Path: "proc/diskstats", Freshness: freshness},
		loadavg:   {Path: "proc/loadavg", Freshness: freshness},
		meminfo:   {Path: "proc/meminfo", Freshness: freshness},
		stat:      {Path: "proc/stat", Freshness: freshness},
		swaps:     {Path: "proc/swaps", Freshness: freshness},
		uptime:    {Path: "proc/uptime", Freshness: min(freshness, uptimeFreshness)},
		cpuOnline: {Path: "sys/devices/system/cpu/online"},
	}
}
