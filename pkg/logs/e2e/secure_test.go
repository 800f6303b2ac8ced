package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// A certificate says what is in one.
type certificate struct {
	ip    net.IP        // whom it is for
	until time.Duration // from now, to its end
}

// good is what the broker of the tests should have.
var good = certificate{net.IPv4(127, 0, 0, 1), time.Hour}

// issue writes a self-signed certificate and its key, each in one step, for
// who reads them at that moment.
func (c certificate) issue(t *testing.T, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: c.ip.String()}, // librdkafka 2.0 looks for an address here
		NotBefore:    time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(c.until),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{c.ip},
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder})))
}

// write replaces a file in one step.
func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// awaitError waits until the reader reports an error in whose text is want.
func (s *stack) awaitError(want string) {
	s.t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = s.status().Sink.LastError; strings.Contains(last, want) {
			return
		}
	}
	s.t.Fatalf("last error %q, want %q in it", last, want)
}

// Everything that can be wrong with certificates and passwords is, one after
// another, and is put right in place: without a restart, nothing is lost.
func TestTLSAndSASL(t *testing.T) {
	for mechanism, auth := range map[string]sasl.Mechanism{
		"SCRAM-SHA-256": scram.Auth{User: "logger", Pass: "secret"}.AsSha256Mechanism(),
		"SCRAM-SHA-512": scram.Auth{User: "logger", Pass: "secret"}.AsSha512Mechanism(),
		"PLAIN":         plain.Auth{User: "logger", Pass: "secret"}.AsMechanism(),
	} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cert, key, ca, password := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
			trust := func() {
				data, err := os.ReadFile(cert)
				if err != nil {
					t.Fatal(err)
				}
				write(t, ca, string(data))
			}
			good.issue(t, cert, key)
			good.issue(t, ca, filepath.Join(dir, "other.key"))
			write(t, password, "wrong\n")
			s := newStack(t, 1, []string{"-cert", cert, "-key", key, "-user", mechanism + ":logger:secret"},
				fmt.Sprintf("  tls: {ca: %s}\n  sasl: {mechanism: %s, user: logger, passwordFile: %s}", ca, mechanism, password), "")
			s.startBroker()
			ws := writers(t, s, 2)
			more := func() { steady(ws, 20, 100, 0, rounds(3)) }
			more()
			s.agent.start()
			s.awaitError("unknown authority")
			more()
			certificate{good.ip, -time.Hour}.issue(t, cert, key)
			trust()
			s.awaitError("expired")
			more()
			certificate{net.IPv4(127, 0, 0, 2), good.until}.issue(t, cert, key)
			trust()
			s.awaitError("valid for 127.0.0.2, not 127.0.0.1")
			more()
			good.issue(t, cert, key)
			trust()
			s.awaitError("SASL")
			more()
			write(t, password, "secret\n")
			more()

			pool := x509.NewCertPool()
			data, _ := os.ReadFile(ca)
			pool.AppendCertsFromPEM(data)
			c := newConsumer(t, s.addr, "logs", &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, auth)
			c.await(ws...)
			if n := c.duplicates(); n != 0 {
				t.Errorf("%d duplicates without a crash", n)
			}
			s.nothingLost()
		})
	}
}

func total(ws []*writer) int {
	n := 0
	for _, w := range ws {
		n += w.n[0] + w.n[1]
	}
	return n
}

// kcat reads n records with an independent client (librdkafka), and returns
// them in kcat's format.
func kcat(t *testing.T, addr string, n int, format string, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatal("kcat is missing: make deps, or apt-get install kcat")
	}
	args = append([]string{"60", path, "-C", "-b", addr, "-t", "logs", "-o", "beginning", "-c", fmt.Sprint(n), "-u", "-q", "-f", format}, args...)
	cmd := exec.Command("timeout", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat: %v: %s", err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// An independent client (librdkafka) reads what we wrote, in every compression
// and over TLS. With SASL it does not get into this broker, which does not know
// the handshake's version 0 that it asks for.
func TestKcat(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	good.issue(t, cert, key)
	for _, test := range []struct {
		codec   string
		broker  []string
		section string
		kcat    []string
	}{
		{codec: "lz4"},
		{codec: "zstd"},
		{codec: "snappy"},
		{codec: "none"},
		{"lz4", []string{"-cert", cert, "-key", key}, "\n  tls: {ca: " + cert + "}", []string{"-X", "security.protocol=SSL", "-X", "ssl.ca.location=" + cert}},
	} {
		t.Run(test.codec+strings.Join(test.broker[:min(1, len(test.broker))], ""), func(t *testing.T) {
			t.Parallel()
			s := newStack(t, 1, test.broker, "  compression: "+test.codec+"\n  headers: {cluster: c1}"+test.section, "")
			s.startBroker()
			s.agent.start()
			ws := writers(t, s, 3)
			steady(ws, 50, 200, 0, rounds(10))
			lines := kcat(t, s.addr, total(ws), `%k\t%h\t%s\n`, test.kcat...)
			if len(lines) != total(ws) {
				t.Fatalf("kcat read %d records, want %d", len(lines), total(ws))
			}
			next := map[string]int{}
			for _, line := range lines {
				f := strings.SplitN(line, "\t", 3)
				var rec struct{ Message, Container, Pod string }
				if err := json.Unmarshal([]byte(f[2]), &rec); err != nil {
					t.Fatal(err)
				}
				var name, stream string
				var n int
				if _, err := fmt.Sscanf(rec.Message, "#%s %s %d#", &name, &stream, &n); err != nil {
					t.Fatal(err)
				}
				if n != next[name+stream] || f[0] != "ns/"+name || !strings.HasPrefix(f[1], "cluster=c1,truesize-position=") || rec.Pod+"/"+rec.Container != name {
					t.Fatalf("%s %s %d, want %d: %s", name, stream, n, next[name+stream], f[:2])
				}
				next[name+stream]++
			}
		})
	}
}

// The first line of a new container arrives soon; how soon is printed.
func TestFirstLine(t *testing.T) {
	s, c := ready(t, "")
	old := writers(t, s, 5)
	steady(old, 5, 100, 0, rounds(2))
	c.await(old...)
	var worst time.Duration
	for i := range 10 {
		begin := time.Now()
		w := newWriter(t, s.root, fmt.Sprintf("new%d", i), "app")
		w.lines(1, 50)
		for !c.complete([]*writer{w}) {
			<-c.news
		}
		worst = max(worst, time.Since(begin))
	}
	t.Logf("first line of a new container after %v at most", worst)
}
