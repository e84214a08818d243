// Package strictyaml owns reading the lab's YAML files: strictly, into Go
// structs, with the place of everything that is wrong. Unknown and repeated
// keys, wrong types and values out of bounds are refused; every error of a file
// is reported at once, with file, line, path, the value, what was permitted and a
// hint; hostile files end in an error within bounds of time and memory.
//
// It also writes the JSON schema of such a struct, from the same field tags
// that the reading obeys, so that what editors complete is what is accepted.
//
// It knows nothing of scenarios or systems.
//
// The fields of a struct carry tags:
//
//	yaml:"name,required"   the key; required keys may not be left out
//	about:"…"              what it is, for the schema
//	allowed:"a,b"          the permitted texts
//	min:"1" max:"10"       bounds of numbers
//	example:"80/s"         an example, for the schema
package strictyaml

import (
	"fmt"
	"reflect"
	"strings"
)

// Limits of a file. They are far above what a person writes, and keep a
// hostile file from holding the machine.
const (
	MaxBytes = 256 << 10 // of the file
	maxDepth = 48        // of nesting
	maxNodes = 50_000    // after aliases are resolved
	maxShown = 60        // characters of a value that a message repeats
	maxKnown = 16        // names that a message lists
	maxFails = 500       // errors that a file may have before the rest is left off
)

// Source is a file that was read. It knows the place of each path, so that
// later checks report places too, and it gathers the errors of the file.
type Source struct {
	Name   string
	places map[string]place
	errs   Errors
}

type place struct{ line, column int }

// Decode reads a YAML file into target, which points to a struct. It fills in
// what can be read even where there are errors; these are in the Source.
func Decode(name string, data []byte, target any) *Source {
	src := &Source{Name: name, places: map[string]place{"": {line: 1, column: 1}}}
	root := parse(src, data)
	if root == nil {
		return src
	}
	rv := reflect.ValueOf(target)
	if rv.Kind() != reflect.Pointer || rv.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("strictyaml: decoding into %T, want a pointer to a struct", target))
	}
	src.index("", root)
	Value{Node: root, src: src}.decode(rv.Elem(), constraint{})
	return src
}

// index notes the place of every path. The place of a map's entry is its
// key's; that of a list's item is the item's.
func (s *Source) index(path string, n *Node) {
	for _, entry := range n.Entries {
		at := child(path, entry.Key)
		s.places[at] = place{line: entry.Line, column: entry.Column}
		s.index(at, entry.Value)
	}
	for i, item := range n.Items {
		at := element(path, i)
		s.places[at] = place{line: item.Line, column: item.Column}
		s.index(at, item)
	}
}

// Fail adds an error at a path. Where the path is not in the file, the place is that of
// the nearest part of it that is.
func (s *Source) Fail(path, message, hint string) {
	at := s.place(path)
	s.fail(Error{Line: at.line, Column: at.column, Path: path, Message: message, Hint: hint})
}

func (s *Source) fail(err Error) {
	if len(s.errs) > maxFails {
		return
	}
	if len(s.errs) == maxFails {
		err.Path, err.Message, err.Hint = "", fmt.Sprintf("more than %d errors; the rest is left off", maxFails), ""
	}
	err.File = s.Name
	s.errs = append(s.errs, &err)
}

// Failed tells whether there is an error at the path or below it, or at
// something above it. What a part holds that failed is not to be relied on.
func (s *Source) Failed(path string) bool {
	for _, err := range s.errs {
		if within(err.Path, path) || within(path, err.Path) && err.fatal {
			return true
		}
	}
	return false
}

// within tells whether path is root or below it.
func within(path, root string) bool {
	rest, found := strings.CutPrefix(path, root)
	return found && (root == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Has tells whether the path is in the file.
func (s *Source) Has(path string) bool { _, found := s.places[path]; return found }

// Line returns the line of a path, or of the nearest part of it that is in the file.
func (s *Source) Line(path string) int { return s.place(path).line }

// Where returns the place of a path as file:line.
func (s *Source) Where(path string) string { return fmt.Sprintf("%s:%d", s.Name, s.Line(path)) }

func (s *Source) place(path string) place {
	for {
		if at, found := s.places[path]; found {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// Errors returns every error so far, in the order of the file, each once.
func (s *Source) Errors() Errors { return s.errs.sorted() }

// Err returns the errors as one error, or nil when there is none.
func (s *Source) Err() error {
	if len(s.errs) == 0 {
		return nil
	}
	return s.Errors()
}

// Clone returns a copy to which errors can be added apart from the original.
func (s *Source) Clone() *Source {
	clone := *s
	clone.errs = append(Errors(nil), s.errs...)
	return &clone
}

func child(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
