// Package lint checks the rules of docs/architecture.md that a compiler
// cannot.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/truesize/truesize"

// layers are the project's components from the bottom up. A component may
// import those of lower layers only: not its siblings.
var layers = [][]string{
	{"pkg/version", "pkg/threads", "pkg/pulse", "pkg/procfs"},
	{"pkg/garbage"},
	{"pkg/size"},
	{"pkg/inject", "pkg/registry", "pkg/cgroup", "pkg/cpuset"},
	{"pkg/lifecycle"},
	{"fuse", "cni", "shim", "pkg/nri", "pkg/attach", "pkg/logs"},
	{"pkg/config", "pkg/metrics", "pkg/shimdir", "pkg/viewd", "pkg/views"},
	{"pkg/agent"},
	{"cmd", "deploy"},
}

// smallPrograms start on the node for every pod or serve every read: what
// they must not carry.
var (
	smallPrograms = []string{"cmd/truesize-viewd", "cmd/truesize-macvlan"}
	tooLarge      = []string{
		"k8s.io/", "sigs.k8s.io/", "google.golang.org/grpc", "github.com/prometheus/",
		"github.com/twmb/", "github.com/containerd/nri", "net/http",
	}
)

// A goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportDirection(t *testing.T) {
	layerOf := map[string]int{}
	for n, components := range layers {
		for _, c := range components {
			layerOf[c] = n
		}
	}
	for _, p := range list(t, module+"/...") {
		from := component(p.ImportPath)
		if from == "test" {
			continue
		}
		layer, known := layerOf[from]
		if !known {
			t.Errorf("%s is in no layer: give it its place in docs/architecture.md and in this test", from)
			continue
		}
		for _, imported := range p.Imports {
			to := component(imported)
			if to == "" || to == from || to == "pkg/version" {
				continue
			}
			if to == "test" {
				t.Errorf("%s imports %s: the product does not know its tests", p.ImportPath, imported)
			} else if layerOf[to] >= layer {
				t.Errorf("%s imports %s: %s may import lower layers only, not %s", p.ImportPath, imported, from, to)
			}
		}
	}
}

func TestSmallProgramsStaySmall(t *testing.T) {
	for _, p := range list(t, module+"/cmd/...") {
		if !contains(smallPrograms, strings.TrimPrefix(p.ImportPath, module+"/")) {
			continue
		}
		for _, dep := range p.Deps {
			for _, prefix := range tooLarge {
				if strings.HasPrefix(dep, prefix) {
					t.Errorf("%s depends on %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// component returns the part of the project that a package belongs to, ""
// if it is not of the project.
func component(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	elem := strings.Split(rest, "/")
	if elem[0] == "pkg" && len(elem) > 1 {
		return "pkg/" + elem[1]
	}
	return elem[0]
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// list returns the packages that match a pattern.
func list(t *testing.T, pattern string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", pattern)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", pattern, err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list %s: %v", pattern, err)
		}
		packages = append(packages, p)
	}
}
