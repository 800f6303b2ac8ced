package main

import (
	"fmt"
	"os"

	"github.com/truesize/truesize/pkg/config"
	"github.com/truesize/truesize/pkg/logs"
)

// logsSection reads the section logs of the agent's configuration at path, as
// strictly as the agent does.
func logsSection(path string) (cfg logs.Config, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, fmt.Errorf("read configuration: %w", err)
	}
	all := config.Default()
	if err := all.Apply(path, data); err != nil {
		return cfg, err
	}
	if all.Logs == nil {
		return cfg, fmt.Errorf("%s: there is no section logs", path)
	}
	err = all.Logs.Decode(&cfg)
	return cfg, err
}
