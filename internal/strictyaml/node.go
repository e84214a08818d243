package strictyaml

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Kind is what a node is.
type Kind int

// The kinds of node.
const (
	KindNull Kind = iota
	KindBool
	KindInteger
	KindFloat
	KindText
	KindList
	KindMap
)

// Node is a piece of a file, with aliases and merge keys resolved.
type Node struct {
	Kind         Kind
	Line, Column int
	Scalar       any     // bool, int64, uint64 (only above the greatest int64), float64 or string, by Kind
	Written      string  // a scalar as it is written, without quotes
	Items        []*Node // of a list
	Entries      []Entry // of a map, in the order of the file
	bad          bool    // it could not be read, which has been said
}

// Entry is one entry of a map. Line and Column are its key's.
type Entry struct {
	Key          string
	Line, Column int
	Value        *Node
}

// Read reads a file that belongs to somebody else, so that nothing in it is unknown.
func Read(name string, data []byte) (*Node, error) {
	src := &Source{Name: name, places: map[string]place{}}
	root := parse(src, data)
	if err := src.Err(); err != nil {
		return nil, err
	}
	return root, nil
}

// Get returns the value of a map's key, or an empty node where there is none.
func (n *Node) Get(key string) *Node {
	for _, entry := range n.Entries {
		if entry.Key == key {
			return entry.Value
		}
	}
	return &Node{}
}

// Any returns the node as plain values: map[string]any, []any, string, int64,
// uint64, float64, bool and nil.
func (n *Node) Any() any {
	switch n.Kind {
	case KindMap:
		out := make(map[string]any, len(n.Entries))
		for _, entry := range n.Entries {
			out[entry.Key] = entry.Value.Any()
		}
		return out
	case KindList:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = item.Any()
		}
		return out
	}
	return n.Scalar
}

// String describes the node as a message shows it.
func (n *Node) String() string {
	switch n.Kind {
	case KindMap:
		return "a map"
	case KindList:
		return "a list"
	case KindText:
		return strconv.Quote(show(n.Written))
	case KindNull:
		return "nothing"
	}
	return show(n.Written)
}

// parse reads the file's one document. It returns nil where there is nothing
// to go on with; the Source then has an error.
func parse(src *Source, data []byte) *Node {
	data, ok := checkBytes(src, data)
	if !ok {
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if line, ok := shallow(tokens); !ok {
		src.fail(Error{Line: line, Column: 1, Message: fmt.Sprintf("nested more than %d deep", maxDepth)})
		return nil
	}
	body, err := parseTokens(tokens)
	if err != nil {
		src.fail(syntaxError(err, data))
		return nil
	}
	if body == nil {
		src.fail(Error{Line: 1, Column: 1, Message: "the file is empty"})
		return nil
	}
	r := reader{src: src, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	root := r.read(body, "", 0)
	if root.Kind != KindMap && len(src.errs) == 0 {
		src.fail(Error{Line: root.Line, Column: root.Column, Message: fmt.Sprintf("the file is %s, not a map", root)})
	}
	if root.Kind != KindMap || r.stopped {
		return nil
	}
	return root
}

func checkBytes(src *Source, data []byte) ([]byte, bool) {
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	switch {
	case len(data) > MaxBytes:
		src.fail(Error{Line: 1, Column: 1, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), MaxBytes)})
	case !utf8.Valid(data):
		src.fail(Error{Line: 1, Column: 1, Message: "the file is not UTF-8 text"})
	default:
		return data, true
	}
	return nil, false
}

// shallow tells whether the parser, which recurses, can be let loose on the
// tokens: brackets and the dashes of one line nest without end in a few bytes.
// Nesting by indentation costs bytes enough to be bounded by the file's size.
func shallow(tokens token.Tokens) (line int, ok bool) {
	depth, run, at := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if t.Position.Line != at {
			at, run = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			run++
		}
		if depth > maxDepth || run > maxDepth {
			return at, false
		}
	}
	return 0, true
}

// parseTokens returns the body of the one document. The parser is not ours: a
// panic in it, on a file that nobody foresaw, is an error of that file.
func parseTokens(tokens token.Tokens) (body ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			body, err = nil, fmt.Errorf("the parser cannot read this: %v", r)
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			return nil, &yaml.SyntaxError{Message: "a second document; one file holds one", Token: doc.Body.GetToken()}
		}
		body = doc.Body
	}
	return body, nil
}

func syntaxError(err error, data []byte) Error {
	out := Error{Line: 1, Column: 1, Message: "not valid YAML: " + err.Error()}
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil {
		return out
	}
	out.Message = "not valid YAML: " + syntax.Message
	out.Line, out.Column = syntax.Token.Position.Line, syntax.Token.Position.Column
	lines := strings.Split(string(data), "\n")
	if out.Line < 1 || out.Line > len(lines) {
		return out
	}
	switch line := lines[out.Line-1]; {
	case strings.Contains(line, "\t"):
		out.Hint = "indent with spaces, not tabs"
	case strings.Contains(line, "{{"):
		out.Hint = `quote a template: "{{port}}"`
	case strings.ContainsAny(line, "{["):
		out.Hint = "within [ ] and { }, quote a text that holds one of , [ ] { } : or a quote"
	}
	return out
}

// reader turns the parser's tree into nodes.
type reader struct {
	src     *Source
	anchors map[string]ast.Node
	open    map[string]bool // aliases being read
	count   int
	stopped bool // over a limit: the rest is not read
}

func (r *reader) read(n ast.Node, path string, depth int) *Node {
	out := &Node{Line: 1, Column: 1}
	if n == nil {
		return out
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		out.Line, out.Column = t.Position.Line, t.Position.Column
	}
	if r.over(out, path, depth) {
		return out
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		r.readMap(out, v.Values, path, depth)
	case *ast.MappingValueNode:
		r.readMap(out, []*ast.MappingValueNode{v}, path, depth)
	case *ast.SequenceNode:
		out.Kind = KindList
		for i, item := range v.Values {
			out.Items = append(out.Items, r.read(item, element(path, i), depth+1))
		}
	case *ast.AnchorNode:
		r.anchors[v.Name.GetToken().Value] = v.Value
		return r.read(v.Value, path, depth+1)
	case *ast.AliasNode:
		return r.readAlias(out, v, path, depth)
	case *ast.TagNode:
		r.fail(out, path, fmt.Sprintf("tags such as %s are not part of the format", show(v.Start.Value)))
	default:
		readScalar(out, n)
	}
	return out
}

func (r *reader) over(at *Node, path string, depth int) bool {
	r.count++
	switch {
	case r.stopped:
	case depth > maxDepth:
		r.fail(at, path, fmt.Sprintf("nested more than %d deep", maxDepth))
		r.stopped = true
	case r.count > maxNodes:
		r.fail(at, path, fmt.Sprintf("more than %d values, counting what aliases repeat", maxNodes))
		r.stopped = true
	}
	return r.stopped
}

func (r *reader) fail(at *Node, path, message string) {
	at.bad = true
	r.src.fail(Error{Line: at.Line, Column: at.Column, Path: path, Message: message, fatal: true})
}

func (r *reader) readAlias(out *Node, alias *ast.AliasNode, path string, depth int) *Node {
	name := alias.Value.GetToken().Value
	target, found := r.anchors[name]
	switch {
	case !found:
		r.fail(out, path, fmt.Sprintf("alias *%s has no anchor &%s before it", show(name), show(name)))
		return out
	case r.open[name]:
		r.fail(out, path, fmt.Sprintf("alias *%s contains itself", show(name)))
		return out
	}
	r.open[name] = true
	defer delete(r.open, name)
	return r.read(target, path, depth+1)
}

// readMap reads the entries in order. What is merged in (<<) yields to the
// map's own keys, wherever they stand.
func (r *reader) readMap(out *Node, values []*ast.MappingValueNode, path string, depth int) {
	out.Kind = KindMap
	own := map[string]Entry{}
	var merged []Entry
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, r.merge(r.read(v.Value, path, depth+1), path)...)
			continue
		}
		entry, ok := r.key(v.Key, path)
		if !ok {
			continue
		}
		entry.Value = r.read(v.Value, child(path, entry.Key), depth+1)
		if len(out.Entries) == 0 {
			out.Line, out.Column = entry.Line, entry.Column
		}
		if first, twice := own[entry.Key]; twice {
			r.src.fail(Error{Line: entry.Line, Column: entry.Column, Path: path,
				Message: fmt.Sprintf("key %q is repeated; it stands on line %d already", show(entry.Key), first.Line)})
			continue
		}
		own[entry.Key] = entry
		out.Entries = append(out.Entries, entry)
	}
	for _, entry := range merged {
		if _, given := own[entry.Key]; !given {
			own[entry.Key] = entry
			out.Entries = append(out.Entries, entry)
		}
	}
}

func (r *reader) merge(value *Node, path string) []Entry {
	switch value.Kind {
	case KindMap:
		return value.Entries
	case KindList:
		var out []Entry
		for _, item := range value.Items {
			out = append(out, r.merge(item, path)...)
		}
		return out
	}
	if !r.stopped && !value.bad {
		r.fail(value, path, "<< merges maps; this is "+value.String())
	}
	return nil
}

func (r *reader) key(key ast.MapKeyNode, path string) (Entry, bool) {
	t := key.GetToken()
	entry := Entry{Key: t.Value, Line: t.Position.Line, Column: t.Position.Column}
	if _, plain := key.(ast.ScalarNode); !plain {
		r.src.fail(Error{Line: entry.Line, Column: entry.Column, Path: path, Message: "a key must be a plain text"})
		return entry, false
	}
	return entry, true
}

// exponents are numbers for YAML 1.2 and texts for the parser.
var exponents = regexp.MustCompile(`^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$`)

func readScalar(out *Node, n ast.Node) {
	t := n.GetToken()
	out.Written = t.Value
	switch v := n.(type) {
	case *ast.NullNode:
		out.Kind = KindNull
	case *ast.BoolNode:
		out.Kind, out.Scalar = KindBool, v.Value
	case *ast.IntegerNode:
		readInteger(out, v)
	case *ast.FloatNode:
		out.Kind, out.Scalar = KindFloat, v.Value
	case *ast.InfinityNode:
		out.Kind, out.Scalar = KindFloat, v.Value
	case *ast.NanNode:
		out.Kind, out.Scalar = KindFloat, math.NaN()
	case *ast.LiteralNode:
		out.Kind, out.Scalar, out.Written = KindText, v.Value.Value, v.Value.Value
	default:
		out.Kind, out.Scalar = KindText, t.Value
		if t.Type == token.StringType && exponents.MatchString(t.Value) {
			if f, err := strconv.ParseFloat(t.Value, 64); err == nil {
				out.Kind, out.Scalar = KindFloat, f
			}
		}
	}
}

// readInteger refuses to take 010 for 8, as YAML 1.1 does: it stays a text,
// which no number is read from.
func readInteger(out *Node, v *ast.IntegerNode) {
	digits := strings.TrimLeft(out.Written, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		out.Kind, out.Scalar = KindText, out.Written
		return
	}
	out.Kind, out.Scalar = KindInteger, v.Value
	if u, unsigned := v.Value.(uint64); unsigned && u <= math.MaxInt64 {
		out.Scalar = int64(u)
	}
}
