// Package delegate runs IPAM plugins of their own by the CNI specification's
// delegation protocol (SPEC.md, section 4): the same stdin and environment,
// CNI_COMMAND changed where another verb is meant.
package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"golang.org/x/sys/unix"
)

// ErrNotFound says that the plugin's program is in no directory of CNI_PATH.
var ErrNotFound = errors.New("plugin not found")

// maxMessage bounds what of a plugin's stderr goes into an error.
const maxMessage = 1024

// endWait is how long a plugin has to end when its call is over.
const endWait = 5 * time.Second

// A Call is one invocation of a plugin.
type Call struct {
	Plugin      string // the program's name, without a directory
	Path        string // CNI_PATH
	Command     string // ADD, DEL, CHECK, GC, STATUS
	ContainerID string
	Netns       string
	IfName      string
	Args        string // CNI_ARGS
	Config      []byte // stdin
}

// Add runs ADD and returns its result in the current version's form.
func Add(ctx context.Context, c Call) (*current.Result, error) {
	c.Command = "ADD"
	out, err := Run(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := create.CreateFromBytes(out)
	if err != nil {
		return nil, fmt.Errorf("IPAM plugin %s: decode result: %w", c.Plugin, err)
	}
	res, err := current.NewResultFromResult(r)
	if err != nil {
		return nil, fmt.Errorf("IPAM plugin %s: convert result: %w", c.Plugin, err)
	}
	return res, nil
}

// Run runs the plugin and returns its standard output. A CNI error that the
// plugin printed is returned as *types.Error with the plugin's code.
func Run(ctx context.Context, c Call) ([]byte, error) {
	prog, err := find(c.Plugin, c.Path)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		out, err := run(ctx, prog, c)
		// A program being replaced by an upgrade is busy for a moment.
		if !errors.Is(err, unix.ETXTBSY) || try == 4 {
			return out, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func run(ctx context.Context, prog string, c Call) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, prog)
	cmd.Env = environment(os.Environ(), c)
	cmd.Stdin = bytes.NewReader(c.Config)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// It may hold a lock or a lease: it is asked to end before it is made to.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = endWait
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return nil, fmt.Errorf("IPAM plugin %s %s: %w", c.Plugin, c.Command, cerr)
	}
	return nil, explain(c, err, stdout.Bytes(), stderr.Bytes())
}

// explain makes an error of what a failed plugin said.
func explain(c Call, err error, stdout, stderr []byte) error {
	var e types.Error
	if json.Unmarshal(stdout, &e) == nil && (e.Code != 0 || e.Msg != "") {
		e.Msg = fmt.Sprintf("IPAM plugin %s: %s", c.Plugin, e.Msg)
		return &e
	}
	said := strings.TrimSpace(string(stderr[:min(len(stderr), maxMessage)]))
	if said == "" {
		return fmt.Errorf("IPAM plugin %s %s: %w", c.Plugin, c.Command, err)
	}
	return fmt.Errorf("IPAM plugin %s %s: %w: %s", c.Plugin, c.Command, err, said)
}

// environment is base with the CNI variables of c in place of its own.
func environment(base []string, c Call) []string {
	env := make([]string, 0, len(base)+6)
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH":
		default:
			env = append(env, kv)
		}
	}
	return append(env,
		"CNI_COMMAND="+c.Command, "CNI_CONTAINERID="+c.ContainerID, "CNI_NETNS="+c.Netns,
		"CNI_IFNAME="+c.IfName, "CNI_ARGS="+c.Args, "CNI_PATH="+c.Path)
}

// find returns the program of a plugin.
func find(plugin, path string) (string, error) {
	if plugin == "" || strings.ContainsRune(plugin, filepath.Separator) || plugin == ".." {
		return "", fmt.Errorf("%w: %.64q is not a plugin's name", ErrNotFound, plugin)
	}
	for _, dir := range filepath.SplitList(path) {
		prog := filepath.Join(dir, plugin)
		if fi, err := os.Stat(prog); err == nil && fi.Mode().IsRegular() {
			return prog, nil
		}
	}
	return "", fmt.Errorf("%w: no program %s in CNI_PATH %s; install it, or correct ipam.type", ErrNotFound, plugin, path)
}

// Find reports an error wrapping [ErrNotFound] unless the plugin is there.
func Find(plugin, path string) error {
	_, err := find(plugin, path)
	return err
}
