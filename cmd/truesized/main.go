// Command truesized is the agent of a node: it sizes containers as they are
// created, keeps the view's server running, and answers metrics and health.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/agent"
	"github.com/truesize/truesize/pkg/config"
	"github.com/truesize/truesize/pkg/threads"
	"github.com/truesize/truesize/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "truesized: %v\n", err)
		os.Exit(1)
	}
}

// run parses args and runs the agent until ctx ends. It logs to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var file string
	values := make(map[string]*string)
	cmd := &cobra.Command{
		Use:           "truesized",
		Short:         "The agent of a node",
		Long:          "truesized sizes the containers of a node as they are created.\n\nA flag wins over its variable TRUESIZE_…, and that over the file.",
		Version:       version.Get().String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file, os.LookupEnv, given(cmd.Flags(), values))
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
			if cfg.Blank {
				log.Warn("the configuration file sets nothing, every default holds: was it cut short? {} in it says that this is meant", "path", file)
			}
			if err := threads.Soon(); err != nil {
				log.Warn("runtimes may wait longer for answers while the CPUs are busy", "error", err)
			}
			return agent.Run(cmd.Context(), cfg, log)
		},
	}
	cmd.SetVersionTemplate("truesized {{.Version}}\n")
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.Flags().StringVar(&file, "config", os.Getenv(config.EnvFile), "configuration file, YAML ($"+config.EnvFile+")")
	for _, s := range config.Settings() {
		if s.Flag != "" {
			values[s.Flag] = cmd.Flags().String(s.Flag, "", fmt.Sprintf("%s ($%s, %s)", s.Help, s.Env, s.Key))
		}
	}
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

// given returns the values of the flags that are on the command line.
func given(flags *pflag.FlagSet, values map[string]*string) map[string]string {
	set := make(map[string]string)
	for name, v := range values {
		if flags.Changed(name) {
			set[name] = *v
		}
	}
	return set
}
