package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// StaticCPUManager implements [Kernel].
func (n Node) StaticCPUManager() (bool, error) {
	data, err := os.ReadFile(n.CPUManagerState)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // no kubelet, or one that never managed CPUs
	}
	if err != nil {
		return false, fmt.Errorf("read the kubelet's CPU manager state: %w", err)
	}
	static, err := parseCPUManagerState(data)
	if err != nil {
		return false, fmt.Errorf("parse %s: %w", n.CPUManagerState, err)
	}
	return static, nil
}

// parseCPUManagerState reports whether a checkpoint of the kubelet's CPU
// manager is of a policy that sets CPUs: any but "none" (Kubernetes,
// pkg/kubelet/cm/cpumanager/state, CPUManagerCheckpoint).
func parseCPUManagerState(data []byte) (static bool, err error) {
	var state struct {
		PolicyName string `json:"policyName"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return false, err
	}
	if state.PolicyName == "" {
		return false, errors.New("it names no policy")
	}
	return state.PolicyName != "none", nil
}
