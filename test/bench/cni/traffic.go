package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// traffic measures TCP between two pods of one node, and between a node and
// its pod: by the shim, and by a plain veth pair.
func (b *bench) traffic(g *goals, ours, ref *node, mb int) error {
	type way struct{ from, to, addr string }
	ways := map[string]way{}
	for _, nd := range []*node{ours, ref} {
		pods, err := b.pods(2)
		if err != nil {
			return err
		}
		conf := nd.conf("traffic", false, nil)
		if nd == ours {
			conf = nd.conf("traffic", false, map[string]any{"hostAccess": true})
		}
		var addr string
		for _, p := range pods {
			_, out, err := nd.call("ADD", p, conf)
			if err != nil {
				return err
			}
			if addr, err = address(out); err != nil {
				return err
			}
		}
		ways[nd.name] = way{pods[0], pods[1], addr}
		if nd == ours {
			ways["shim"] = way{nd.name, pods[1], addr}
		}
	}
	veth, err := b.pods(1)
	if err != nil {
		return err
	}
	for _, c := range [][2]string{
		{ref.name, fmt.Sprintf("link add bench0 type veth peer name eth0 netns %s%s", b.prefix, veth[0])},
		{ref.name, "link set bench0 up"}, {ref.name, "addr add 172.31.0.1/30 dev bench0"},
		{veth[0], "link set eth0 up"}, {veth[0], "addr add 172.31.0.2/30 dev eth0"},
	} {
		if err := b.ip(c[0], c[1]); err != nil {
			return err
		}
	}
	ways["veth"] = way{ref.name, veth[0], "172.31.0.2"}
	rtt, rate := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range 15 { // in turn, so that all see the same machine
		for name, w := range ways {
			d, err := b.pingPong(w.from, w.to, w.addr, 5000)
			if err != nil {
				return err
			}
			rtt[name] = append(rtt[name], d)
			if d, err = b.stream(w.from, w.to, w.addr, int64(mb)<<20); err != nil {
				return err
			}
			rate[name] = append(rate[name], d)
		}
	}
	g.compare("TCP round trip pod-pod, p50", median(rtt["ours"]), median(rtt["reference"]), 1.05)
	g.compare(fmt.Sprintf("%d MB by TCP pod-pod", mb), median(rate["ours"]), median(rate["reference"]), 1.05)
	g.compareNamed("TCP round trip node-pod, p50", "shim", "veth", median(rtt["shim"]), median(rtt["veth"]), 0)
	g.compareNamed(fmt.Sprintf("%d MB by TCP node-pod", mb), "shim", "veth", median(rate["shim"]), median(rate["veth"]), 0)
	return nil
}

// address is the first address of a result.
func address(result []byte) (string, error) {
	var r struct {
		IPs []struct{ Address string }
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return "", err
	}
	ip, _, err := net.ParseCIDR(r.IPs[0].Address)
	if err != nil {
		return "", err
	}
	return ip.String(), nil
}

// connect makes a TCP connection between two namespaces.
func (b *bench) connect(from, to, addr string) (client, server net.Conn, err error) {
	var l net.Listener
	if err := b.in(to, func() (err error) { l, err = net.Listen("tcp", net.JoinHostPort(addr, "0")); return err }); err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if err := b.in(from, func() (err error) { client, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second); return err }); err != nil {
		return nil, nil, fmt.Errorf("connect from %s to %s: %w", from, addr, err)
	}
	server, err = l.Accept()
	return client, server, err
}

// pingPong is the median time of n one-byte exchanges.
func (b *bench) pingPong(from, to, addr string, n int) (time.Duration, error) {
	c, s, err := b.connect(from, to, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer s.Close()
	go func() { _, _ = io.Copy(s, s) }()
	times, one := make([]time.Duration, 0, n), make([]byte, 1)
	for range n {
		start := time.Now()
		if _, err := c.Write(one); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, one); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	return median(times), nil
}

// stream is how long size bytes take.
func (b *bench) stream(from, to, addr string, size int64) (time.Duration, error) {
	c, s, err := b.connect(from, to, addr)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	start := time.Now()
	go func() {
		defer c.Close()
		buf := make([]byte, 1<<18)
		for sent := int64(0); sent < size; {
			n, err := c.Write(buf[:min(int64(len(buf)), size-sent)])
			if err != nil {
				return
			}
			sent += int64(n)
		}
	}()
	buf, got := make([]byte, 1<<18), int64(0)
	for got < size {
		n, err := s.Read(buf)
		got += int64(n)
		if err != nil {
			return 0, fmt.Errorf("received %d of %d bytes: %w", got, size, err)
		}
	}
	return time.Since(start), nil
}
