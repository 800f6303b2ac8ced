package quantity

import (
	"encoding/json"
	"testing"
	"time"
)

func TestUnmarshal(t *testing.T) {
	var v struct {
		D Duration
		N Bytes
	}
	for in, want := range map[string]struct {
		d time.Duration
		n int64
	}{
		`{"D":"1m30s","N":"64MiB"}`: {90 * time.Second, 64 << 20},
		`{"D":"0s","N":1000}`:       {0, 1000},
		`{"N":"1 GB"}`:              {0, 1e9},
		`{"N":"12B"}`:               {0, 12},
	} {
		v.D, v.N = 0, 0
		if err := json.Unmarshal([]byte(in), &v); err != nil || time.Duration(v.D) != want.d || int64(v.N) != want.n {
			t.Errorf("%s: %+v, %v", in, v, err)
		}
	}
	for _, bad := range []string{`{"D":5}`, `{"D":"5"}`, `{"D":"-5s"}`, `{"N":"x"}`, `{"N":-1}`, `{"N":"9000000TiB"}`, `{"N":"MiB"}`} {
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	out, err := json.Marshal(struct {
		D Duration
		N Bytes
	}{Duration(time.Second), 5})
	if err != nil || string(out) != `{"D":"1s","N":5}` {
		t.Errorf("%s, %v", out, err)
	}
	if Duration(0).Or(time.Second) != time.Second || Bytes(3).Or(4) != 3 {
		t.Error("Or")
	}
}
