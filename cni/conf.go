package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/state"
)

// Values of the configuration's hostAccess.
const (
	hostAccessOff  = ""
	hostAccessAuto = "auto" // true: the shim in bridge mode, else veth
	hostAccessVeth = "veth"
)

// Values of the configuration's conflictDetection, and how long each listens.
const (
	conflictOff  = "off"
	conflictFast = "fast"
	conflictFull = "full"
)

// Values of the configuration's macFrom.
const (
	macFromAddress  = "address"
	macFromPod      = "pod"
	macFromKernelIs = "kernel"
)

// Annotations of a pod that the plugin heeds.
const (
	annotationIP  = "truesize.dev/ip"  // addresses, separated by commas
	annotationMAC = "truesize.dev/mac" // MAC of the pod's interface
)

// Conf is a network's configuration as the plugin gets it on stdin. The keys
// of the reference macvlan plugin mean what they mean there; all others may be
// left out, and then the plugin does what the reference does.
type Conf struct {
	types.PluginConf

	Master     string `json:"master"`
	Mode       string `json:"mode"`
	MTU        int    `json:"mtu"` // bytes; 0: the master's
	MAC        string `json:"mac,omitempty"`
	InPod      bool   `json:"linkInContainer,omitempty"`
	BCQueueLen uint32 `json:"bcqueuelen,omitempty"` // packets

	VLAN              int        `json:"vlan,omitempty"` // 1 to 4094
	HostAccess        hostAccess `json:"hostAccess,omitempty"`
	HostAddresses     []string   `json:"hostAddresses,omitempty"` // default: the master's
	ServiceCIDRs      []string   `json:"serviceCIDRs,omitempty"`
	ConflictDetection string     `json:"conflictDetection,omitempty"`
	MACFrom           string     `json:"macFrom,omitempty"`
	Sticky            duration   `json:"sticky,omitempty"`
	RunDir            string     `json:"runDir,omitempty"`
	StateDir          string     `json:"stateDir,omitempty"`

	RuntimeConfig runtimeConfig `json:"runtimeConfig,omitempty"`

	// What follows is found out, not decoded.
	validGiven  bool                // the list of valid attachments was given
	mode        netlink.MacvlanMode // of Mode
	mac         net.HardwareAddr    // asked for; nil: to be derived
	requested   []string            // addresses asked for outside of the configuration
	fixed       []string            // those of them that the pod's annotation asks for
	pod         state.Pod
	hostAddrs   []netip.Addr
	serviceNets []netip.Prefix
}

type runtimeConfig struct {
	MAC            string            `json:"mac,omitempty"`
	Bandwidth      *bandwidth        `json:"bandwidth,omitempty"`
	PodAnnotations map[string]string `json:"io.kubernetes.cri.pod-annotations,omitempty"`
}

// bandwidth is the capability of that name: rates in bits per second, bursts
// in bits; 0 is unlimited. Ingress is towards the pod.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate"`
	IngressBurst uint64 `json:"ingressBurst"`
	EgressRate   uint64 `json:"egressRate"`
	EgressBurst  uint64 `json:"egressBurst"`
}

// hostAccess is false, true or "veth" in JSON.
type hostAccess string

func (h *hostAccess) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "false", "null":
		*h = hostAccessOff
	case "true":
		*h = hostAccessAuto
	case `"veth"`:
		*h = hostAccessVeth
	default:
		return fmt.Errorf(`hostAccess is %.32s; it can be true, false or "veth"`, b)
	}
	return nil
}

// duration is written "24h" in JSON.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`duration %.32s: write it as "24h"`, b)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf(`duration %.32q: write it as "24h"`, s)
	}
	*d = duration(v)
	return nil
}

// podArgs are the CNI_ARGS we know.
type podArgs struct {
	types.CommonArgs
	MAC                        types.UnmarshallableString
	IP                         types.UnmarshallableString
	K8S_POD_NAMESPACE          types.UnmarshallableString //nolint:revive // the runtime's name
	K8S_POD_NAME               types.UnmarshallableString //nolint:revive
	K8S_POD_UID                types.UnmarshallableString //nolint:revive
	K8S_POD_INFRA_CONTAINER_ID types.UnmarshallableString //nolint:revive
}

// ParseConf reads stdin and CNI_ARGS and checks what can be checked without
// the kernel. Its errors are *types.Error: code 6 where stdin is not JSON,
// 4 for CNI_ARGS, 7 for a value that cannot be.
func ParseConf(stdin []byte, args string) (*Conf, error) {
	c, err := decodeConf(stdin)
	if err != nil {
		return nil, err
	}
	if err := c.check(args); err != nil {
		return nil, err
	}
	return c, nil
}

// decodeConf reads stdin and judges no value.
func decodeConf(stdin []byte) (*Conf, error) {
	c := &Conf{}
	if err := json.Unmarshal(stdin, c); err != nil {
		if !isObject(err) {
			return nil, fail(types.ErrDecodingFailure, "the network configuration is not a JSON object", err)
		}
		return nil, fail(types.ErrInvalidNetworkConfig, "the network configuration cannot be used", err)
	}
	// An empty list says that every attachment is to go, none says nothing.
	c.validGiven = c.ValidAttachments != nil
	return c, nil
}

// check finds out what is not decoded, first of all whose pod it is, and
// judges the values.
func (c *Conf) check(args string) error {
	if err := c.parseArgs(args); err != nil {
		return err
	}
	if err := version.ParsePrevResult(&c.PluginConf); err != nil {
		return fail(types.ErrDecodingFailure, "prevResult cannot be used", err)
	}
	if err := c.parseValues(); err != nil {
		return fail(types.ErrInvalidNetworkConfig, "the network configuration cannot be used", err)
	}
	return nil
}

// isObject reports whether what could not be decoded is a JSON object, of
// which only a value cannot be.
func isObject(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return !errors.As(err, &syntax) && (!errors.As(err, &kind) || kind.Field != "")
}

// parseValues checks the keys that stand for themselves.
func (c *Conf) parseValues() (err error) {
	modes := map[string]netlink.MacvlanMode{
		"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE,
		"private": netlink.MACVLAN_MODE_PRIVATE, "vepa": netlink.MACVLAN_MODE_VEPA,
		"passthru": netlink.MACVLAN_MODE_PASSTHRU,
	}
	var ok bool
	if c.mode, ok = modes[c.Mode]; !ok {
		return fmt.Errorf("mode is %.32q; it can be bridge, private, vepa or passthru", c.Mode)
	}
	if c.MTU < 0 {
		return fmt.Errorf("mtu is %d; it cannot be negative", c.MTU)
	}
	if c.VLAN < 0 || c.VLAN > 4094 {
		return fmt.Errorf("vlan is %d; it can be 1 to 4094", c.VLAN)
	}
	if c.InPod && (c.HostAccess != hostAccessOff || c.VLAN != 0) {
		return fmt.Errorf("hostAccess and vlan need a master on the node; they cannot go with linkInContainer")
	}
	if err := oneOf("conflictDetection", c.ConflictDetection, "", conflictOff, conflictFast, conflictFull); err != nil {
		return err
	}
	if err := oneOf("macFrom", c.MACFrom, "", macFromAddress, macFromPod, macFromKernelIs); err != nil {
		return err
	}
	for _, s := range c.ServiceCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("serviceCIDRs: %.64q is not of the form 10.96.0.0/12", s)
		}
		c.serviceNets = append(c.serviceNets, p.Masked())
	}
	for _, s := range c.HostAddresses {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("hostAddresses: %.64q is not an IP address", s)
		}
		c.hostAddrs = append(c.hostAddrs, a.Unmap())
	}
	return c.checkBandwidth()
}

func oneOf(key, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%s is %.32q; it can be %s", key, value, strings.Join(allowed[1:], ", "))
}

// parseArgs takes MAC, addresses and the pod's name from the configuration,
// CNI_ARGS, the runtime and the pod's annotations, the later over the earlier.
func (c *Conf) parseArgs(args string) error {
	var a podArgs
	if err := types.LoadArgs(args, &a); err != nil {
		return fail(types.ErrInvalidEnvironmentVariables, "CNI_ARGS cannot be used", err)
	}
	c.pod = state.Pod{Namespace: string(a.K8S_POD_NAMESPACE), Name: string(a.K8S_POD_NAME), UID: string(a.K8S_POD_UID)}
	if a.IP != "" {
		c.requested = append(c.requested, string(a.IP))
	}
	notes := c.RuntimeConfig.PodAnnotations
	for _, ip := range strings.Split(notes[annotationIP], ",") {
		if ip = strings.TrimSpace(ip); ip != "" {
			c.fixed = append(c.fixed, ip)
		}
	}
	c.requested = append(c.requested, c.fixed...)
	mac := c.MAC
	for _, over := range []string{string(a.MAC), c.RuntimeConfig.MAC, notes[annotationMAC]} {
		if over != "" {
			mac = over
		}
	}
	if mac == "" {
		return nil
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return fail(types.ErrInvalidNetworkConfig, fmt.Sprintf("MAC address %.32q is not of the form 02:00:00:00:00:01", mac), nil)
	}
	if hw[0]&1 != 0 {
		return fail(types.ErrInvalidNetworkConfig, fmt.Sprintf("MAC address %s is a group address; clear the lowest bit of its first octet", hw), nil)
	}
	if hw.String() == "00:00:00:00:00:00" {
		return fail(types.ErrInvalidNetworkConfig, fmt.Sprintf("MAC address %s is nobody's; give another one", hw), nil)
	}
	c.mac = hw
	return nil
}

// fixedAddrs are the addresses of the pod's annotation.
func (c *Conf) fixedAddrs() ([]netip.Addr, error) {
	var list []netip.Addr
	for _, s := range c.fixed {
		text, _, _ := strings.Cut(s, "/") // some plugins want its length too
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, fail(types.ErrInvalidNetworkConfig, fmt.Sprintf("the pod's annotation %s: %.64q is not an IP address", annotationIP, s), nil)
		}
		list = append(list, a.Unmap())
	}
	return list, nil
}

// forIPAM is stdin as an IPAM plugin gets it: the addresses of the pod's
// annotation are where the runtime would put those of the capability "ips"
// (CONVENTIONS.md of the CNI project).
func (c *Conf) forIPAM(stdin []byte) []byte {
	if len(c.fixed) == 0 || !c.delegated() {
		return stdin
	}
	var whole, runtime map[string]json.RawMessage
	err := json.Unmarshal(stdin, &whole)
	if err == nil {
		err = json.Unmarshal(whole["runtimeConfig"], &runtime)
	}
	if err == nil {
		runtime["ips"], err = json.Marshal(c.fixed)
	}
	if err == nil {
		whole["runtimeConfig"], err = json.Marshal(runtime)
	}
	if out, merr := json.Marshal(whole); err == nil && merr == nil {
		return out
	}
	return stdin // its annotations were read from it: this cannot be
}

func (c *Conf) checkBandwidth() error {
	b := c.RuntimeConfig.Bandwidth
	if b == nil {
		return nil
	}
	for _, d := range []struct {
		name        string
		rate, burst uint64
	}{{"ingress", b.IngressRate, b.IngressBurst}, {"egress", b.EgressRate, b.EgressBurst}} {
		if (d.rate == 0) != (d.burst == 0) {
			return fmt.Errorf("bandwidth: %sRate and %sBurst go together", d.name, d.name)
		}
		if d.rate != 0 && d.rate < 8 {
			return fmt.Errorf("bandwidth: %sRate is %d bit/s; it must be at least 8", d.name, d.rate)
		}
	}
	return nil
}

// inProcess reports whether the plugin allocates the addresses itself.
func (c *Conf) inProcess() bool { return c.IPAM.Type == "host-local" }

// delegated reports whether an IPAM plugin has to be run.
func (c *Conf) delegated() bool { return c.IPAM.Type != "" && !c.inProcess() }
