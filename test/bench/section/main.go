// Command section puts a benchmark's section into docs/benchmarks.md. Each
// benchmark owns what is between its two markers, which are comments of
// Markdown, and nothing else: they run one by one, and some not at all.
//
//	section DOCUMENT NAME FILE
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "section:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: section DOCUMENT NAME FILE")
	}
	doc, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	changed, err := replace(string(doc), args[1], string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[0], []byte(changed), 0o644)
}

// replace returns doc with text as the section called name, at its end if
// there was none.
func replace(doc, name, text string) (string, error) {
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	section := begin + strings.TrimSpace(text) + "\n" + end
	before, rest, ok := strings.Cut(doc, begin)
	if !ok {
		return strings.TrimRight(doc, "\n") + "\n\n" + section, nil
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("%q has no %q behind it", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + section + after, nil
}
