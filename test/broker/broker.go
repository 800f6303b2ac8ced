// Package broker is a broker that speaks Kafka's protocol within the calling
// process, for trying log forwarding without a Kafka. It keeps its records in
// memory and listens on the loopback interface.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Broker is a running broker and a consumer of all that arrives there.
type Broker struct {
	cluster *kfake.Cluster
	client  *kgo.Client
}

// Start starts a broker with a topic, and consumes every topic from its first
// record on. Topics that a producer asks for are made.
func Start(topic string) (*Broker, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic), kfake.AllowAutoTopicCreation())
	if err != nil {
		return nil, fmt.Errorf("start a broker: %w", err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeRegex(), kgo.ConsumeTopics(".*"),
		// Topics are found by asking, and a new one's records are fetched when
		// the fetch of the others returns.
		kgo.MetadataMinAge(time.Second), kgo.MetadataMaxAge(time.Second), kgo.FetchMaxWait(250*time.Millisecond))
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("consume from the broker: %w", err)
	}
	return &Broker{cluster: cluster, client: client}, nil
}

// Addrs returns the broker's host:port.
func (b *Broker) Addrs() []string { return b.cluster.ListenAddrs() }

// Print writes a line for each record as it arrives: topic, partition and
// offset, key, value. It returns after n records (0: never) or with the error
// that ends it, as that of ctx.
func (b *Broker) Print(ctx context.Context, w io.Writer, n int) error {
	for seen := 0; ; {
		fetches := b.client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err0()); err != nil {
			return fmt.Errorf("consume from the broker: %w", err)
		}
		for _, r := range fetches.Records() {
			if _, err := fmt.Fprintf(w, "%s/%d@%d %s %s\n", r.Topic, r.Partition, r.Offset, r.Key, r.Value); err != nil {
				return err
			}
			if seen++; seen == n {
				return nil
			}
		}
	}
}

// Close ends the consumer and the broker. What it holds is gone.
func (b *Broker) Close() {
	b.client.Close()
	b.cluster.Close()
}
