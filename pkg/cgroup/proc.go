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
