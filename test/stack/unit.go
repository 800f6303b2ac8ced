package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// unitDir is where the agent puts the view's unit on a host with systemd.
const unitDir = "/run/systemd/system"

// removeUnit stops the unit of the stack in dir and removes it, where systemd
// runs: that would start the view again whenever it ends.
func removeUnit(dir string) error {
	units, err := filepath.Glob(filepath.Join(unitDir, "truesize-viewd-*.service"))
	if err != nil {
		return err
	}
	var errs []error
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil || !strings.Contains(string(text), `"`+dir+"/") {
			continue
		}
		errs = append(errs, systemctl("stop", filepath.Base(unit)), os.Remove(unit), systemctl("daemon-reload"))
	}
	return errors.Join(errs...)
}

func systemctl(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %v: %w: %s", args, err, out)
	}
	return nil
}
