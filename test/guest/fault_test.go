package guest

import (
	"strings"
	"testing"
)

// TestServerKilled: no read is lost on a kernel before FUSE_NOTIFY_RESEND (6.9)
// when the view's server is killed a hundred times.
func TestServerKilled(t *testing.T) {
	m := machine(t)
	m.Modules = []string{"fuse"}
	m.Files = products(t, "truesize-viewd")
	m.Env = []string{"TRUESIZE_VIEWD=" + guestRepo + "/bin/truesize-viewd", "TRUESIZE_EVENTS=100"}
	r := runTests(t, m, "test/fault", "TestServerKilled")
	if !strings.Contains(r.Output, "FIGURES TestServerKilled: 100 events") {
		t.Error("there were not 100 kills")
	}
}
