// Command logsd runs log forwarding alone, without the rest of the agent: for
// tests that kill it, for benchmarks, and for trying it.
//
// With -try it needs no Kafka: it starts a broker in its own process and
// prints the records as they arrive there.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // on -pprof only
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/yaml"

	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/test/broker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "logsd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("logsd", flag.ContinueOnError)
	var (
		config   = fs.String("config", "", "YAML file, the content of the agent's section logs")
		stateDir = fs.String("state-dir", "/var/lib/truesize", "where the checkpoint is kept")
		runDir   = fs.String("run-dir", "", "where the status socket is made; empty makes none")
		try      = fs.Bool("try", false, "start a broker in this process and print what arrives")
		pprof    = fs.String("pprof", "", "host:port to serve profiles on")
	)
	if err := fs.Parse(args); err != nil {
		return err
	}
	var cfg logs.Config
	if *config != "" {
		data, err := os.ReadFile(*config)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(data, &cfg); err != nil {
			return fmt.Errorf("%s: %w", *config, err)
		}
	}
	if *try {
		stop, err := tryBroker(ctx, &cfg, stdout, stderr)
		if err != nil {
			return err
		}
		defer stop()
	}
	if *pprof != "" {
		go func() { fmt.Fprintln(stderr, http.ListenAndServe(*pprof, nil)) }()
	}
	c, err := logs.New(cfg, logs.Options{
		StateDir: *stateDir, RunDir: *runDir, Stdout: stdout,
		Log: slog.New(slog.NewJSONHandler(stderr, nil)),
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// tryBroker starts a broker, points cfg at it, and prints what arrives.
func tryBroker(ctx context.Context, cfg *logs.Config, stdout, stderr io.Writer) (stop func(), err error) {
	topic := cfg.Topics.Default
	if topic == "" {
		topic = "logs"
	}
	b, err := broker.Start(topic)
	if err != nil {
		return nil, err
	}
	cfg.Sink, cfg.Kafka.Brokers, cfg.Kafka.AutoCreateTopics = "kafka", b.Addrs(), true
	go func() {
		if err := b.Print(ctx, stdout, 0); ctx.Err() == nil {
			fmt.Fprintln(stderr, "logsd:", err)
		}
	}()
	return b.Close, nil
}
