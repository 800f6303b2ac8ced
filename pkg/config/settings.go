package config

import "github.com/truesize/truesize/pkg/inject"

// A Setting is one value of the configuration, wherever it comes from.
type Setting struct {
	Key  string // in the file, as a path
	Env  string // in the environment
	Flag string // on the command line, empty where there is none
	Help string

	list bool // a sequence in the file, comma-separated elsewhere
	set  func(c *Config, values []string) error
}

// Settings returns the table of every value there is.
func Settings() []Setting {
	settings := []Setting{
		{Key: "runDir", Env: "TRUESIZE_RUN_DIR", Flag: "run-dir", Help: "directory of run-time state",
			set: one(func(c *Config, v string) (err error) { c.RunDir, err = absolute(v); return })},
		{Key: "stateDir", Env: "TRUESIZE_STATE_DIR", Flag: "state-dir", Help: "directory of what outlives a reboot",
			set: one(func(c *Config, v string) (err error) { c.StateDir, err = absolute(v); return })},
		{Key: "log.level", Env: "TRUESIZE_LOG_LEVEL", Flag: "log-level", Help: "debug, info, warn or error",
			set: one(func(c *Config, v string) (err error) { c.LogLevel, err = level(v); return })},
		{Key: "metrics.address", Env: "TRUESIZE_METRICS_ADDRESS", Flag: "metrics-address", Help: "host:port of /metrics, /healthz and /readyz",
			set: one(func(c *Config, v string) (err error) { c.MetricsAddress, err = address(v); return })},
		{Key: "nri.socket", Env: "TRUESIZE_NRI_SOCKET", Flag: "nri-socket", Help: "NRI socket of the container runtime",
			set: one(func(c *Config, v string) (err error) { c.NRISocket, err = absolute(v); return })},
		{Key: "nri.pluginName", Env: "TRUESIZE_NRI_PLUGIN_NAME", Help: "name of the plugin",
			set: one(func(c *Config, v string) (err error) { c.NRIPluginName, err = pluginName(v); return })},
		{Key: "nri.pluginIndex", Env: "TRUESIZE_NRI_PLUGIN_INDEX", Help: "two digits, the place among plugins",
			set: one(func(c *Config, v string) (err error) { c.NRIPluginIndex, err = pluginIndex(v); return })},
		{Key: "size.fromRequests", Env: "TRUESIZE_SIZE_FROM_REQUESTS", Help: "size CPUs by request where there is no limit",
			set: one(func(c *Config, v string) (err error) { c.FromRequests, err = boolean(v); return })},
		{Key: "inject.namespaces.include", Env: "TRUESIZE_INJECT_NAMESPACES_INCLUDE", Help: "the only namespaces to inject", list: true,
			set: func(c *Config, v []string) (err error) { c.Include, err = namespaces(v); return }},
		{Key: "inject.namespaces.exclude", Env: "TRUESIZE_INJECT_NAMESPACES_EXCLUDE", Help: "namespaces to leave alone", list: true,
			set: func(c *Config, v []string) (err error) { c.Exclude, err = namespaces(v); return }},
		{Key: "inject.selector", Env: "TRUESIZE_INJECT_SELECTOR", Help: "label selector of the pods to inject",
			set: one(func(c *Config, v string) (err error) { c.Selector, err = selector(v); return })},
		{Key: "inject.view", Env: "TRUESIZE_INJECT_VIEW", Help: "mount the view of /proc and /sys",
			set: one(func(c *Config, v string) (err error) { c.View, err = boolean(v); return })},
		{Key: "inject.shim", Env: "TRUESIZE_INJECT_SHIM", Help: "preload the shim",
			set: one(func(c *Config, v string) (err error) { c.Shim, err = boolean(v); return })},
		{Key: "inject.numCPUs", Env: "TRUESIZE_INJECT_NUM_CPUS", Help: "set NUM_CPUS",
			set: one(func(c *Config, v string) (err error) { c.NumCPUs, err = boolean(v); return })},
		{Key: "cpuset.enabled", Env: "TRUESIZE_CPUSET_ENABLED", Help: "give injected containers real CPU sets",
			set: one(func(c *Config, v string) (err error) { c.CPUSet, err = boolean(v); return })},
		{Key: "cpuset.cpuManagerState", Env: "TRUESIZE_CPUSET_CPU_MANAGER_STATE", Help: "the kubelet's checkpoint of its CPU manager",
			set: one(func(c *Config, v string) (err error) { c.CPUManagerState, err = absolute(v); return })},
		{Key: "view.binary", Env: "TRUESIZE_VIEWD", Flag: "viewd", Help: "program that serves the view: a path, or a name on PATH",
			set: one(func(c *Config, v string) (err error) { c.ViewBinary, err = notEmpty(v); return })},
		{Key: "view.freshness", Env: "TRUESIZE_VIEW_FRESHNESS", Help: "how old the content of a file may be, for example 50ms",
			set: one(func(c *Config, v string) (err error) { c.Freshness, err = freshness(v); return })},
		{Key: "view.prepare", Env: "TRUESIZE_VIEW_PREPARE", Help: "read files just before readers at a steady pace do",
			set: one(func(c *Config, v string) (err error) { c.Prepare, err = boolean(v); return })},
		{Key: "network.reconcile", Env: "TRUESIZE_NETWORK_RECONCILE", Help: "collect what runtimes forget of macvlan attachments",
			set: one(func(c *Config, v string) (err error) { c.Network, err = boolean(v); return })},
	}
	return append(settings, variables()...)
}

// variables returns the switches of the variables that can be injected.
func variables() []Setting {
	var settings []Setting
	for _, v := range inject.Variables() {
		settings = append(settings, Setting{
			Key: "inject.env." + v.Name, Env: "TRUESIZE_INJECT_ENV_" + v.Name,
			Help: "set " + v.Name + " (" + v.Help + ")",
			set:  one(func(c *Config, s string) (err error) { c.Env[v.Name], err = boolean(s); return }),
		})
	}
	return settings
}

// one adapts a setter of one value.
func one(set func(*Config, string) error) func(*Config, []string) error {
	return func(c *Config, v []string) error { return set(c, v[0]) }
}
