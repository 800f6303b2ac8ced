package logs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// dockerMeta reads what dockerd writes of a container beside its logs:
// config.v2.json, a file of dockerd's own of which only names and labels are
// taken.
func dockerMeta(dir, id string) (Meta, bool) {
	data, err := os.ReadFile(filepath.Join(dir, "config.v2.json"))
	if err != nil {
		return Meta{ID: id}, false
	}
	var c struct {
		Name   string
		Config struct {
			Image  string
			Labels map[string]string
		}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return Meta{ID: id}, false
	}
	m := Meta{ID: id, Image: c.Config.Image, Labels: c.Config.Labels, Container: strings.TrimPrefix(c.Name, "/")}
	// cri-dockerd labels a container with the pod it is of.
	if pod := c.Config.Labels["io.kubernetes.pod.name"]; pod != "" {
		m.Pod, m.Namespace = pod, c.Config.Labels["io.kubernetes.pod.namespace"]
		m.UID, m.Container = c.Config.Labels["io.kubernetes.pod.uid"], c.Config.Labels["io.kubernetes.container.name"]
	}
	return m, true
}
