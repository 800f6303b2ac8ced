package config

import (
	"encoding/json"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// A Section is a part of the file whose keys belong to a component. Package
// config does not know them: the component's own type does.
type Section struct {
	file string // for errors
	key  string
	node *yaml.Node
}

// Decode sets v, whose fields have json tags, from the section. A key that v
// does not have, one that is there twice and a value that does not fit are
// errors that name the key and its line.
func (s *Section) Decode(v any) error {
	// yaml.v3 finds keys that are there twice, and knows their lines.
	var generic any
	if err := s.node.Decode(&generic); err != nil {
		return fmt.Errorf("%s: %s: %s", s.file, s.key, yamlError(err))
	}
	data, err := json.Marshal(generic)
	if err != nil {
		return fmt.Errorf("%s:%d: %s: %w: keys are to be strings", s.file, s.node.Line, s.key, err)
	}
	if err := sigsyaml.UnmarshalStrict(data, v); err != nil {
		name, line := s.culprit(err)
		return fmt.Errorf("%s:%d: %s: %s", s.file, line, name, reason(err))
	}
	return nil
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
	wrongType    = regexp.MustCompile(`cannot unmarshal (\w+) into Go struct field \S*?\.(\S+) of type (\S+)`)
)

// culprit returns the key that a decoder's error names, and its line.
func (s *Section) culprit(err error) (key string, line int) {
	m := unknownField.FindStringSubmatch(err.Error())
	if m == nil {
		if m = wrongType.FindStringSubmatch(err.Error()); m != nil {
			m = m[1:]
		}
	}
	if m != nil {
		name := lastElement(m[1])
		if n := findKey(s.node, name); n != nil {
			return s.key + "…" + name, n.Line
		}
	}
	return s.key, s.node.Line
}

// reason says what to do about a decoder's error.
func reason(err error) string {
	if unknownField.MatchString(err.Error()) {
		return "is no key of the configuration: remove it or see the component's page in docs"
	}
	if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("holds a %s: write a value of type %s", m[1], m[3])
	}
	return err.Error()
}

func lastElement(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' {
			return path[i+1:]
		}
	}
	return path
}

// findKey returns the first key of that name at any depth of n.
func findKey(n *yaml.Node, name string) *yaml.Node {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Value == name {
				return c
			}
			continue
		}
		if found := findKey(c, name); found != nil {
			return found
		}
	}
	return nil
}
