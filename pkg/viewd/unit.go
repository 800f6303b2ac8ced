package viewd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// defaultRunDir is the run directory whose unit has the plain name.
const defaultRunDir = "/run/truesize"

// unitName returns the name of the systemd unit of a run directory's view.
// There is one view, and so one unit, for each.
func unitName(runDir string) string {
	if runDir == defaultRunDir {
		return "truesize-viewd.service"
	}
	sum := sha256.Sum256([]byte(runDir))
	return "truesize-viewd-" + hex.EncodeToString(sum[:6]) + ".service"
}

// unitText is what systemd is told of a view. What an older systemd does not
// know of it, it ignores.
//
// There is no main process: a server may start another keeper, so the service
// lives as long as any of its processes does, which Type=forking without a
// guess means. It is started when the program that was executed has ended,
// with the view answering behind it; to reload is to have another version
// take over. Nothing stops it at the node's shutdown but the end of all
// processes: containers read until then. One process that the kernel kills
// for memory is no reason for systemd to kill the others.
const unitText = `# Written by truesized, which writes it anew when that changes.
[Unit]
Description=Truesize: the view of the containers of %[1]s
DefaultDependencies=no
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
Type=forking
GuessMainPID=no
ExecStart=%[2]s
ExecReload=%[2]s
ExecStop=%[3]s
Restart=always
RestartSec=1
TimeoutStartSec=45
TimeoutStopSec=45
OOMPolicy=continue
OOMScoreAdjust=-998
LimitNOFILE=1048576
TasksMax=infinity
StandardError=append:%[4]s
`

// unitFile returns the unit that runs program with args for a run directory.
func unitFile(runDir, program, log string, args []string) (string, error) {
	start := append([]string{program, "--background", "--run-dir", runDir}, args...)
	var lines []string
	for _, argv := range [][]string{{runDir}, start, {program, "--stop", "--run-dir", runDir}} {
		for _, arg := range argv {
			if strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return "", fmt.Errorf("unit of %q: %q has control characters", runDir, arg)
			}
		}
		lines = append(lines, commandLine(argv))
	}
	return fmt.Sprintf(unitText, lines[0], lines[1], lines[2], strings.ReplaceAll(log, "%", "%%")), nil
}

// commandLine quotes arguments by the rules of systemd.service(5), "Command
// lines".
func commandLine(argv []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`)
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = `"` + quote.Replace(arg) + `"`
	}
	return strings.Join(quoted, " ")
}
