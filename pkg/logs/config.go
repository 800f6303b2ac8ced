package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/truesize/truesize/pkg/logs/join"
	"github.com/truesize/truesize/pkg/logs/kafka"
	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/logs/record"
	"github.com/truesize/truesize/pkg/logs/source"
)

// A Config is the section logs of the agent's configuration. docs/logs.md
// describes it field by field.
type Config struct {
	// Node and NodeIP go into records; Node is the host's name by default.
	Node   string `json:"node,omitempty"`
	NodeIP string `json:"nodeIP,omitempty"`
	// Sources are where log files are; /var/log/pods by default.
	Sources []Source `json:"sources,omitempty"`
	// Namespaces chooses by namespace; excluded ones win.
	Namespaces Namespaces `json:"namespaces,omitzero"`
	// ReadFrom says where a file that is there at the first start, and of which
	// no checkpoint knows, is read from: "beginning" (the default) or "end".
	ReadFrom string `json:"readFrom,omitempty"`
	// ScanInterval is how often all directories are looked at, 10s by default.
	// Between scans the kernel says what changed; where it cannot, directories
	// are looked at every 200 ms.
	ScanInterval quantity.Duration `json:"scanInterval,omitempty"`
	// Checkpoint is how often progress is written at most, 1s by default.
	Checkpoint quantity.Duration `json:"checkpoint,omitempty"`
	// Memory bounds the agent's memory for logs, 64MiB by default, at least
	// 16MiB. A quarter of it is for records that are not acknowledged.
	Memory quantity.Bytes `json:"memory,omitempty"`
	// MaxLine bounds a record's text, 1MiB by default: longer lines are split.
	MaxLine quantity.Bytes `json:"maxLine,omitempty"`
	// PartialTimeout is how long a line without its end is waited for, 5s by
	// default.
	PartialTimeout quantity.Duration `json:"partialTimeout,omitempty"`
	// MultilineTimeout is how long the next line of a multi-line record is
	// waited for, 1s by default.
	MultilineTimeout quantity.Duration `json:"multilineTimeout,omitempty"`
	// Multiline is the rule that joins lines: none (the default), java, python,
	// go, or start:REGEXP for lines that begin a record.
	Multiline string `json:"multiline,omitempty"`
	// Deleted bounds the deleted files that are kept open until they are read.
	Deleted Deleted `json:"deleted,omitzero"`
	// RateLimit drops what a pod writes faster; 0 is no limit.
	RateLimit RateLimit `json:"rateLimit,omitzero"`
	// Formats are record formats by name; Format is the name of the one in use,
	// "default" by default. The names default, raw and otlp-json are there
	// without configuration.
	Formats map[string]record.Format `json:"formats,omitempty"`
	Format  string                   `json:"format,omitempty"`
	Topics  Topics                   `json:"topics,omitzero"`
	// Sink is "kafka" (the default), "stdout" or "file".
	Sink  string       `json:"sink,omitempty"`
	Kafka kafka.Config `json:"kafka,omitzero"`
	File  FileSink     `json:"file,omitzero"`
	// DeadLetterFile gets the records that Kafka refuses for good;
	// STATEDIR/logs/dead-letter.jsonl by default. At DeadLetterBytes (64MiB by
	// default) it is renamed with ".1" behind its name.
	DeadLetterFile  string         `json:"deadLetterFile,omitempty"`
	DeadLetterBytes quantity.Bytes `json:"deadLetterBytes,omitempty"`
}

// A Source is a directory of logs.
type Source struct {
	// Kind is pods, docker or files.
	Kind string `json:"kind"`
	Root string `json:"root"`
	// Links are further directories that symbolic links below Root may lead
	// to. By default a link that leaves Root is refused.
	Links []string `json:"links,omitempty"`
}

// Namespaces chooses pods by namespace.
type Namespaces struct {
	Include []string `json:"include,omitempty"` // empty is all
	Exclude []string `json:"exclude,omitempty"`
}

// allows says whether a namespace's logs are read.
func (n Namespaces) allows(ns string) bool {
	return !slices.Contains(n.Exclude, ns) && (len(n.Include) == 0 || slices.Contains(n.Include, ns))
}

// Deleted bounds deleted files that are not yet acknowledged. What is unread
// when a bound is passed is lost, and counted.
type Deleted struct {
	MaxBytes quantity.Bytes    `json:"maxBytes,omitempty"` // of all files together, 1GiB by default
	MaxAge   quantity.Duration `json:"maxAge,omitempty"`   // since the deletion, 1h by default
}

// RateLimit is for each pod, by the times of its lines.
type RateLimit struct {
	BytesPerSecond quantity.Bytes `json:"bytesPerSecond,omitempty"`
	LinesPerSecond int64          `json:"linesPerSecond,omitempty"`
	// Burst is how many seconds' worth may come at once, 10 by default.
	Burst int64 `json:"burst,omitempty"`
}

// Topics is the rule by which a pod's topic is found: its annotation
// truesize.dev/log-topic where Annotation matches it, else its namespace's,
// else Default.
type Topics struct {
	Default    string            `json:"default,omitempty"` // "logs" by default
	Namespaces map[string]string `json:"namespaces,omitempty"`
	// Annotation is a regular expression that a topic in an annotation must
	// match as a whole; empty is any topic, "-" is none.
	Annotation string `json:"annotation,omitempty"`
}

// FileSink is where the sink "file" writes.
type FileSink struct {
	Path string `json:"path,omitempty"`
	// MaxBytes is when the file is renamed with ".1" behind its name; 100MiB
	// by default.
	MaxBytes quantity.Bytes `json:"maxBytes,omitempty"`
}

// withDefaults returns c with its defaults filled in.
func (c Config) withDefaults(stateDir string) Config {
	if c.Node == "" {
		c.Node, _ = os.Hostname()
	}
	if len(c.Sources) == 0 {
		c.Sources = []Source{{Kind: string(source.Pods), Root: "/var/log/pods"}}
	}
	if c.Format == "" {
		c.Format = "default"
	}
	if c.Sink == "" {
		c.Sink = "kafka"
	}
	if c.Topics.Default == "" {
		c.Topics.Default = "logs"
	}
	if c.DeadLetterFile == "" {
		c.DeadLetterFile = filepath.Join(stateDir, "logs", "dead-letter.jsonl")
	}
	duration := func(d *quantity.Duration, def time.Duration) { *d = quantity.Duration(d.Or(def)) }
	duration(&c.ScanInterval, 10*time.Second)
	duration(&c.Checkpoint, time.Second)
	duration(&c.PartialTimeout, 5*time.Second)
	duration(&c.MultilineTimeout, time.Second)
	duration(&c.Deleted.MaxAge, time.Hour)
	size := func(n *quantity.Bytes, def int64) { *n = quantity.Bytes(n.Or(def)) }
	size(&c.Memory, 64<<20)
	size(&c.MaxLine, 1<<20)
	size(&c.Deleted.MaxBytes, 1<<30)
	size(&c.DeadLetterBytes, 64<<20)
	size(&c.File.MaxBytes, 100<<20)
	if c.RateLimit.Burst == 0 {
		c.RateLimit.Burst = 10
	}
	return c
}

// formats returns the formats by name, those without configuration included.
func (c *Config) formats() map[string]record.Format {
	all := map[string]record.Format{"default": record.Default(), "raw": {Type: "raw"}, "otlp-json": {Type: "otlp-json"}}
	for name, f := range c.Formats {
		all[name] = f
	}
	return all
}

// Validate says what is wrong with a configuration, every fault in one error.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("logs."+format, args...)) }
	for i, s := range c.Sources {
		if _, err := source.ParseKind(s.Kind); err != nil {
			bad("sources[%d]: %w", i, err)
		}
		for _, p := range append([]string{s.Root}, s.Links...) {
			if !filepath.IsAbs(p) {
				bad("sources[%d]: %q is not an absolute path", i, p)
			}
		}
	}
	if !slices.Contains([]string{"", "beginning", "end"}, c.ReadFrom) {
		bad("readFrom %q: want beginning or end", c.ReadFrom)
	}
	if c.Memory != 0 && c.Memory < 16<<20 {
		bad("memory: %d bytes are too few, want 16MiB at least", c.Memory)
	}
	if c.MaxLine != 0 && (c.MaxLine < 1<<10 || c.MaxLine > 16<<20) {
		bad("maxLine: want 1KiB to 16MiB")
	}
	if _, err := join.NewRule(c.Multiline); err != nil {
		bad("multiline: %w", err)
	}
	formats := c.formats()
	for name, f := range formats {
		if err := f.Validate(); err != nil {
			bad("formats.%s: %w", name, err)
		}
	}
	if _, ok := formats[c.Format]; !ok && c.Format != "" {
		bad("format %q: there is none of that name under formats", c.Format)
	}
	if c.Topics.Annotation != "-" {
		if _, err := regexp.Compile(c.Topics.Annotation); err != nil {
			bad("topics.annotation: %w", err)
		}
	}
	switch c.Sink {
	case "", "kafka":
		if err := c.Kafka.Validate(); err != nil {
			bad("kafka: %w", err)
		}
	case "stdout":
	case "file":
		if !filepath.IsAbs(c.File.Path) {
			bad("file.path %q: want an absolute path", c.File.Path)
		}
	default:
		bad("sink %q: want kafka, stdout or file", c.Sink)
	}
	return errors.Join(errs...)
}
