package lifecycle

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStaticCPUManager(t *testing.T) {
	for _, tt := range []struct {
		file   string // "" for none
		static bool
		fails  bool
	}{
		{file: ""},
		{file: `{"policyName":"none","defaultCpuSet":"","checksum":1353318690}`},
		{file: `{"policyName":"static","defaultCpuSet":"0,2-7","entries":{"6f1a":{"app":"1"}},"checksum":1}`, static: true},
		{file: `{"policyName":"dynamic-of-tomorrow","checksum":1}`, static: true},
		{file: `{}`, fails: true},
		{file: `{"policyName":`, fails: true},
		{file: `[]`, fails: true},
	} {
		n := Node{CPUManagerState: filepath.Join(t.TempDir(), "cpu_manager_state")}
		if tt.file != "" {
			if err := os.WriteFile(n.CPUManagerState, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		static, err := n.StaticCPUManager()
		if static != tt.static || (err != nil) != tt.fails {
			t.Errorf("%s: static %v, error %v", tt.file, static, err)
		}
	}
}

func FuzzCPUManagerState(f *testing.F) {
	f.Add([]byte(`{"policyName":"none","defaultCpuSet":"","checksum":1353318690}`))
	f.Add([]byte(`{"policyName":"static","defaultCpuSet":"0,2-7","entries":{"6f1a":{"app":"1"}},"checksum":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if static, err := parseCPUManagerState(data); static && err != nil {
			t.Error("static, and an error")
		}
	})
}
