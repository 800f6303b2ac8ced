// Package version tells which build of Truesize a program is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X …/pkg/version.version=v1.2.3".
var version string

// Info is what `version --json` prints.
type Info struct {
	Version   string `json:"version"`
	Revision  string `json:"revision,omitempty"` // commit, when the build knew it
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"` // GOOS/GOARCH
}

// Get returns this build's Info. Without a stamped version it is the module's
// version, or "dev".
func Get() Info {
	i := Info{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				i.Revision = s.Value
			}
		}
	}
	if i.Version == "" && ok && b.Main.Version != "(devel)" {
		i.Version = b.Main.Version
	}
	if i.Version == "" {
		i.Version = "dev"
	}
	return i
}

// String returns one line, "v1.2.3 go1.26.0 linux/amd64".
func (i Info) String() string {
	return fmt.Sprintf("%s %s %s", i.Version, i.GoVersion, i.Platform)
}
