// Package state is what the plugin remembers between calls, as files.
//
// In the run directory (normally /run/truesize/cni, gone at reboot as the
// kernel's links are):
//
//	attachments/<network>/<container>@<ifname>   one record per attachment
//	addresses/<network>/<ip>                     symlink to the record's name
//	links/<link>/<container>@<ifname>            who uses a shared host link
//	locks/…                                      flocks
//
// In the state directory (normally /var/lib/truesize/cni):
//
//	leases/<network>/<container>@<ifname>        record kept for a delegated IPAM,
//	                                             whose leases outlive a boot
//	networks/<network>/…                         boot, sticky and conflicting addresses
//
// A record appears whole or not at all (temp file, rename). What is in the run
// directory is not fsynced: only a crash of the kernel loses the page cache,
// and the links and addresses that the record describes with it. What is in
// the state directory is fsynced, file and directory.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/file"
	"github.com/truesize/truesize/cni/internal/flock"
)

// Default directories.
const (
	DefaultRunDir   = "/run/truesize/cni"
	DefaultStateDir = "/var/lib/truesize/cni"
)

// Phases of an attachment.
const (
	Adding   = "adding"   // ADD has begun: anything may have been made
	Ready    = "ready"    // ADD has succeeded
	Deleting = "deleting" // DEL has begun: anything may be gone
)

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("no such attachment record")
	// ErrCorrupt says that a record exists and cannot be used.
	ErrCorrupt = errors.New("attachment record is not usable")
)

// maxRecord bounds a record in bytes.
const maxRecord = 1 << 20

// A Key names one attachment: one interface of one container in one network.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// String returns "network/container@ifname".
func (k Key) String() string { return k.Network + "/" + k.fileName() }

// fileName is the key's name within its network: container ids hold no '@'.
// Ids too long for a file name are hashed; the record holds the whole id.
func (k Key) fileName() string {
	name := k.ContainerID + "@" + k.IfName
	if len(name) > 200 {
		sum := sha256.Sum256([]byte(name))
		name = k.ContainerID[:32] + "." + hex.EncodeToString(sum[:16]) + "@" + k.IfName
	}
	return name
}

// userName is the key's name where attachments of all networks meet.
func (k Key) userName() string {
	name := k.Network + "@" + k.fileName()
	if len(name) > 240 {
		sum := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(sum[:])
	}
	return name
}

// An Attachment is the record of what an ADD has made or is about to make:
// enough to take it back without the configuration and without the runtime.
type Attachment struct {
	Key
	Phase   string    `json:"phase"`
	BootID  string    `json:"bootID"`
	Created time.Time `json:"created"`

	Netns    string `json:"netns"`    // path given by the runtime
	NetnsDev uint64 `json:"netnsDev"` // device and inode: the namespace itself
	NetnsIno uint64 `json:"netnsIno"`

	Pod Pod `json:"pod,omitzero"`

	Master   string         `json:"master"`             // as configured or found
	Lower    string         `json:"lower"`              // the link under the macvlan: master or its VLAN
	InPod    bool           `json:"inPod,omitempty"`    // the master is in the container's namespace
	VLAN     int            `json:"vlan,omitempty"`     // VLAN id of Lower, 0 without
	MAC      string         `json:"mac,omitempty"`      // of the pod's interface
	Prefixes []netip.Prefix `json:"prefixes,omitempty"` // the pod's addresses
	Gateways []netip.Addr   `json:"gateways,omitempty"`

	Host *HostAccess `json:"host,omitempty"`
	IPAM IPAM        `json:"ipam,omitzero"`

	// Config, Args and Path are the stdin, CNI_ARGS and CNI_PATH of the ADD,
	// kept only where a delegated IPAM has to be called again.
	Config json.RawMessage `json:"config,omitempty"`
	Args   string          `json:"args,omitempty"`
	Path   string          `json:"path,omitempty"`
}

// Pod is whose sandbox the container is, when the runtime said so.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// HostAccess is how node and pod reach each other.
type HostAccess struct {
	Kind     string         `json:"kind"` // "shim" or "veth"
	Link     string         `json:"link"` // the link in the host's namespace
	LinkMAC  string         `json:"linkMAC,omitempty"`
	PodLink  string         `json:"podLink,omitempty"` // the veth's end in the pod
	PodMAC   string         `json:"podMAC,omitempty"`
	HostIPs  []netip.Addr   `json:"hostIPs,omitempty"`
	Services []netip.Prefix `json:"services,omitempty"`
}

// IPAM is where the addresses came from.
type IPAM struct {
	Type    string `json:"type,omitempty"`
	DataDir string `json:"dataDir,omitempty"` // of the in-process host-local
	Sticky  bool   `json:"sticky,omitempty"`
}

// Delegated reports whether a plugin of its own holds the addresses.
func (i IPAM) Delegated() bool { return i.Type != "" && i.Type != "host-local" }

// A Dir is the plugin's two directories.
type Dir struct {
	Run    string
	State  string
	BootID string // of the running kernel
}

// Open returns the state in the directories run and state, the defaults where
// they are empty. It creates nothing.
func Open(run, state string) (*Dir, error) {
	if run == "" {
		run = DefaultRunDir
	}
	if state == "" {
		state = DefaultStateDir
	}
	b, err := file.Read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	return &Dir{Run: run, State: state, BootID: strings.TrimSpace(string(b))}, nil
}

// BootTime is when the machine booted, by the present clock.
func BootTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(ts.Nano()))
}

// LockAttachment takes the lock of one attachment, waiting at most wait.
func (d *Dir) LockAttachment(k Key, wait time.Duration) (*flock.File, error) {
	return flock.Acquire(filepath.Join(d.Run, "locks", k.Network, k.fileName()), wait)
}

// LockLink takes the lock of a host link that attachments share.
func (d *Dir) LockLink(name string, wait time.Duration) (*flock.File, error) {
	return flock.Acquire(filepath.Join(d.Run, "locks", ".links", name), wait)
}

func (d *Dir) attachmentPath(k Key) string {
	return filepath.Join(d.Run, "attachments", k.Network, k.fileName())
}

func (d *Dir) leasePath(k Key) string {
	return filepath.Join(d.State, "leases", k.Network, k.fileName())
}

// NetworkDir is the directory of a network's lasting state.
func (d *Dir) NetworkDir(network string) string {
	return filepath.Join(d.State, "networks", network)
}

// Put writes a's record; with a delegated IPAM also its lasting copy.
func (d *Dir) Put(a *Attachment) error {
	data := a.encode()
	if a.IPAM.Delegated() && a.Phase == Adding {
		if err := WriteFile(d.leasePath(a.Key), data, true); err != nil {
			return err
		}
	}
	return WriteFile(d.attachmentPath(a.Key), data, false)
}

// Get reads the record of k: the run directory's, else the lasting copy. The
// error wraps [ErrNotFound], [ErrCorrupt] or is the file system's.
func (d *Dir) Get(k Key) (*Attachment, error) {
	a, err := readRecord(d.attachmentPath(k))
	if errors.Is(err, ErrNotFound) {
		a, err = readRecord(d.leasePath(k))
	}
	if err == nil && a.Key != k {
		return nil, fmt.Errorf("%w: record of %s names %s", ErrCorrupt, k, a.Key)
	}
	return a, err
}

// Remove forgets the attachment. It is no error if nothing was known of it.
func (d *Dir) Remove(k Key) error {
	for _, p := range []string{d.leasePath(k), d.attachmentPath(k)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove record: %w", err)
		}
	}
	return nil
}

func readRecord(path string) (*Attachment, error) {
	data, err := file.ReadAtMost(path, maxRecord+1, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	a, err := ParseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return a, nil
}

// ParseRecord decodes a record.
func ParseRecord(data []byte) (*Attachment, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), maxRecord)
	}
	var a Attachment
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	if a.Network == "" || a.ContainerID == "" || a.IfName == "" {
		return nil, errors.New("it does not name its attachment")
	}
	return &a, nil
}
