package cni

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/truesize/truesize/cni/hostlocal"
)

// TestPoolDescription: the agent reads what an ADD writes.
func TestPoolDescription(t *testing.T) {
	want := pool{DataDir: `/var/"lib"`, Sets: []hostlocal.RangeSet{
		{
			{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Start: netip.MustParseAddr("10.0.0.2"),
				End: netip.MustParseAddr("10.0.0.9"), Gateway: netip.MustParseAddr("10.0.0.1")},
			{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Start: netip.MustParseAddr("10.0.1.2"), End: netip.MustParseAddr("10.0.1.9")},
		},
		{{Subnet: netip.MustParsePrefix("fd00::/64"), Start: netip.MustParseAddr("fd00::2"), End: netip.MustParseAddr("fd00::ff")}},
	}}
	var got pool
	if err := json.Unmarshal(want.encode(), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
