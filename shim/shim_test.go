package shim_test

import (
	"errors"
	"os"
	"testing"

	"github.com/truesize/truesize/shim"
)

// object returns the built shim of goarch. Without one the test is skipped,
// and fails in CI, where the build comes first.
func object(t *testing.T, goarch string) []byte {
	t.Helper()
	data, err := shim.Object(goarch)
	if errors.Is(err, shim.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestObjectOfAnotherArchitecture(t *testing.T) {
	for _, goarch := range []string{"", "386", "riscv64", "../amd64"} {
		if _, err := shim.Object(goarch); !errors.Is(err, shim.ErrArch) {
			t.Errorf("Object(%q): got error %v, want ErrArch", goarch, err)
		}
	}
}

func TestHashNamesContent(t *testing.T) {
	// The SHA-256 of "abc" is in FIPS 180-2, appendix B.1.
	if got := shim.Hash([]byte("abc")); got != "ba7816bf8f01" {
		t.Errorf(`Hash("abc") = %s, want ba7816bf8f01`, got)
	}
}
