// Package kafka delivers log records to Kafka.
//
// It uses franz-go for what a client needs of the protocol (connections,
// authentication, versions, metadata) and has its own producer on top:
// records come in chunks of hundreds that already lie in one buffer, and are
// copied straight into record batches; there is no object for a record. It is
// an idempotent producer with acks=all and one batch in flight for each
// partition, which keeps a partition's order by itself; many partitions share
// a request. docs/decisions/0005-logs-producer.md has the figures.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/version"
)

// A Config says how to reach Kafka and how to write.
type Config struct {
	// Brokers are host:port of brokers to start from; at least one.
	Brokers []string `json:"brokers"`
	// ClientID is shown in the brokers' logs and quotas; "truesize" by default.
	ClientID string `json:"clientID,omitempty"`
	// Compression is lz4 (the default), zstd, snappy or none.
	Compression string `json:"compression,omitempty"`
	// Linger is how long a record waits for others, 20ms by default.
	Linger quantity.Duration `json:"linger,omitempty"`
	// BatchBytes bounds a batch before compression, 1000000 by default: what a
	// broker's default max.message.bytes takes at any compression.
	BatchBytes quantity.Bytes `json:"batchBytes,omitempty"`
	// RequestTimeout is how long brokers may take to acknowledge, 10s by
	// default. Then the same batch is sent again, for as long as it takes.
	RequestTimeout quantity.Duration `json:"requestTimeout,omitempty"`
	// Headers are added to every record.
	Headers map[string]string `json:"headers,omitempty"`
	// AutoCreateTopics asks brokers to create topics that are missing.
	AutoCreateTopics bool `json:"autoCreateTopics,omitempty"`
	// MissingTopicAfter is how long a topic must be missing before its records
	// are refused, 30s by default.
	MissingTopicAfter quantity.Duration `json:"missingTopicAfter,omitempty"`
	// DeadLetterTopic gets the records a broker refuses for good; without it
	// they go to the dead-letter file.
	DeadLetterTopic string `json:"deadLetterTopic,omitempty"`
	TLS             *TLS   `json:"tls,omitempty"`
	SASL            *SASL  `json:"sasl,omitempty"`
}

// TLS is how connections are encrypted. Files are read anew for every
// connection, so that certificates can be renewed in place.
type TLS struct {
	CA         string `json:"ca,omitempty"`         // PEM file; the system's by default
	Cert       string `json:"cert,omitempty"`       // PEM file of the client's certificate
	Key        string `json:"key,omitempty"`        // PEM file of its key
	ServerName string `json:"serverName,omitempty"` // instead of the broker's host
}

// SASL is how the client authenticates. The password file is read anew for
// every connection.
type SASL struct {
	Mechanism    string `json:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User         string `json:"user"`
	PasswordFile string `json:"passwordFile"`
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("brokers: none are given; write host:port of at least one"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("brokers: %q: %w", b, err))
		}
	}
	if _, err := newCompressor(c.compression()); err != nil {
		errs = append(errs, err)
	}
	if t := c.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
		errs = append(errs, errors.New("tls: cert and key go together"))
	}
	if s := c.SASL; s != nil {
		if _, err := s.mechanism(); err != nil {
			errs = append(errs, err)
		}
		if s.User == "" || s.PasswordFile == "" {
			errs = append(errs, errors.New("sasl: user and passwordFile are needed"))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) compression() string {
	if c.Compression == "" {
		return "lz4"
	}
	return c.Compression
}

func (c *Config) batchBytes() int { return int(c.BatchBytes.Or(1_000_000)) }

// options returns franz-go's options. It opens nothing yet.
func (c *Config) options() ([]kgo.Opt, error) {
	id := c.ClientID
	if id == "" {
		id = "truesize"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.SoftwareNameAndVersion("truesize", softwareVersion()),
		kgo.DisableClientMetrics(),
		// Our own loop retries, with the same batch: a request fails fast.
		kgo.RequestRetries(1),
		kgo.RetryTimeout(c.RequestTimeout.Or(10 * time.Second)),
		kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.Dialer(c.dial),
	}
	if c.SASL != nil {
		m, err := c.SASL.mechanism()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// softwareVersion is the version in the characters that Kafka allows.
func softwareVersion() string {
	v := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, version.Get().Version)
	return "v" + strings.Trim(v, ".-v")
}

func (c *Config) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	if c.TLS == nil {
		return d.DialContext(ctx, network, addr)
	}
	conf, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: &d, Config: conf}).DialContext(ctx, network, addr)
}

func (t *TLS) config() (*tls.Config, error) {
	conf := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca %s: no certificate in PEM form is in it", t.CA)
		}
	}
	if t.Cert != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	password := func() (string, error) {
		b, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("read sasl.passwordFile: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	scramAuth := func(context.Context) (scram.Auth, error) {
		p, err := password()
		return scram.Auth{User: s.User, Pass: p}, err
	}
	switch s.Mechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := password()
			return plain.Auth{User: s.User, Pass: p}, err
		}), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(scramAuth), nil
	case "SCRAM-SHA-512":
		return scram.Sha512(scramAuth), nil
	}
	return nil, fmt.Errorf("sasl.mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}
