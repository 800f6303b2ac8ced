package nri

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/ttrpc"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
)

// registrar accepts registrations and never configures anybody.
type registrar struct{}

func (registrar) RegisterPlugin(context.Context, *api.RegisterPluginRequest) (*api.Empty, error) {
	return &api.Empty{}, nil
}

func (registrar) UpdateContainers(context.Context, *api.UpdateContainersRequest) (*api.UpdateContainersResponse, error) {
	return &api.UpdateContainersResponse{}, nil
}

// serveRegistrationOnly serves NRI at socket as far as the registration, until
// the test ends.
func serveRegistrationOnly(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go register(conn)
		}
	}()
}

// register serves the registration on one connection.
func register(conn net.Conn) {
	defer conn.Close()
	inner, err := multiplex.Multiplex(conn).Listen(multiplex.RuntimeServiceConn)
	if err != nil {
		return
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return
	}
	defer server.Close()
	api.RegisterRuntimeService(server, registrar{})
	_ = server.Serve(context.Background(), inner) // ends with the connection
}

// forward passes the one connection to socket on to another, until sever is
// called: both then break, as when the runtime dies. (An adaptation that is
// stopped keeps its connections.)
func forward(t *testing.T, socket, to string) (sever func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 2)
	go func() {
		front, err := l.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("unix", to)
		if err != nil {
			front.Close()
			return
		}
		conns <- front
		conns <- back
		go func() { _, _ = io.Copy(front, back) }()
		_, _ = io.Copy(back, front)
	}()
	return func() {
		l.Close()
		(<-conns).Close()
		(<-conns).Close()
	}
}

// preloading returns a creation that appends name to LD_PRELOAD as the
// injection does.
func preloading(name string) func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
	return func(_ context.Context, s lifecycle.Spec) (inject.Adjustment, error) {
		old, set := inject.Getenv(s.Env, "LD_PRELOAD")
		if set {
			name = old + ":" + name
		}
		return inject.Adjustment{Env: []inject.EnvVar{{Name: "LD_PRELOAD", Value: name, Replaces: set}}}, nil
	}
}
