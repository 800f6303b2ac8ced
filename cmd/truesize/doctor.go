package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// A checkup is what the doctor looks at.
type checkup struct {
	runDir, stateDir string
	containerd       string // socket
	nri              string // socket
	runc             string // path or name
	root             bool   // whether it is root who looks
}

// A finding is the result of one check.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Note says what was found.
	Note string `json:"note"`
	// Mend says what to do about it, when it is not ok.
	Mend string `json:"mend,omitempty"`
}

// checkDeadline bounds every single check: a doctor does not hang.
const checkDeadline = 3 * time.Second

func doctorCommand(runDir *string) *cobra.Command {
	var c checkup
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the node, and say how to mend what is not ok",
		Long: `Check the node, and say how to mend what is not ok.

The exit code is 1 when something is not ok.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&c.stateDir, "state-dir", envOr("TRUESIZE_STATE_DIR", "/var/lib/truesize"), "state directory of the agent ($TRUESIZE_STATE_DIR)")
	cmd.Flags().StringVar(&c.containerd, "containerd-address", envOr("CONTAINERD_ADDRESS", "/run/containerd/containerd.sock"), "containerd's socket ($CONTAINERD_ADDRESS)")
	cmd.Flags().StringVar(&c.nri, "nri-socket", envOr("TRUESIZE_NRI_SOCKET", "/var/run/nri/nri.sock"), "NRI's socket ($TRUESIZE_NRI_SOCKET)")
	cmd.Flags().StringVar(&c.runc, "runc", "runc", "runc that containerd uses: a path, or a name on PATH")
	wantJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := wantJSON()
		if err != nil {
			return err
		}
		c.runDir, c.root = *runDir, os.Geteuid() == 0
		findings := c.run(cmd.Context())
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), findings)
		} else {
			err = writeFindings(cmd.OutOrStdout(), findings)
		}
		if err != nil {
			return err
		}
		return verdict(findings)
	}
	return cmd
}

// run makes every check, whatever the others find.
func (c checkup) run(ctx context.Context) []finding {
	var findings []finding
	for _, check := range []struct {
		name string
		run  func(context.Context) (note string, err error)
		mend string
	}{
		{"kernel", c.kernel, "run a kernel of 5.10 or later"},
		{"cgroup", c.cgroup, "mount the cgroup file systems at " + cgroupRoot + ", as systemd does"},
		{"fuse", c.fuse, "load the module: modprobe fuse"},
		{"containerd", c.containerdAnswers, "start containerd, or name its socket with --containerd-address"},
		{"nri", c.nriListens, "enable NRI in containerd's configuration: [plugins.'io.containerd.nri.v1.nri'] disable = false; or name its socket with --nri-socket"},
		{"runc", c.runcVersion, "install runc 1.1 or later, or name it with --runc"},
		{"agent", c.agentReady, "start the agent, or see its log"},
		{"view", c.viewAnswers, "see viewd.log in the run directory; the agent starts truesize-viewd again by itself"},
		{"shim", c.shimInstalled, "restart the agent, which installs it; name another --state-dir if the agent has one"},
	} {
		ctx, cancel := context.WithTimeout(ctx, checkDeadline)
		note, err := check.run(ctx)
		cancel()
		f := finding{Name: check.name, OK: err == nil, Note: note}
		if err != nil {
			f.Note, f.Mend = err.Error(), check.mend
			if !c.root { // much of the node is root's alone to see
				f.Mend = "look again as root; else " + f.Mend
			}
		}
		findings = append(findings, f)
	}
	return findings
}

func writeFindings(w io.Writer, findings []finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		state := "ok"
		if !f.OK {
			state = "not ok"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, state, printable(f.Note))
		if f.Mend != "" {
			fmt.Fprintf(t, "\t\tmend: %s\n", f.Mend)
		}
	}
	return t.Flush()
}

// verdict is an error when something is not ok.
func verdict(findings []finding) error {
	bad := 0
	for _, f := range findings {
		if !f.OK {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks are not ok", bad, len(findings))
	}
	return nil
}
