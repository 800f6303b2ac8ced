// Command kafkad is a broker that speaks Kafka's protocol, for tests and for
// trying things: franz-go's kfake as a process of its own, so that it can be
// killed, with its data on disk, so that it comes back.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kafkad:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("kafkad", flag.ContinueOnError)
	var (
		ports      = fs.String("ports", "9092", "ports, one for each broker, separated by commas")
		data       = fs.String("data", "", "directory to keep data in; empty keeps nothing")
		topics     = fs.String("topics", "logs", "topics to create, separated by commas")
		partitions = fs.Int("partitions", 3, "partitions of each topic")
		maxBytes   = fs.Int("max-message-bytes", 0, "largest batch taken, in bytes; 0 is Kafka's default")
		user       = fs.String("user", "", "mechanism:name:password that is let in; empty lets all in")
		cert       = fs.String("cert", "", "PEM file of a certificate, read at every connection: speak TLS")
		key        = fs.String("key", "", "PEM file of its key")
		slow       = fs.Duration("slow", 0, "wait before each produce request is answered")
		swing      = fs.Duration("swing", 0, "move every partition to the next broker this often")
		blackhole  = fs.Bool("blackhole", false, "acknowledge records and keep none")
	)
	if err := fs.Parse(args); err != nil {
		return err
	}
	opts := []kfake.Opt{kfake.SeedTopics(int32(*partitions), strings.Split(*topics, ",")...)}
	list, err := portList(*ports)
	if err != nil {
		return err
	}
	opts = append(opts, kfake.Ports(list...), kfake.NumBrokers(len(list)))
	if *data != "" {
		opts = append(opts, kfake.DataDir(*data), kfake.SyncWrites())
	}
	if *maxBytes > 0 {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(*maxBytes)}))
	}
	if *user != "" {
		part := strings.SplitN(*user, ":", 3)
		if len(part) != 3 {
			return fmt.Errorf("-user %q: want mechanism:name:password", *user)
		}
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser(part[0], part[1], part[2]))
	}
	if *blackhole {
		opts = append(opts, kfake.BlackholeProduce())
	}
	if *cert != "" {
		opts = append(opts, kfake.TLS(&tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(*cert, *key)
				return &pair, err
			},
		}))
	}
	opts = append(opts, kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(ctx, network, addr)
	}))
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	if *slow > 0 {
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			c.SleepControl(func() { time.Sleep(*slow) })
			return nil, nil, false
		})
	}
	fmt.Println("ready", strings.Join(c.ListenAddrs(), ","))
	if *swing > 0 {
		go moveLeaders(ctx, c, strings.Split(*topics, ","), *partitions, len(list), *swing)
	}
	<-ctx.Done()
	return nil
}

func moveLeaders(ctx context.Context, c *kfake.Cluster, topics []string, partitions, brokers int, every time.Duration) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		for _, t := range topics {
			for p := range partitions {
				_ = c.MoveTopicPartition(t, int32(p), int32((p+n)%brokers))
			}
		}
	}
}

func portList(s string) ([]int, error) {
	var out []int
	for _, p := range strings.Split(s, ",") {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, fmt.Errorf("-ports %q: %w", s, err)
		}
		out = append(out, n)
	}
	return out, nil
}
