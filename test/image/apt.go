package image

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// keyring verifies Debian's archive; it is part of every Debian.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// defaultSources are used where the node is configured for another release.
func defaultSources(release string) []string {
	return []string{
		"http://deb.debian.org/debian " + release,
		"http://deb.debian.org/debian " + release + "-updates",
		"http://deb.debian.org/debian-security " + release + "-security",
	}
}

// Sources returns a sources.list of the node's own mirrors of a release in
// Debian's archive, bullseye or a later one; what they serve is checked with
// Debian's own keys. Other sources the node may have are left out: what is made
// of it is Debian alone.
func Sources(ctx context.Context, release string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("list apt sources: %w", err)
	}
	return sourcesList(release, mirrors(release, string(out))), nil
}

// mirrors returns "URI RELEASE" of each source of a release of Debian's main.
// Where the node has none, it is those of the nodes' release: who mirrors one
// mirrors the others.
func mirrors(release, targets string) []string {
	found := parseTargets(release, targets)
	if len(found) > 0 {
		return found
	}
	for _, source := range parseTargets(suite, targets) {
		found = append(found, strings.Replace(source, " "+suite, " "+release, 1))
	}
	return found
}

// parseTargets returns "URI RELEASE" of each target that is the main of
// a release of Debian.
func parseTargets(release, out string) []string {
	var found []string
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 || f[0] != "Debian" || f[1] != "main" {
			continue
		}
		if f[3] == release || f[3] == release+"-updates" || f[3] == release+"-security" {
			found = append(found, f[2]+" "+f[3])
		}
	}
	return found
}

// sourcesList writes a sources.list of "URI RELEASE" entries, of the default
// ones where the release itself is not among them.
func sourcesList(release string, entries []string) string {
	complete := false
	for _, e := range entries {
		complete = complete || strings.HasSuffix(e, " "+release)
	}
	if !complete {
		entries = defaultSources(release)
	}
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "deb [signed-by=%q] %s main\n", keyring, e)
	}
	return b.String()
}

// proxyOptions returns the node's apt proxies as apt options: mmdebstrap
// does not read the node's apt.conf.
func proxyOptions(ctx context.Context) []string {
	var opts []string
	for _, key := range []string{"Acquire::http::Proxy", "Acquire::https::Proxy"} {
		out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%v", key).Output()
		if v := strings.TrimSpace(string(out)); err == nil && v != "" {
			opts = append(opts, fmt.Sprintf("%s %q", key, v))
		}
	}
	return opts
}
