package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/parameter"
)

// Rate is a number of things per second, written 80/s or 80.
type Rate float64

// Word is a text that may be written as any scalar: 8080 or true need no quotes.
type Word string

// Map is a map that keeps the order of the file.
type Map[T any] []Named[T]

// Named is an entry of a Map.
type Named[T any] struct {
	Name  string
	Path  string // where it stands, for Source.Fail
	Value T
}

// Get returns the entry of that name and whether there is one.
func (m Map[T]) Get(name string) (T, bool) {
	for _, entry := range m {
		if entry.Name == name {
			return entry.Value, true
		}
	}
	var none T
	return none, false
}

// Names returns the names in the order of the file.
func (m Map[T]) Names() []string {
	out := make([]string, len(m))
	for i, entry := range m {
		out[i] = entry.Name
	}
	return out
}

func (m *Map[T]) grow(name, path string) reflect.Value {
	*m = append(*m, Named[T]{Name: name, Path: path})
	return reflect.ValueOf(&(*m)[len(*m)-1].Value).Elem()
}

func (m Map[T]) element() reflect.Type { return reflect.TypeFor[T]() }

type orderedMap interface {
	grow(name, path string) reflect.Value
	element() reflect.Type
}

// Unmarshaler is a type that reads itself, for what no struct can say: a text
// or a map, a map of one key that is a kind.
type Unmarshaler interface {
	UnmarshalValue(v Value)
}

// Value is a node at its place in a file.
type Value struct {
	*Node
	Path string
	src  *Source
}

// Source is the file that the value stands in.
func (v Value) Source() *Source { return v.src }

// Fail adds an error at the value. What the value holds is then not to be
// relied on; see Source.Failed.
func (v Value) Fail(message, hint string) {
	v.src.fail(Error{Line: v.Line, Column: v.Column, Path: v.Path, Message: message, Hint: hint, fatal: true})
}

// Decode reads the value into target, a pointer.
func (v Value) Decode(target any) { v.decode(reflect.ValueOf(target).Elem(), constraint{}) }

// Entry returns the entry's value at its place.
func (v Value) Entry(entry Entry) Value {
	return Value{Node: entry.Value, Path: child(v.Path, entry.Key), src: v.src}
}

// Item returns the i-th item of a list at its place.
func (v Value) Item(i int) Value {
	return Value{Node: v.Items[i], Path: element(v.Path, i), src: v.src}
}

// UnknownKey adds the error that a key is none of the permitted ones.
func (v Value) UnknownKey(entry Entry, permitted []string) {
	hint := "permitted: " + strings.Join(permitted, ", ")
	if near := parameter.Nearest(entry.Key, permitted); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	v.src.fail(Error{
		Line: entry.Line, Column: entry.Column, Path: v.Path,
		Message: fmt.Sprintf("unknown key %q", show(entry.Key)), Hint: hint,
	})
}

// Want adds the error that the value is not of the wanted kind.
func (v Value) Want(what string) {
	switch {
	case v.bad:
	case v.Kind == KindNull:
		v.Fail("there is no value; want "+what, "")
	default:
		v.Fail(fmt.Sprintf("%s is not %s", v.Node, what), "")
	}
}

// constraint is what a field's tags demand of its value.
type constraint struct {
	allowed  []string
	min, max *float64
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	rateType     = reflect.TypeFor[Rate]()
	wordType     = reflect.TypeFor[Word]()
	nodeType     = reflect.TypeFor[*Node]()
)

func (v Value) decode(rv reflect.Value, c constraint) {
	if v.bad {
		return
	}
	if u, ok := rv.Addr().Interface().(Unmarshaler); ok {
		u.UnmarshalValue(v)
		return
	}
	if m, ok := rv.Addr().Interface().(orderedMap); ok {
		v.decodeMap("a map", func(key string, at Value) { at.decode(m.grow(key, at.Path), c) })
		return
	}
	switch rv.Type() {
	case durationType, rateType:
		v.decodeParameter(rv, c)
		return
	case wordType:
		v.decodeWord(rv)
		return
	case nodeType:
		rv.Set(reflect.ValueOf(v.Node))
		return
	}
	switch rv.Kind() {
	case reflect.Pointer:
		rv.Set(reflect.New(rv.Type().Elem()))
		v.decode(rv.Elem(), c)
	case reflect.Struct:
		v.decodeStruct(rv)
	case reflect.Slice:
		v.decodeList(rv, c)
	case reflect.Map:
		rv.Set(reflect.MakeMap(rv.Type()))
		v.decodeMap("a map", func(key string, at Value) {
			element := reflect.New(rv.Type().Elem()).Elem()
			at.decode(element, c)
			rv.SetMapIndex(reflect.ValueOf(key).Convert(rv.Type().Key()), element)
		})
	default:
		v.decodeScalar(rv, c)
	}
}

func (v Value) decodeMap(want string, each func(key string, at Value)) {
	if v.Kind == KindNull {
		return // "faults:" with everything below it commented out
	}
	if v.Kind != KindMap {
		v.Want(want)
		return
	}
	for _, entry := range v.Entries {
		each(entry.Key, v.Entry(entry))
	}
}

func (v Value) decodeList(rv reflect.Value, c constraint) {
	if v.Kind == KindNull {
		return
	}
	if v.Kind != KindList {
		v.Want("a list")
		return
	}
	rv.Set(reflect.MakeSlice(rv.Type(), len(v.Items), len(v.Items)))
	for i := range v.Items {
		v.Item(i).decode(rv.Index(i), c)
	}
}

func (v Value) decodeStruct(rv reflect.Value) {
	if v.Kind != KindMap {
		v.Want("a map")
		return
	}
	fields := fieldsOf(rv.Type())
	given := map[string]bool{}
	for _, entry := range v.Entries {
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == entry.Key })
		if at < 0 {
			if v.Path != "" || !strings.HasPrefix(entry.Key, "x-") {
				v.UnknownKey(entry, keys(fields))
			}
			continue
		}
		given[entry.Key] = true
		v.Entry(entry).decode(rv.FieldByIndex(fields[at].index), fields[at].constraint)
	}
	for _, f := range fields {
		if f.required && !given[f.name] {
			at := v.src.place(v.Path)
			v.src.fail(Error{
				Line: at.line, Column: at.column, Path: v.Path,
				Message: fmt.Sprintf("key %q is missing", f.name), Hint: f.about,
			})
		}
	}
}

func (v Value) decodeWord(rv reflect.Value) {
	switch v.Kind {
	case KindNull, KindList, KindMap:
		v.Want("a text")
	default:
		rv.SetString(v.Written)
	}
}

// decodeParameter reads the types that parameters have, by their rules and in their words.
func (v Value) decodeParameter(rv reflect.Value, c constraint) {
	p := parameter.Parameter{Name: "v", Type: parameter.Rate, Min: c.min, Max: c.max}
	if rv.Type() == durationType {
		p.Type = parameter.Duration
	}
	switch v.Kind {
	case KindNull, KindList, KindMap:
		v.Want("a " + string(p.Type))
		return
	}
	values, problems := parameter.Check([]parameter.Parameter{p}, map[string]any{"v": v.Scalar})
	if len(problems) > 0 {
		v.Fail(problems[0].Message, problems[0].Hint)
		return
	}
	if p.Type == parameter.Duration {
		rv.SetInt(int64(values.Duration("v")))
		return
	}
	rv.SetFloat(values.Float("v"))
}

func (v Value) decodeScalar(rv reflect.Value, c constraint) {
	switch rv.Kind() {
	case reflect.String:
		v.decodeText(rv, c)
	case reflect.Bool:
		if b, ok := v.Scalar.(bool); ok {
			rv.SetBool(b)
			return
		}
		v.Want("true or false")
	case reflect.Int, reflect.Int64:
		n, ok := v.Scalar.(int64)
		if !ok || rv.OverflowInt(n) {
			v.Want("a whole number")
			return
		}
		v.bound(float64(n), c)
		rv.SetInt(n)
	case reflect.Uint64:
		v.decodeUnsigned(rv)
	case reflect.Float64:
		f, ok := number(v.Scalar)
		if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
			v.Want("a number")
			return
		}
		v.bound(f, c)
		rv.SetFloat(f)
	default:
		panic(fmt.Sprintf("strictyaml: a field of type %s cannot be read", rv.Type()))
	}
}

func (v Value) decodeText(rv reflect.Value, c constraint) {
	written := v.Kind != KindNull && v.Kind != KindList && v.Kind != KindMap
	switch {
	case written && len(c.allowed) > 0 && !slices.Contains(c.allowed, v.Written):
		hint := "permitted: " + strings.Join(c.allowed, ", ")
		if near := parameter.Nearest(v.Written, c.allowed); near != "" {
			hint = fmt.Sprintf("did you mean %q? %s", near, hint)
		}
		v.Fail(fmt.Sprintf("%s is not permitted", v.Node), hint)
	case v.Kind == KindText:
		rv.SetString(v.Scalar.(string))
	case written:
		v.Fail(fmt.Sprintf("%s is not a text", v.Node), fmt.Sprintf("write it in quotes: %q", show(v.Written)))
	default:
		v.Want("a text")
	}
}

func (v Value) decodeUnsigned(rv reflect.Value) {
	switch n := v.Scalar.(type) {
	case uint64:
		rv.SetUint(n)
	case int64:
		if n < 0 {
			v.Fail(fmt.Sprintf("%d is negative", n), "")
			return
		}
		rv.SetUint(uint64(n))
	default:
		v.Want("a whole number")
	}
}

func (v Value) bound(n float64, c constraint) {
	if c.min != nil && n < *c.min {
		v.Fail(fmt.Sprintf("%s is below the least permitted value, %s", v.Node, plain(*c.min)), "")
	}
	if c.max != nil && n > *c.max {
		v.Fail(fmt.Sprintf("%s is above the greatest permitted value, %s", v.Node, plain(*c.max)), "")
	}
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func number(scalar any) (float64, bool) {
	switch n := scalar.(type) {
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// field is a field of a struct that the format has.
type field struct {
	constraint
	name, about string
	example     string
	index       []int
	required    bool
	typ         reflect.Type
}

// fieldsOf returns the fields of a struct, those of embedded structs among them.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for _, sf := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		f := field{
			name: name, about: sf.Tag.Get("about"), example: sf.Tag.Get("example"),
			index: sf.Index, required: options == "required", typ: sf.Type,
		}
		if allowed := sf.Tag.Get("allowed"); allowed != "" {
			f.allowed = strings.Split(allowed, ",")
		}
		f.min, f.max = bound(sf.Tag.Get("min")), bound(sf.Tag.Get("max"))
		out = append(out, f)
	}
	return out
}

func bound(tag string) *float64 {
	n, err := strconv.ParseFloat(tag, 64)
	if err != nil {
		return nil
	}
	return &n
}

func keys(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

// Field describes a key of a struct, for documentation.
type Field struct {
	Name     string
	Value    string // what kind of value it takes, in words
	About    string
	Required bool
}

// Fields describes the keys of a struct, in the order in which they are declared.
func Fields(of any) []Field {
	var out []Field
	for _, f := range fieldsOf(reflect.TypeOf(of)) {
		out = append(out, Field{Name: f.name, Value: f.value(), About: f.about, Required: f.required})
	}
	return out
}

func (f field) value() string {
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case durationType:
		return "duration"
	case rateType:
		return "rate"
	case wordType:
		return "text"
	}
	if _, ok := reflect.New(t).Interface().(orderedMap); ok {
		return "map"
	}
	switch t.Kind() {
	case reflect.String:
		if len(f.allowed) > 0 {
			return strings.Join(f.allowed, ", ")
		}
		return "text"
	case reflect.Bool:
		return "true, false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	}
	return "map"
}
