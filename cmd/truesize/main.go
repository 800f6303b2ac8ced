// Command truesize is the admin's tool on a node: it shows the containers'
// sizes and where they came from, checks the node, gives views to containers
// that run and takes them off, and uninstalls.
//
// status and explain read the registry, so they work when the agent is down.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/cli"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/version"
)

func main() { os.Exit(mainCode()) }

// mainCode runs the command and returns the exit code.
func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "truesize: %v\n", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cmd := rootCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.InitDefaultCompletionCmd()
	for _, c := range cmd.Commands() {
		if !c.Runnable() {
			refuseOthers(c)
		}
	}
	return cmd.ExecuteContext(ctx)
}

// wantDirs returns an error for a flag that names no directory: what is below an
// empty path is below the working directory, where uninstall would remove it.
func wantDirs(flags *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := flags.Lookup(name); f != nil && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty: name the agent's directory, or leave the flag out", name)
		}
	}
	return nil
}

// refuseOthers makes a command that has no work of its own refuse what is none
// of its commands: cobra prints the help and calls that a success.
func refuseOthers(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

func rootCommand() *cobra.Command {
	var runDir, mountNS string
	cmd := &cobra.Command{
		Use:           "truesize",
		Short:         "Show and check the sizes of a node's containers",
		Version:       version.Get().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := wantDirs(cmd.Flags(), "run-dir", "state-dir"); err != nil {
				return err
			}
			if mountNS == "" {
				return nil
			}
			return enter(mountNS)
		},
	}
	cmd.SetVersionTemplate("truesize {{.Version}}\n")
	cmd.PersistentFlags().StringVar(&runDir, "run-dir", envOr("TRUESIZE_RUN_DIR", "/run/truesize"), "run directory of the agent ($TRUESIZE_RUN_DIR)")
	cmd.PersistentFlags().StringVar(&mountNS, "mount-ns", os.Getenv("TRUESIZE_MOUNT_NS"), "mount namespace to work in; in the agent's pod that of the node, /proc/1/ns/mnt ($TRUESIZE_MOUNT_NS)")
	cmd.AddCommand(statusCommand(&runDir), explainCommand(&runDir), doctorCommand(&runDir), cli.NewCommand(logsSection), versionCommand(),
		attachCommand(&runDir), detachCommand(&runDir), repairCommand(&runDir), uninstallCommand(&runDir))
	return cmd
}

func envOr(name, value string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return value
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), version.Get())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "truesize", version.Get())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// containers reads the registry below runDir. Entries that cannot be used are
// joined in warning, beside the list of the others.
func containers(runDir string) (list []*registry.Container, warning, err error) {
	dir, err := openRegistry(runDir)
	if err != nil {
		return nil, nil, err
	}
	if _, err := dir.IDs(); err != nil {
		return nil, nil, err
	}
	list, warning = dir.List()
	return list, warning, nil
}

// openRegistry returns the registry below runDir, which must be there.
func openRegistry(runDir string) (*registry.Dir, error) {
	path := filepath.Join(runDir, "containers")
	// Open would make it: a look must not.
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no registry at %s: start the agent, or name its run directory with --run-dir", path)
	} else if err != nil {
		return nil, fmt.Errorf("read registry: %w", err)
	}
	return registry.Open(path)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// outputFlag adds -o to a command, and returns whether JSON was asked for.
func outputFlag(cmd *cobra.Command) func() (asJSON bool, err error) {
	var format string
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
	return func() (bool, error) {
		if format != "table" && format != "json" {
			return false, fmt.Errorf("--output %q: want table or json", format)
		}
		return format == "json", nil
	}
}
