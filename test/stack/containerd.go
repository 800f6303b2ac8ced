package stack

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/image"
)

//go:embed containerd.toml.tmpl
var containerdConfig string

//go:embed cni.conflist.tmpl
var cniConfig string

// Socket returns the path of containerd's socket.
func (s *Stack) Socket() string {
	if s.opts.Standard {
		return "/run/containerd/containerd.sock"
	}
	return s.path("containerd.sock")
}

// NRISocket returns the path of containerd's NRI socket.
func (s *Stack) NRISocket() string {
	if s.opts.Standard {
		return "/run/nri/nri.sock"
	}
	return s.path("nri.sock")
}

// startContainerd makes the images if need be, configures containerd, starts
// it and loads them.
func (s *Stack) startContainerd(ctx context.Context) error {
	images := s.opts.Images
	if len(images) == 0 {
		set, err := image.Ensure(ctx, filepath.Join(s.opts.Repo, "run", "images"), s.opts.Progress)
		if err != nil {
			return err
		}
		images = []string{set.Small, set.Debian}
	}
	s.opts.Progress("starting a private containerd in " + s.Dir)
	s.snapshots = snapshotter(s.Dir)
	if err := s.configure(); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	if err := s.StartContainerd(ctx); err != nil {
		return err
	}
	s.opts.Progress("loading the images")
	for _, path := range images {
		if err := s.LoadImage(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// StopContainerd ends containerd; its containers run on.
func (s *Stack) StopContainerd() { s.containerd.stop() }

// KillContainerd ends it as a crash would.
func (s *Stack) KillContainerd() { s.containerd.kill() }

// StartContainerd starts containerd on the existing configuration: a test
// that stopped it starts it again.
func (s *Stack) StartContainerd(ctx context.Context) error {
	p, err := s.start(s.Program("containerd"), "--config", s.path("containerd.toml"))
	if err != nil {
		return err
	}
	s.containerd = p
	return p.await(ctx, "containerd", func() error {
		// crictl waits for long on a socket that is not there.
		if _, err := os.Stat(s.Socket()); err != nil {
			return err
		}
		_, err := s.Crictl(ctx, "version")
		return err
	})
}

// configure writes the configuration of containerd, CNI and crictl.
func (s *Stack) configure() error {
	values := map[string]any{
		"Dir": s.Dir, "Tools": s.Program(""), "Snapshotter": s.snapshots, "Pause": image.Pause,
		"Socket": s.Socket(), "NRISocket": s.NRISocket(),
		"Network": networkOf(s.ID), "Bridge": bridgeOf(s.ID), "AppArmor": s.opts.AppArmor,
	}
	files := map[string]string{
		"containerd.toml":     containerdConfig,
		"cni/10-dev.conflist": cniConfig,
		"crictl.yaml":         "runtime-endpoint: unix://{{.Socket}}\nimage-endpoint: unix://{{.Socket}}\ntimeout: 60\ndisable-pull-on-run: true\n",
		"nri-plugins/.keep":   "",
		"nri-conf/.keep":      "",
		"certs/.keep":         "",
	}
	for name, text := range files {
		if err := writeTemplate(s.path(name), text, values); err != nil {
			return err
		}
	}
	return nil
}

func writeTemplate(path, text string, values map[string]any) error {
	t, err := template.New(filepath.Base(path)).Option("missingkey=error").Parse(text)
	if err != nil {
		return fmt.Errorf("template of %s: %w", path, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return fmt.Errorf("template of %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Whoever reads it meanwhile has it whole: an agent that finds its file
	// empty works with the defaults, in the node's own run directory.
	if err := os.WriteFile(path+".new", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// snapshotter returns overlayfs where the kernel can mount one below dir (it
// cannot on top of another overlay), else native, which copies.
func snapshotter(dir string) string {
	probe := filepath.Join(dir, "probe")
	var paths []string
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		p := filepath.Join(probe, name)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return "native"
		}
		paths = append(paths, p)
	}
	defer os.RemoveAll(probe)
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", paths[0], paths[1], paths[2])
	if err := unix.Mount("overlay", paths[3], "overlay", 0, opts); err != nil {
		return "native"
	}
	if err := unix.Unmount(paths[3], unix.MNT_DETACH); err != nil {
		return "native"
	}
	return "overlayfs"
}

// LoadImage imports an archive of images into containerd.
func (s *Stack) LoadImage(ctx context.Context, path string) error {
	// --local unpacks for the snapshotter that is named; the transfer service
	// does so for its default one only.
	_, err := run(ctx, s.Program("ctr"), "--address", s.Socket(), "--namespace", "k8s.io",
		"images", "import", "--local", "--snapshotter", s.snapshots, path)
	if err != nil {
		return fmt.Errorf("load image: %w", err)
	}
	return nil
}
