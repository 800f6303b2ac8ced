package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// commandLine is the kernel's. A panic ends the machine at once.
const commandLine = "console=ttyS0 quiet panic=-1 rdinit=/init"

// qemu runs the machine to its end. Its first serial port is the console, its
// second writes to out.
func (m *Machine) qemu(ctx context.Context, k Kernel, initrd, disk, console *os.File, out *output) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max",
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.Memory),
		"-kernel", k.Image, "-initrd", "/proc/self/fd/3", "-append", commandLine,
		"-drive", "file=/proc/self/fd/4,if=virtio,format=raw,cache=unsafe",
		"-serial", "file:/proc/self/fd/5", "-serial", "stdio",
	)
	cmd.ExtraFiles = []*os.File{initrd, disk, console}
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = out, &stderr
	cmd.WaitDelay = 5 * time.Second
	// Nothing is left when this process is killed. The signal comes when the
	// thread that started the child ends: it must be this process's last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("run the machine: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// output takes what the machine writes to its second serial port: lines, and a
// last one that begins with end and tells the command's status.
type output struct {
	end      string
	progress func(string)
	line     []byte
	text     strings.Builder
	status   int
	ended    bool
}

func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			o.line = append(o.line, p...)
			return n, nil
		}
		o.take(string(append(o.line, p[:i]...)))
		o.line, p = o.line[:0], p[i+1:]
	}
}

// take takes a whole line. The command may have left one unfinished.
func (o *output) take(line string) {
	before, status, found := strings.Cut(line, o.end+" ")
	if n, err := strconv.Atoi(status); found && err == nil {
		o.status, o.ended = n, true
		if line = before; line == "" {
			return
		}
	}
	o.text.WriteString(line + "\n")
	o.progress(line)
}

// flush takes what came after the last newline.
func (o *output) flush() {
	if len(o.line) > 0 {
		o.take(string(o.line))
		o.line = nil
	}
}
