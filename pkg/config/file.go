package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Apply sets in c what a YAML file says. name is what errors call it.
func (c *Config) Apply(name string, data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		c.Blank = true
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %s", name, yamlError(err))
	}
	if dec.Decode(new(yaml.Node)) != io.EOF {
		return fmt.Errorf("%s: it holds a second document: write one", name)
	}
	f := file{name: name, config: c, settings: make(map[string]Setting), sections: make(map[string]bool)}
	for _, s := range Settings() {
		f.settings[s.Key] = s
		for key := s.Key; strings.Contains(key, "."); {
			key = key[:strings.LastIndex(key, ".")]
			f.sections[key] = true
		}
	}
	f.section("", doc.Content[0])
	c.Blank = !f.said
	return errors.Join(f.errs...)
}

// A file is a YAML file being applied.
type file struct {
	name     string
	config   *Config
	settings map[string]Setting
	sections map[string]bool // keys that hold keys
	said     bool            // it has a value, or says that it has none
	errs     []error
}

// section applies a mapping whose key is prefix.
func (f *file) section(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "nri:" with everything under it commented out
	}
	if n.Kind != yaml.MappingNode {
		f.fail(n, prefix, "holds %s: write keys under it", kind(n))
		return
	}
	f.said = f.said || len(n.Content) == 0
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := name.Value
		if prefix != "" {
			key = prefix + "." + key
		}
		if line, twice := seen[key]; twice {
			f.fail(name, key, "is there twice, first at line %d: keep one", line)
			continue
		}
		seen[key] = name.Line
		f.value(key, name, value)
	}
}

// value applies one key.
func (f *file) value(key string, name, n *yaml.Node) {
	s, known := f.settings[key]
	switch {
	case key == "logs":
		f.logs(n)
	case f.sections[key]:
		f.section(key, n)
	case !known:
		f.fail(name, key, "is no key of the configuration%s", f.suggestion(key))
	case s.list:
		f.sequence(s, n)
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		f.fail(name, key, "holds %s: write one value", kind(n))
	default:
		f.set(s, n, []string{n.Value})
	}
}

// logs keeps the section of log forwarding for its component.
func (f *file) logs(n *yaml.Node) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null": // all of it commented out
	case n.Kind != yaml.MappingNode:
		f.fail(n, "logs", "holds %s: write keys under it", kind(n))
	default:
		f.config.Logs = &Section{file: f.name, key: "logs", node: n}
		f.said = true
	}
}

// sequence applies a list.
func (f *file) sequence(s Setting, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		f.fail(n, s.Key, "holds %s: write a list, for example [one, two]", kind(n))
		return
	}
	values := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			f.fail(item, s.Key, "holds %s in its list: write names", kind(item))
			return
		}
		values = append(values, item.Value)
	}
	f.set(s, n, values)
}

func (f *file) set(s Setting, n *yaml.Node, values []string) {
	f.said = true
	if err := s.set(f.config, values); err != nil {
		f.fail(n, s.Key, "%v", err)
	}
}

func (f *file) fail(n *yaml.Node, key, format string, args ...any) {
	if key == "" {
		key = "the file"
	}
	f.errs = append(f.errs, fmt.Errorf("%s:%d: %s: %s", f.name, n.Line, key, fmt.Sprintf(format, args...)))
}

// suggestion names the key that differs in case only, the usual slip.
func (f *file) suggestion(key string) string {
	for known := range f.settings {
		if strings.EqualFold(known, key) {
			return ": did you mean " + known + "?"
		}
	}
	return ": remove it or see docs/configuration.md"
}

// kind names what a node is.
func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Tag == "!!null":
		return "nothing"
	}
	return fmt.Sprintf("the value %q", n.Value)
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlError returns a syntax error without the library's name.
func yamlError(err error) string {
	return strings.TrimPrefix(yamlLine.ReplaceAllString(err.Error(), "line $1: "), "yaml: ")
}
