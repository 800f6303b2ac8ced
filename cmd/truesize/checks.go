package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/shimdir"
	"github.com/truesize/truesize/pkg/viewd"
	"github.com/truesize/truesize/shim"
)

const cgroupRoot = "/sys/fs/cgroup"

// kernel wants what the view, and mounts in running containers, need: the last
// of that, setns by a pidfd, came with 5.8, and 5.10 is the oldest kernel that
// distributions maintain and test/guest runs.
func (checkup) kernel(context.Context) (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return kernelRelease(unix.ByteSliceToString(u.Release[:]))
}

// kernelRelease returns the release, and an error for one that is too old.
func kernelRelease(release string) (string, error) {
	if !atLeast(release, 5, 10) {
		return "", fmt.Errorf("%s is too old", release)
	}
	return release, nil
}

var versionNumber = regexp.MustCompile(`(\d+)\.(\d+)`)

// atLeast reports whether the first version number in s is major.minor or a
// later one.
func atLeast(s string, major, minor int) bool {
	m := versionNumber.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	a, err1 := strconv.Atoi(m[1])
	b, err2 := strconv.Atoi(m[2])
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}

func (checkup) cgroup(context.Context) (string, error) {
	fs, err := cgroup.Detect(cgroupRoot)
	if err != nil {
		return "", err
	}
	return string(fs.Mode()), fs.Close()
}

func (checkup) fuse(context.Context) (string, error) {
	const path = "/dev/fuse"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return path + " can be opened", f.Close()
}

// dial connects to containerd.
func (c checkup) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+c.containerd, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (c checkup) containerdAnswers(ctx context.Context) (string, error) {
	conn, err := c.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	v, err := versionapi.NewVersionClient(conn).Version(ctx, new(emptypb.Empty))
	if err != nil {
		return "", fmt.Errorf("%s does not answer: %w", c.containerd, err)
	}
	return v.GetVersion() + " at " + c.containerd, nil
}

// nriListens looks at NRI from both ends: containerd has the plugin loaded
// also when it is disabled, and then it does not listen.
func (c checkup) nriListens(ctx context.Context) (string, error) {
	conn, err := c.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	resp, err := introspection.NewIntrospectionClient(conn).Plugins(ctx, &introspection.PluginsRequest{
		Filters: []string{"type==io.containerd.nri.v1"},
	})
	if err != nil {
		return "", fmt.Errorf("ask containerd for its plugins: %w", err)
	}
	if len(resp.GetPlugins()) == 0 {
		return "", errors.New("this containerd has no NRI: 1.7 is the first with what is needed")
	}
	for _, p := range resp.GetPlugins() {
		if e := p.GetInitErr(); e != nil {
			return "", fmt.Errorf("containerd could not start NRI: %s", e.GetMessage())
		}
	}
	if r, err := c.readiness(ctx); err == nil && r.holds("nri") {
		return "the agent is registered", nil
	}
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", c.nri)
	if err != nil {
		return "", fmt.Errorf("containerd does not listen for plugins: %w", err)
	}
	return "listens at " + c.nri, socket.Close()
}

func (c checkup) runcVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, c.runc, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run %s --version: %w", c.runc, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if !atLeast(line, 1, 1) {
		return "", fmt.Errorf("%.64q is too old, or no runc", line)
	}
	return line, nil
}

// readiness is what the agent says at /readyz.
type readiness struct {
	Ready   bool   `json:"ready"`
	Version string `json:"version"`
	Checks  []struct {
		Name string `json:"name"`
		OK   bool   `json:"ok"`
		Note string `json:"note"`
	} `json:"checks"`
	// Off are the parts that the agent's configuration switches off.
	Off []string `json:"off"`
}

// holds reports whether the agent's check of that name does.
func (r readiness) holds(name string) bool {
	for _, c := range r.Checks {
		if c.Name == name {
			return c.OK
		}
	}
	return false
}

// readiness asks the agent over its socket in the run directory.
func (c checkup) readiness(ctx context.Context) (r readiness, err error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(c.runDir, "agent.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/readyz", nil)
	if err != nil {
		return r, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return r, fmt.Errorf("the agent does not answer: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&r); err != nil {
		return r, fmt.Errorf("read the agent's answer: %w", err)
	}
	return r, nil
}

func (c checkup) agentReady(ctx context.Context) (string, error) {
	r, err := c.readiness(ctx)
	if err != nil {
		return "", err
	}
	var bad []string
	for _, check := range r.Checks {
		if !check.OK {
			bad = append(bad, check.Note)
		}
	}
	if !r.Ready {
		return "", fmt.Errorf("not ready: %s", strings.Join(bad, "; "))
	}
	return "ready, " + r.Version, nil
}

// offNote is what is found of a part that the configuration switches off.
const offNote = "switched off in the agent's configuration"

// isOff reports whether the agent says so of a part.
func (c checkup) isOff(ctx context.Context, part string) bool {
	r, err := c.readiness(ctx)
	return err == nil && slices.Contains(r.Off, part)
}

func (c checkup) viewAnswers(ctx context.Context) (string, error) {
	if c.isOff(ctx, "view") {
		return offNote, nil
	}
	v, err := viewd.NewClient(c.runDir).Version(ctx)
	if err != nil {
		return "", err
	}
	return "answers, " + v, nil
}

func (c checkup) shimInstalled(ctx context.Context) (string, error) {
	if c.isOff(ctx, "shim") {
		return offNote, nil
	}
	object, err := shim.Object(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	if err := shimdir.Verify(c.stateDir, object); err != nil {
		return "", err
	}
	return shimdir.Path(c.stateDir, object), nil
}
