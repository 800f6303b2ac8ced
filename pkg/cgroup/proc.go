package cgroup

import (
	"fmt"
	"strings"
)

// ParseProcCgroup reads /proc/PID/cgroup into paths by v1 controller; those
// of named hierarchies have their "name=" before them, and that of the
// unified hierarchy the key "". Controllers mounted together have each their
// own entry. See cgroups(7).
func ParseProcCgroup(data []byte) (map[string]string, error) {
	paths := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		id, rest, ok := strings.Cut(line, ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		if _, isNumber := parseUint([]byte(id)); !ok || !ok2 || !isNumber || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%w: line %.64q of /proc/PID/cgroup", errFormat, line)
		}
		for _, c := range strings.Split(controllers, ",") {
			paths[c] = path
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: /proc/PID/cgroup is empty", errFormat)
	}
	return paths, nil
}

// Within reports whether a process whose cgroups are own is in the cgroup at
// paths or below it: in every hierarchy that both name, which is one at least.
// The root is not taken for anybody's cgroup.
func Within(own, paths map[string]string) bool {
	common := false
	for key, p := range paths {
		at, ok := own[key]
		if !ok {
			continue
		}
		if p == "/" || at != p && !strings.HasPrefix(at, p+"/") {
			return false
		}
		common = true
	}
	return common
}
