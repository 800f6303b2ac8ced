package size

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// maxQuantity bounds a quantity in bytes. The longest useful one has about
// twenty digits; the bound keeps a hostile annotation from costing memory.
const maxQuantity = 40

// maxExponent bounds the exponent of a quantity. Kubernetes keeps quantities
// between 1e-9 and 2^63, so nothing outside can be a size.
const maxExponent = 20

var errQuantity = errors.New("not a Kubernetes quantity")

// suffix returns what a quantity's suffix multiplies by, numerator over
// denominator, where the suffix is no exponent.
// See k8s.io/apimachinery/pkg/api/resource, type Quantity.
func suffix(s string) (num, den *big.Int, ok bool) {
	one := big.NewInt(1)
	switch s {
	case "":
		return one, one, true
	case "n":
		return one, pow(10, 9), true
	case "u":
		return one, pow(10, 6), true
	case "m":
		return one, pow(10, 3), true
	case "k":
		return pow(10, 3), one, true
	case "M":
		return pow(10, 6), one, true
	case "G":
		return pow(10, 9), one, true
	case "T":
		return pow(10, 12), one, true
	case "P":
		return pow(10, 15), one, true
	case "E":
		return pow(10, 18), one, true
	case "Ki":
		return pow(2, 10), one, true
	case "Mi":
		return pow(2, 20), one, true
	case "Gi":
		return pow(2, 30), one, true
	case "Ti":
		return pow(2, 40), one, true
	case "Pi":
		return pow(2, 50), one, true
	case "Ei":
		return pow(2, 60), one, true
	}
	return nil, nil, false
}

func pow(base, exp int64) *big.Int {
	return new(big.Int).Exp(big.NewInt(base), big.NewInt(exp), nil)
}

// parseQuantity reads a Kubernetes quantity without a sign: digits with at
// most one point, then a binary suffix (Ki to Ei), a decimal one (n to E) or
// an exponent (e3, E-3). The result is exact.
func parseQuantity(s string) (*big.Rat, error) {
	if s == "" {
		return nil, fmt.Errorf("%w: it is empty", errQuantity)
	}
	if len(s) > maxQuantity {
		return nil, fmt.Errorf("%w: it is over %d bytes long", errQuantity, maxQuantity)
	}
	end := 0
	for end < len(s) && (s[end] == '.' || isDigit(s[end])) {
		end++
	}
	mantissa, rest := s[:end], s[end:]
	if strings.Count(mantissa, ".") > 1 || strings.Trim(mantissa, ".") == "" {
		return nil, fmt.Errorf("%w: it does not begin with a number", errQuantity)
	}
	value, ok := new(big.Rat).SetString(mantissa)
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with a number", errQuantity)
	}
	num, den, ok := suffix(rest)
	if !ok {
		num, den, ok = exponent(rest)
	}
	if !ok {
		return nil, fmt.Errorf("%w: unknown suffix %q", errQuantity, rest)
	}
	return value.Mul(value, new(big.Rat).SetFrac(num, den)), nil
}

// exponent reads e3, E+3, e-3.
func exponent(s string) (num, den *big.Int, ok bool) {
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return nil, nil, false
	}
	digits := strings.TrimPrefix(strings.TrimPrefix(s[1:], "+"), "-")
	if len(s)-1-len(digits) > 1 || digits == "" || !isDigit(digits[0]) {
		return nil, nil, false
	}
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil || n > maxExponent {
		return nil, nil, false
	}
	if s[1] == '-' {
		return big.NewInt(1), pow(10, int64(n)), true
	}
	return pow(10, int64(n)), big.NewInt(1), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// ceil returns the smallest integer not below q, and false when it does not
// fit into 63 bits.
func ceil(q *big.Rat) (uint64, bool) {
	n, rem := new(big.Int).QuoRem(q.Num(), q.Denom(), new(big.Int))
	if rem.Sign() > 0 {
		n.Add(n, big.NewInt(1))
	}
	if n.Sign() < 0 || !n.IsInt64() {
		return 0, false
	}
	return n.Uint64(), true
}

// FormatBytes writes a number of bytes as an admin reads it: in the largest
// binary unit that leaves at least 1, exact where it is whole ("4 GiB"), else
// to one decimal ("1.5 GiB").
func FormatBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	exp, unit := 0, uint64(1024)
	for exp < len(units)-1 && n/unit >= 1024 {
		unit *= 1024
		exp++
	}
	if n%unit == 0 {
		return fmt.Sprintf("%d %ciB", n/unit, units[exp])
	}
	return fmt.Sprintf("%.1f %ciB", float64(n)/float64(unit), units[exp])
}
