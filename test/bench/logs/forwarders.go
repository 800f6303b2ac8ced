package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// rsyslogd is Debian's, which is not on everybody's path.
const rsyslogd = "/usr/sbin/rsyslogd"

// forwarder starts one of the forwarders.
func (b *bench) forwarder(name, dir, addr, pods string) (*proc, error) {
	conf := filepath.Join(dir, name+".conf")
	write := func(format string, args ...any) error {
		return os.WriteFile(conf, fmt.Appendf(nil, format, args...), 0o644)
	}
	switch name {
	case "truesize":
		if err := write("sources: [{kind: pods, root: %s}]\nkafka: {brokers: [%q], compression: %s}\n", pods, addr, b.compression); err != nil {
			return nil, err
		}
		return start(dir, filepath.Join(b.bin, "logsd"), "-config", conf, "-state-dir", filepath.Join(dir, "state"))
	case "collector":
		if err := write(collectorConfig, pods, addr, b.compression); err != nil {
			return nil, err
		}
		return start(dir, filepath.Join(b.bin, "collector"), "--config", conf)
	case "rsyslog":
		if err := write(rsyslogConfig, dir, pods, addr, b.compression); err != nil {
			return nil, err
		}
		return start(dir, rsyslogd, "-n", "-i", filepath.Join(dir, "pid"), "-f", conf)
	}
	return nil, fmt.Errorf("no forwarder %q", name)
}

// collectorConfig: the container parser reads time, stream and tag and takes
// pod, namespace and container from the path; what is sent is the bare line,
// the cheapest of the exporter's encodings.
const collectorConfig = `receivers:
  filelog:
    include: [%s/*/*/*.log]
    start_at: beginning
    include_file_path: true
    operators: [{type: container}]
processors:
  batch: {send_batch_size: 2000, timeout: 200ms}
exporters:
  kafka:
    brokers: [%q]
    protocol_version: 2.8.0
    logs: {topic: logs, encoding: raw}
    producer: {compression: %s, max_message_bytes: 1000000, required_acks: -1}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [filelog], processors: [batch], exporters: [kafka]}
`

// rsyslogConfig sends lines as they are, parsing nothing. The queue between
// input and output is librdkafka's alone: with one of rsyslog's own in memory
// it takes twice the CPU time.
const rsyslogConfig = `global(workDirectory=%q)
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="line" type="string" string="%%msg%%")
main_queue(queue.type="Direct")
input(type="imfile" File="%s/*/*/*.log" Tag="x" readMode="0" freshStartTail="off")
action(type="omkafka" broker=[%q] topic="logs" template="line" confParam=["compression.codec=%s","acks=all","linger.ms=20","queue.buffering.max.messages=500000"])
`
