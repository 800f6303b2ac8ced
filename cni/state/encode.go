package state

import (
	"time"

	"github.com/truesize/truesize/cni/internal/jsonw"
)

// encode writes the record as encoding/json would by the struct's tags, by
// which it is read: an ADD writes three and reads none.
func (a *Attachment) encode() []byte {
	var o jsonw.Object
	o.String("network", a.Network)
	o.String("containerID", a.ContainerID)
	o.String("ifname", a.IfName)
	o.String("phase", a.Phase)
	o.String("bootID", a.BootID)
	o.String("created", a.Created.Format(time.RFC3339Nano))
	o.String("netns", a.Netns)
	o.Uint("netnsDev", a.NetnsDev)
	o.Uint("netnsIno", a.NetnsIno)
	if a.Pod != (Pod{}) {
		o.Raw("pod", a.Pod.encode())
	}
	o.String("master", a.Master)
	o.String("lower", a.Lower)
	o.True("inPod", a.InPod)
	if a.VLAN != 0 {
		o.Uint("vlan", uint64(a.VLAN))
	}
	o.Optional("mac", a.MAC)
	o.Prefixes("prefixes", a.Prefixes)
	o.Addrs("gateways", a.Gateways)
	if a.Host != nil {
		o.Raw("host", a.Host.encode())
	}
	if a.IPAM != (IPAM{}) {
		o.Raw("ipam", a.IPAM.encode())
	}
	if len(a.Config) > 0 {
		o.Raw("config", a.Config)
	}
	o.Optional("args", a.Args)
	o.Optional("path", a.Path)
	return o.Bytes()
}

func (p Pod) encode() []byte {
	var o jsonw.Object
	o.Optional("namespace", p.Namespace)
	o.Optional("name", p.Name)
	o.Optional("uid", p.UID)
	return o.Bytes()
}

func (h *HostAccess) encode() []byte {
	var o jsonw.Object
	o.String("kind", h.Kind)
	o.String("link", h.Link)
	o.Optional("linkMAC", h.LinkMAC)
	o.Optional("podLink", h.PodLink)
	o.Optional("podMAC", h.PodMAC)
	o.Addrs("hostIPs", h.HostIPs)
	o.Prefixes("services", h.Services)
	return o.Bytes()
}

func (i IPAM) encode() []byte {
	var o jsonw.Object
	o.Optional("type", i.Type)
	o.Optional("dataDir", i.DataDir)
	o.True("sticky", i.Sticky)
	return o.Bytes()
}
