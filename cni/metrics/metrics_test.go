package metrics

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/truesize/truesize/cni"
	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/reconcile"
)

type fixed struct {
	s   reconcile.Snapshot
	err error
}

func (f fixed) Snapshot() (reconcile.Snapshot, error) { return f.s, f.err }

func TestCollect(t *testing.T) {
	buckets := make([]uint64, len(counters.Bounds())+1)
	buckets[1], buckets[len(buckets)-1] = 3, 1
	c := New(fixed{s: reconcile.Snapshot{
		Snapshot: counters.Snapshot{
			Ops:       map[string]counters.Op{"ADD": {Buckets: buckets, Sum: 2 * time.Second, Errors: map[uint]uint64{11: 1}}},
			Conflicts: 2, Collected: map[string]uint64{"link": 4},
		},
		Networks: map[string]cni.NetworkUsage{"lan": {Attachments: 3, IPv4: hostlocal.Usage{InUse: 3, Free: 7}}},
	}})
	want := `
# HELP truesize_cni_address_conflicts_total Addresses found to be another host's.
# TYPE truesize_cni_address_conflicts_total counter
truesize_cni_address_conflicts_total 2
# HELP truesize_cni_addresses_free Addresses free in a network's pools on this node.
# TYPE truesize_cni_addresses_free gauge
truesize_cni_addresses_free{family="ipv4",network="lan"} 7
# HELP truesize_cni_collected_objects_total Objects that were left behind and removed, by kind.
# TYPE truesize_cni_collected_objects_total counter
truesize_cni_collected_objects_total{kind="link"} 4
# HELP truesize_cni_request_errors_total Calls of the plugin that failed, by verb and CNI error code.
# TYPE truesize_cni_request_errors_total counter
truesize_cni_request_errors_total{code="11",verb="ADD"} 1
`
	err := testutil.CollectAndCompare(c, strings.NewReader(want), "truesize_cni_address_conflicts_total",
		"truesize_cni_addresses_free", "truesize_cni_collected_objects_total", "truesize_cni_request_errors_total")
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	// Four calls, three of them within 2.5 ms.
	n := testutil.CollectAndCount(c, "truesize_cni_request_duration_seconds")
	if n != 1 {
		t.Errorf("%d histograms, want 1", n)
	}
}

func TestCollectFails(t *testing.T) {
	want := `
# HELP truesize_cni_up 1 when the plugin's counters could be read for this scrape, else 0.
# TYPE truesize_cni_up gauge
truesize_cni_up 0
`
	if err := testutil.CollectAndCompare(New(fixed{err: errors.New("no")}), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
