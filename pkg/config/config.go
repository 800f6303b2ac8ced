// Package config reads the agent's configuration: defaults, then the YAML
// file, then the environment, then flags, each over the one before.
//
// It is strict: a key it does not know, a key that is there twice and a value
// that does not fit are errors that name the key and the line, and every error
// is reported at once. docs/configuration.md lists the keys. Of
// Truesize it imports pkg/inject, for its table of variables.
package config

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/truesize/truesize/pkg/inject"
)

// A Config is the agent's configuration. The comments give the YAML keys.
type Config struct {
	RunDir   string // runDir: run-time state
	StateDir string // stateDir: what outlives a reboot; not mounted noexec

	LogLevel slog.Level // log.level

	MetricsAddress string // metrics.address: host:port of /metrics, /healthz, /readyz

	NRISocket      string // nri.socket
	NRIPluginName  string // nri.pluginName
	NRIPluginIndex string // nri.pluginIndex: two digits

	FromRequests bool // size.fromRequests

	Include  []string        // inject.namespaces.include: the only ones, unless empty
	Exclude  []string        // inject.namespaces.exclude: wins over include
	Selector labels.Selector // inject.selector, on pod labels
	View     bool            // inject.view
	Shim     bool            // inject.shim
	NumCPUs  bool            // inject.numCPUs
	Env      map[string]bool // inject.env: which of inject.Variables are set

	CPUSet          bool   // cpuset.enabled
	CPUManagerState string // cpuset.cpuManagerState: the kubelet's

	ViewBinary string        // view.binary: a path, or a name on PATH
	Freshness  time.Duration // view.freshness: how old a file's content may be
	Prepare    bool          // view.prepare: read ahead of readers at a steady pace

	Network bool // network.reconcile: tidy up after the CNI plugin

	Logs *Section // logs: forwarding, nil is off; docs/logs.md has its keys

	// Blank says that the file was read and sets nothing, though it does not say
	// {}: it may have been cut short.
	Blank bool
}

// Default returns the configuration of an empty file.
func Default() Config {
	env := make(map[string]bool)
	for _, v := range inject.Variables() {
		env[v.Name] = v.Default
	}
	return Config{
		RunDir:          "/run/truesize",
		StateDir:        "/var/lib/truesize",
		LogLevel:        slog.LevelInfo,
		MetricsAddress:  "127.0.0.1:9464",
		NRISocket:       "/var/run/nri/nri.sock",
		NRIPluginName:   "truesize",
		NRIPluginIndex:  "90",
		Exclude:         []string{"kube-system"},
		Selector:        labels.Everything(),
		View:            true,
		Shim:            true,
		NumCPUs:         true,
		Env:             env,
		CPUManagerState: "/var/lib/kubelet/cpu_manager_state",
		ViewBinary:      "truesize-viewd",
		Freshness:       50 * time.Millisecond,
		Prepare:         true,
		Network:         true,
	}
}
