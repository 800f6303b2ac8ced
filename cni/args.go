package cni

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"
)

// Versions are the versions of the CNI specification that the plugin speaks,
// the oldest first.
func Versions() []string { return []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// Args are a call's parameters by the CNI specification, section 2: the
// environment and stdin.
type Args struct {
	Command     string // CNI_COMMAND: ADD, DEL, CHECK, GC or STATUS
	ContainerID string
	Netns       string
	IfName      string
	Args        string // CNI_ARGS
	Path        string // CNI_PATH
	StdinData   []byte

	runDir string // of the configuration, once it is read
}

// ReadArgs takes the parameters but for stdin from the environment. Its error
// is a *types.Error of code 4: a variable is missing or cannot be.
func ReadArgs(getenv func(string) string) (*Args, error) {
	a := &Args{
		Command: getenv("CNI_COMMAND"), ContainerID: getenv("CNI_CONTAINERID"), Netns: getenv("CNI_NETNS"),
		IfName: getenv("CNI_IFNAME"), Args: getenv("CNI_ARGS"), Path: getenv("CNI_PATH"),
	}
	ofPod := a.Command == "ADD" || a.Command == "CHECK" || a.Command == "DEL"
	var missing []string
	for _, v := range []struct {
		name, value string
		needed      bool
	}{
		{"CNI_COMMAND", a.Command, true},
		{"CNI_CONTAINERID", a.ContainerID, ofPod},
		{"CNI_NETNS", a.Netns, ofPod && a.Command != "DEL"},
		{"CNI_IFNAME", a.IfName, ofPod},
		{"CNI_PATH", a.Path, a.Command != "VERSION"},
	} {
		if v.needed && v.value == "" {
			missing = append(missing, v.name)
		}
	}
	if len(missing) > 0 {
		return nil, fail(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("required env variables [%s] missing", strings.Join(missing, ",")), nil)
	}
	if ofPod && !validName(a.ContainerID) {
		return nil, fail(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_CONTAINERID %.64q has characters that it cannot have", a.ContainerID), nil)
	}
	if ofPod && !validLinkName(a.IfName) {
		return nil, fail(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_IFNAME %.64q is not a link's name", a.IfName), nil)
	}
	return a, nil
}

// validName reports whether s can name a network or a container: the
// specification's [a-zA-Z0-9][a-zA-Z0-9_.\-]*. Written out, for a regular
// expression costs a call more than it takes to read its configuration
// (docs/decisions/0007).
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// validLinkName is the kernel's dev_valid_name (net/core/dev.c).
func validLinkName(s string) bool {
	return s != "" && len(s) <= maxName && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) })
}

// checkHeader checks the network's name and that the configuration's version
// is one the plugin speaks and has the call's verb.
func (c *Conf) checkHeader(command string) error {
	if !validName(c.Name) {
		return fail(types.ErrInvalidNetworkConfig, fmt.Sprintf(
			"the network's name is %.64q; it needs one of letters, digits, and _ . - behind the first", c.Name), nil)
	}
	versions := Versions()
	at := slices.Index(versions, c.CNIVersion)
	if at < 0 {
		return fail(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion is %.16q; the plugin speaks %s", c.CNIVersion, strings.Join(versions, ", ")), nil)
	}
	since := map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}[command]
	if at < slices.Index(versions, since) {
		return fail(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion is %s and has no %s, which is of %s", c.CNIVersion, command, since), nil)
	}
	return nil
}
