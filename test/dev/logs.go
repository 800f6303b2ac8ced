package main

import (
	"context"
	"fmt"
	"time"

	"github.com/truesize/truesize/test/broker"
	"github.com/truesize/truesize/test/stack"
)

const logTopic = "logs"

// chatter is what the containers of make run do: they print what the records
// are then made of, and sleep.
const chatter = `echo "INFO starting, nproc says $(nproc)"
echo '{"level":"warn","msg":"no configuration, defaults are used"}'
echo "cannot reach the database" >&2
exec sleep 86400`

// chatterLines is how many lines one container prints.
const chatterLines = 3

// arrivalTime is how long the containers' lines may take to Kafka.
const arrivalTime = 30 * time.Second

// A kafka is the broker that the stack's agent forwards logs to. It is in
// this process and ends with it.
type kafka struct{ *broker.Broker }

func newKafka() (kafka, error) {
	b, err := broker.Start(logTopic)
	return kafka{b}, err
}

// section returns the part of the agent's configuration that has it forward
// the pods' logs, in the default format.
func (k kafka) section(s *stack.Stack) string {
	return fmt.Sprintf("logs:\n  sources: [{kind: pods, root: %s}]\n  topics: {default: %s}\n  kafka: {brokers: [%q]}\n",
		s.PodLogs(), logTopic, k.Addrs()[0])
}

// arrivals prints the records of both containers' lines as they are consumed
// from the broker.
func (d *dev) arrivals(ctx context.Context, k kafka) error {
	d.progress("reading from Kafka what the two containers have printed: topic/partition@offset, key, record")
	ctx, cancel := context.WithTimeout(ctx, arrivalTime)
	defer cancel()
	fmt.Fprintln(d.out)
	if err := k.Print(ctx, d.out, 2*chatterLines); err != nil {
		return fmt.Errorf("logs do not arrive: %w", err)
	}
	fmt.Fprintln(d.out)
	return nil
}
