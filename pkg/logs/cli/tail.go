package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/logs/sink"
)

func tailCommand() *cobra.Command {
	var (
		root, kind           string
		namespace, pod, name string
		beginning, long      bool
		format               string
	)
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print this node's container logs as they come",
		Long: `Print this node's container logs as they come, read from the log files: neither
the API server nor Kafka has to be there, and the agent's progress is not
touched. Partial lines are joined.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(root); err != nil {
				return fmt.Errorf("%w: %w", errNothing, err)
			}
			state, err := os.MkdirTemp("", "truesize-logs-tail")
			if err != nil {
				return err
			}
			defer os.RemoveAll(state)
			cfg := logs.Config{Sink: "stdout", Format: format, ReadFrom: "end", Sources: []logs.Source{{Kind: kind, Root: root}}}
			if beginning {
				cfg.ReadFrom = "beginning"
			}
			out := &printer{w: cmd.OutOrStdout(), long: long, wake: make(chan struct{})}
			c, err := logs.New(cfg, logs.Options{
				StateDir: state, Sink: out, Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
				Only: func(r logs.Ref) bool {
					return match(namespace, r.Namespace) && match(pod, r.Pod) && match(name, r.Container)
				},
			})
			if err != nil {
				return err
			}
			return c.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&root, "root", "/var/log/pods", "directory of the logs")
	f.StringVar(&kind, "kind", "pods", "layout of the directory: pods, docker or files")
	f.StringVarP(&namespace, "namespace", "n", "", "only this namespace")
	f.StringVar(&pod, "pod", "", "only this pod")
	f.StringVarP(&name, "container", "c", "", "only this container")
	f.BoolVar(&beginning, "from-beginning", false, "print what is in the files already as well")
	f.BoolVar(&long, "long", false, "print namespace, pod and container before each line")
	f.StringVar(&format, "format", "raw", "record format: raw, default or otlp-json")
	return cmd
}

func match(want, have string) bool { return want == "" || want == have }

// A printer is a sink that prints.
type printer struct {
	w    io.Writer
	long bool
	wake chan struct{}
	mu   sync.Mutex
	err  error
	buf  []byte
}

func (p *printer) Ready(string, []byte) bool { return true }
func (p *printer) Wake() <-chan struct{}     { return p.wake }
func (p *printer) Stats() sink.Stats         { return sink.Stats{} }

// Run ends when ctx does; a closed pipe ends it through SIGPIPE.
func (p *printer) Run(ctx, _ context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *printer) Send(c *sink.Chunk) {
	p.buf = p.buf[:0]
	for i := range c.Records {
		if p.long {
			p.buf = append(append(p.buf, c.Key...), ": "...)
		}
		p.buf = append(append(p.buf, c.Value(i)...), '\n')
	}
	if _, err := p.w.Write(p.buf); err != nil {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
	c.Done(c)
}
