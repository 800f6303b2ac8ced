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

	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder})))
	return cert, key
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
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

// First the wrong certificate and the wrong password, then the right ones put
// in their places: without a restart, nothing is lost.
func TestTLSAndSASL(t *testing.T) {
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"} {
		t.Run(mechanism, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := certificate(t, dir, "broker")
			wrong, _ := certificate(t, dir, "other")
			copyTo := func(from, to string) {
				data, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				write(t, to+".new", string(data))
				if err := os.Rename(to+".new", to); err != nil {
					t.Fatal(err)
				}
			}
			ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
			copyTo(wrong, ca)
			write(t, password, "wrong\n")
			s := newStack(t, 1, []string{"-cert", cert, "-key", key, "-user", mechanism + ":logger:secret"},
				fmt.Sprintf("  tls: {ca: %s}\n  sasl: {mechanism: %s, user: logger, passwordFile: %s}", ca, mechanism, password), "")
			s.startBroker()
			ws := writers(t, s, 2)
			steady(ws, 20, 100, 0, rounds(5))
			s.agent.start()
			s.awaitError("certificate")
			copyTo(cert, ca)
			s.awaitError("SASL")
			steady(ws, 20, 100, 0, rounds(5))
			write(t, password, "secret\n")

			if mechanism != "SCRAM-SHA-256" { // one consumer's way is enough
				for deadline := time.Now().Add(patience); s.status().Sink.Records < 400; time.Sleep(50 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("status %+v", s.status().Sink)
					}
				}
				return
			}
			pool := x509.NewCertPool()
			data, _ := os.ReadFile(cert)
			pool.AppendCertsFromPEM(data)
			c := newConsumer(t, s.addr, "logs", &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, scram.Auth{User: "logger", Pass: "secret"}.AsSha256Mechanism())
			c.await(ws...)
			s.nothingLost()
		})
	}
}

// An independent client (librdkafka) reads what we wrote, in every compression.
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatal("kcat is missing: make deps, or apt-get install kcat")
	}
	for _, codec := range []string{"lz4", "zstd", "snappy", "none"} {
		t.Run(codec, func(t *testing.T) {
			s := newStack(t, 1, nil, "  compression: "+codec+"\n  headers: {cluster: c1}", "")
			s.startBroker()
			s.agent.start()
			ws := writers(t, s, 3)
			steady(ws, 50, 200, 0, rounds(10))
			total := 0
			for _, w := range ws {
				total += w.n[0] + w.n[1]
			}
			out, err := exec.Command("timeout", "60", kcat, "-C", "-b", s.addr, "-t", "logs", "-o", "beginning", "-c", fmt.Sprint(total), "-u", "-q", "-f", `%k\t%h\t%s\n`).Output()
			if err != nil {
				t.Fatalf("kcat: %v", err)
			}
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(lines) != total {
				t.Fatalf("kcat read %d records, want %d", len(lines), total)
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

// The first line of a new container arrives soon, idle costs next to nothing.
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
