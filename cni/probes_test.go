package cni_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestProbes: what kubelet does for HTTP, TCP and gRPC probes, from the node
// to its pod, by either kind of host access and in both families.
func TestProbes(t *testing.T) {
	lan := nettest.NewLAN(t)
	for _, access := range []any{true, "veth"} {
		t.Run(fmt.Sprint(access), func(t *testing.T) {
			number := map[any]string{true: "1", "veth": "2"}[access]
			v4, v6 := "10."+number+".0.", "fd0"+number+"::"
			n := newNode(t, lan, "node", []string{v4 + "0/24", v6 + "/64"}, v4+"200/24", v6+"c8/64")
			p := newPod(t, "c1")
			r := n.add(p, n.with("hostAccess", access))
			go func(l net.Listener) { _ = http.Serve(l, http.HandlerFunc(greet)) }(listen(t, p, ":80"))
			serveHealth(t, listen(t, p, ":50051"))
			for i := range r.IPs {
				host := ip(r, i)
				for kind, probe := range map[string]func() error{
					"HTTP": func() error { return get(n.Host, "http://"+net.JoinHostPort(host, "80")+"/healthz") },
					"TCP":  func() error { return dial(n.Host, net.JoinHostPort(host, "80")) },
					"gRPC": func() error { return checkHealth(t.Context(), n.Host, net.JoinHostPort(host, "50051")) },
				} {
					if err := probe(); err != nil {
						t.Errorf("%s probe of %s: %v", kind, host, err)
					}
				}
			}
		})
	}
}

func listen(t *testing.T, p *pod, addr string) (l net.Listener) {
	t.Helper()
	p.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(h *nettest.Host, addr string) error {
	return h.NS.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// serveHealth serves the standard health service (grpc.health.v1).
func serveHealth(t *testing.T, l net.Listener) {
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
}

// checkHealth is a gRPC probe from the host.
func checkHealth(ctx context.Context, h *nettest.Host, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(_ context.Context, addr string) (c net.Conn, err error) {
			err = h.NS.Do(func() error { c, err = net.DialTimeout("tcp", addr, 5*time.Second); return err })
			return c, err
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err == nil && resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		err = fmt.Errorf("status %s", resp.GetStatus())
	}
	return err
}
