package cpuset

import (
	"slices"
	"strconv"
	"strings"
)

// A Set is CPU numbers in ascending order.
type Set []int

// String returns the set in the kernel's list format, "0-3,8"; empty for none.
func (s Set) String() string {
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(s[j]))
		}
		i = j + 1
	}
	return b.String()
}

func (s Set) has(cpu int) bool {
	_, found := slices.BinarySearch(s, cpu)
	return found
}

// with returns s and cpu, which it may have.
func (s Set) with(cpu int) Set {
	i, found := slices.BinarySearch(s, cpu)
	if found {
		return s
	}
	return slices.Insert(slices.Clone(s), i, cpu)
}

// without returns s less cpu.
func (s Set) without(cpu int) Set {
	return slices.DeleteFunc(slices.Clone(s), func(c int) bool { return c == cpu })
}

// and returns what is in both.
func (s Set) and(other Set) Set {
	return slices.DeleteFunc(slices.Clone(s), func(c int) bool { return !other.has(c) })
}
