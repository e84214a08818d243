package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// Error is one thing that is wrong with a file.
type Error struct {
	File    string
	Line    int // 1-based
	Column  int // 1-based
	Path    string
	Message string
	Hint    string
	fatal   bool // nothing below Path could be read
}

// Error returns file:line: path: message; hint.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all the errors of a file.
type Errors []*Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors one by one.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, err := range e {
		out[i] = err
	}
	return out
}

func (e Errors) sorted() Errors {
	out := slices.Clone(e)
	slices.SortStableFunc(out, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	seen := map[Error]bool{}
	return slices.DeleteFunc(out, func(err *Error) bool {
		twice := seen[*err]
		seen[*err] = true
		return twice
	})
}

// Unknown words the message and the hint for a name that nothing goes by:
// what it may have meant, or else what there is.
func Unknown(what, name string, known []string) (message, hint string) {
	message = fmt.Sprintf("unknown %s %q", what, show(name))
	if near := parameter.Nearest(name, known); near != "" {
		return message, fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return message, "there is none"
	}
	return message, "there are: " + List(known)
}

// List writes names with commas, and leaves off what would be too many.
func List(names []string) string {
	if len(names) > maxKnown {
		return strings.Join(names[:maxKnown], ", ") + fmt.Sprintf(" and %d more", len(names)-maxKnown)
	}
	return strings.Join(names, ", ")
}

// show cuts a value to what a message can bear.
func show(s string) string {
	runes := []rune(s)
	if len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return s
}
