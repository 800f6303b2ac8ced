package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	const (
		doc = "# Benchmarks\n\n<!-- begin a -->\nold\n<!-- end a -->\n\n<!-- begin b -->\nkept\n<!-- end b -->\n"
		neu = "# Benchmarks\n\n<!-- begin a -->\nnew\n<!-- end a -->\n\n<!-- begin b -->\nkept\n<!-- end b -->\n"
	)
	tests := []struct{ name, doc, section, text, want string }{
		{"there already", doc, "a", "\nnew\n\n", neu},
		{"twice is once", neu, "a", "new", neu},
		{"not there yet", "# Benchmarks\n", "a", "text", "# Benchmarks\n\n<!-- begin a -->\ntext\n<!-- end a -->\n"},
		{"of a longer name", doc, "aa", "text", doc + "\n<!-- begin aa -->\ntext\n<!-- end aa -->\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := replace(test.doc, test.section, test.text)
			if err != nil || got != test.want {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, test.want)
			}
		})
	}
	if got, err := replace("<!-- begin a -->\nwithout end\n", "a", "text"); err == nil {
		t.Errorf("a section without an end is replaced: %q", got)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	doc, text := filepath.Join(dir, "doc.md"), filepath.Join(dir, "text.md")
	for path, data := range map[string]string{doc: "# Benchmarks\n", text: "new\n"} {
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run([]string{doc, "a", text}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(doc); string(got) != "# Benchmarks\n\n<!-- begin a -->\nnew\n<!-- end a -->\n" {
		t.Errorf("got %q", got)
	}
	for _, args := range [][]string{nil, {doc, "a", text + "x"}, {doc + "x", "a", text}} {
		if err := run(args); err == nil {
			t.Errorf("section %q: no error", args)
		}
	}
}
