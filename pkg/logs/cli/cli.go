// Package cli is the command `truesize logs`: what the agent's log forwarding
// does, what it would send, and the node's container logs as they come.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/logs"
)

// A Loader reads the section logs of an agent's configuration file.
type Loader func(path string) (logs.Config, error)

// NewCommand returns the command logs. It takes the run directory from the
// flag --run-dir of the command it becomes part of, where that has one.
func NewCommand(load Loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Container logs on their way to Kafka",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(statusCommand(), replayCommand(load), tailCommand())
	return cmd
}

// runDir returns the value of the flag --run-dir of cmd or a parent.
func runDir(cmd *cobra.Command) string {
	if f := cmd.Flag("run-dir"); f != nil {
		return f.Value.String()
	}
	return "/run/truesize"
}

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far each container's logs are delivered",
		Long: `Show how far each container's logs are delivered.

LAG is what is in the log files and not acknowledged by Kafka; BEHIND how old
that is at most. LOST is what was not delivered: the reasons are below the table.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, raw, err := readStatus(cmd.Context(), filepath.Join(runDir(cmd), "logs.sock"))
			if err != nil {
				return err
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(raw)
				return err
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func readStatus(ctx context.Context, path string) (*logs.Status, []byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: is the agent running, with a section logs in its configuration?", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	raw, err := io.ReadAll(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	s := new(logs.Status)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, nil, fmt.Errorf("read %s: the agent gave no answer: %w", path, err)
	}
	return s, raw, nil
}

func printStatus(w io.Writer, s *logs.Status) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tPOD\tCONTAINER\tTOPIC\tREAD\tACKED\tLAG\tBEHIND\tLOST")
	for i := range s.Containers {
		c := &s.Containers[i]
		behind := "-"
		if c.LagSeconds > 0 {
			behind = time.Duration(c.LagSeconds * float64(time.Second)).Round(time.Second).String()
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", dash(c.Namespace), dash(c.Pod), c.Container, dash(c.Topic),
			c.Lines, c.Acked, size(c.LagBytes), behind, size(c.LostBytes))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%d open files, %s in memory", s.OpenFiles, size(s.BufferedBytes))
	if s.DeletedFiles > 0 {
		fmt.Fprintf(&b, ", %d deleted files (%s) still to be read", s.DeletedFiles, size(s.DeletedBytes))
	}
	fmt.Fprintln(&b)
	for _, reason := range sorted(s.Lost) {
		l := s.Lost[reason]
		fmt.Fprintf(&b, "LOST (%s): %d times, %d lines, %s\n", reason, l.Events, l.Lines, size(l.Bytes))
	}
	for _, reason := range sorted(s.Sink.DeadLetters) {
		fmt.Fprintf(&b, "DEAD LETTERS (%s): %d\n", reason, s.Sink.DeadLetters[reason])
	}
	if s.Sink.LastError != "" {
		fmt.Fprintf(&b, "LAST ERROR: %s\n", s.Sink.LastError)
	}
	if s.CheckpointErrors > 0 {
		fmt.Fprintf(&b, "CHECKPOINT: %d failed writes; last written %s\n", s.CheckpointErrors, s.CheckpointAt.Format(time.RFC3339))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func replayCommand(load Loader) *cobra.Command {
	var config, format, multiline string
	var long bool
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Print the records that would be sent of a log file",
		Long: `Print the records that would be sent of a log file, compressed or not.

Nothing is sent and no progress is kept. Namespace, pod and container are taken
from the file's path where it is one of the kubelet's.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var cfg logs.Config // the defaults
			if config != "" {
				var err error
				if cfg, err = load(config); err != nil {
					return err
				}
			}
			cfg.Sink = "stdout" // where Kafka is does not matter
			override(&cfg.Format, format)
			override(&cfg.Multiline, multiline)
			var buf []byte
			return logs.Replay(cfg, args[0], nil, func(r logs.Replayed) error {
				buf = buf[:0]
				if long {
					buf = fmt.Appendf(buf, "%s\t%s\t%s\t", r.Topic, r.Key, r.Position)
				}
				_, err := cmd.OutOrStdout().Write(append(append(buf, r.Value...), '\n'))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the agent's configuration file, for its section logs")
	cmd.Flags().StringVar(&format, "format", "", "record format, instead of the configured one")
	cmd.Flags().StringVar(&multiline, "multiline", "", "multi-line rule, instead of the configured one")
	cmd.Flags().BoolVar(&long, "long", false, "print topic, key and position before each record")
	return cmd
}

func override(s *string, by string) {
	if by != "" {
		*s = by
	}
}

var errNothing = errors.New("the root directory does not exist; --root says where container logs are")
