package join

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// A Rule says whether a line goes on the record before it. It gets the state
// that it returned for the stream's line before, 0 at first.
type Rule func(state int, line []byte) (goesOn bool, next int)

// NewRule returns the rule of a name: "java", "python", "go", "none" (nil), or
// "start:" and a regular expression (RE2) that matches first lines.
func NewRule(name string) (Rule, error) {
	switch name {
	case "", "none":
		return nil, nil
	case "java":
		return javaRule, nil
	case "python":
		return pythonRule, nil
	case "go":
		return goRule, nil
	}
	pattern, ok := strings.CutPrefix(name, "start:")
	if !ok {
		return nil, fmt.Errorf("multi-line rule %.64q: want java, python, go, none or start:<regular expression>", name)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("multi-line rule %.64q: %w", name, err)
	}
	return func(_ int, line []byte) (bool, int) { return !re.Match(line), 0 }, nil
}

// javaException matches the first line of a stack trace: a qualified class
// name that is one of an exception by its ending.
var javaException = regexp.MustCompile(`^(?:[a-zA-Z_$][\w$]*\.)+[\w$]*(?:Exception|Error|Throwable|Failure)\b`)

// javaRule follows Throwable.printStackTrace: frames and nested causes are
// indented or start with "Caused by:". A logger prints the exception's own
// line below its message, so that goes on as well.
func javaRule(_ int, line []byte) (bool, int) {
	t := bytes.TrimLeft(line, " \t")
	if len(t) < len(line) {
		return bytes.HasPrefix(t, []byte("at ")) || bytes.HasPrefix(t, []byte("... ")) ||
			bytes.HasPrefix(t, []byte("Suppressed: ")) || bytes.HasPrefix(t, []byte("Caused by: ")) ||
			bytes.HasPrefix(t, []byte("- locked ")) || bytes.HasPrefix(t, []byte("- waiting ")), 0
	}
	return bytes.HasPrefix(t, []byte("Caused by: ")) || javaException.Match(t), 0
}

// The states of pythonRule.
const (
	pyFrames = iota + 1 // after "Traceback"
	pyEnd               // after the exception's line
)

// pythonRule follows the traceback module: "Traceback", indented frames, one
// line (or more, of a message) that is not indented; chained tracebacks are
// parted by empty lines and a sentence.
func pythonRule(state int, line []byte) (bool, int) {
	if bytes.HasPrefix(line, []byte("Traceback (most recent call last)")) {
		return true, pyFrames
	}
	switch state {
	case pyFrames:
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return true, pyFrames
		}
		return true, pyEnd
	case pyEnd:
		if len(line) == 0 || bytes.HasPrefix(line, []byte("During handling of the above exception")) ||
			bytes.HasPrefix(line, []byte("The above exception was the direct cause")) {
			return true, pyEnd
		}
	}
	return false, 0
}

// goTrace is goRule's state within a panic's output.
const goTrace = 1

// goRule follows runtime.printpanics and traceback: from "panic:" or "fatal
// error:" on, goroutine headers, calls, indented places and empty lines.
func goRule(state int, line []byte) (bool, int) {
	if state == 0 {
		if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) || bytes.HasPrefix(line, []byte("goroutine ")) {
			return false, goTrace
		}
		return false, 0
	}
	switch {
	case len(line) == 0, line[0] == '\t',
		bytes.HasPrefix(line, []byte("goroutine ")), bytes.HasPrefix(line, []byte("created by ")),
		bytes.HasPrefix(line, []byte("[signal ")), bytes.HasPrefix(line, []byte("runtime stack:")),
		bytes.HasPrefix(line, []byte("panic: ")), bytes.HasPrefix(line, []byte("exit status ")),
		bytes.HasPrefix(line, []byte("...additional frames elided...")),
		line[len(line)-1] == ')' && bytes.IndexByte(line, '(') > 0 && bytes.IndexByte(line, ' ') < 0:
		return true, goTrace
	}
	return false, 0
}
