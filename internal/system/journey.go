package system

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/loadgen"
)

// RequestFile is one request as files write it: in a step of a journey, and in
// a load that is a single request.
type RequestFile struct {
	Request string                          `yaml:"request" about:"an HTTP request: method and path" example:"GET /products"`
	RPC     string                          `yaml:"rpc" about:"a gRPC call: package.Service/Method; the body is its message as JSON" example:"shop.catalog.v1.Catalog/ListProducts"`
	Headers strictyaml.Map[strictyaml.Word] `yaml:"headers" about:"headers, or metadata of a gRPC call"`
	Body    string                          `yaml:"body" about:"the body; templates: {{rand 1 500}}, {{uuid}}, {{seq}}, {{.name}}"`
	Accept  []int                           `yaml:"accept" about:"statuses that count as success besides 2xx, or gRPC codes besides 0"`
}

// stepFile is a step of a journey as files write it.
type stepFile struct {
	Name string `yaml:"name" about:"the step's name; the request when left out"`
	RequestFile
	Extract strictyaml.Map[string] `yaml:"extract" about:"a name for later steps, and the path into the JSON answer where its value is" example:"items.0.id"`
	// Operation makes the step one that an audit is held to.
	Operation string `yaml:"operation" about:"of a step that changes something: the extracted value that identifies it; what clients were told is then held against the operations of the audit" example:"order"`
}

var (
	fieldPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	rpcPattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*$`)
)

// methods are the HTTP methods that a load may use.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// journeys checks every journey of the file.
func journeys(src *strictyaml.Source, in strictyaml.Map[[]stepFile]) map[string][]loadgen.Step {
	if len(in) == 0 {
		return nil
	}
	out := map[string][]loadgen.Step{}
	for _, entry := range in {
		if !ValidName(entry.Name) {
			src.Fail(entry.Path, fmt.Sprintf("%q is not a name", entry.Name), NameRule)
		}
		if len(entry.Value) == 0 && !src.Failed(entry.Path) {
			src.Fail(entry.Path, "a journey has at least one step", "")
		}
		out[entry.Name] = journey(src, entry.Path, entry.Value)
		CheckSteps(src, entry.Path, out[entry.Name])
	}
	return out
}

// CheckSteps lets the load generator itself judge steps in which nothing else
// was found, so that what is accepted here can be sent.
func CheckSteps(src *strictyaml.Source, path string, steps []loadgen.Step) {
	if src.Failed(path) || len(steps) == 0 {
		return
	}
	protocol := "http"
	if steps[0].RPC != "" {
		protocol = "grpc"
	}
	load := loadgen.Load{Name: path, Steps: steps, Stages: []loadgen.Stage{{For: time.Second, To: 1}}}
	if err := load.Validate(protocol); err != nil {
		src.Fail(path, strings.ReplaceAll(err.Error(), "\n", "; "), "")
	}
}

func journey(src *strictyaml.Source, path string, in []stepFile) []loadgen.Step {
	var steps []loadgen.Step
	var extracted []string
	names := map[string]bool{}
	for i, step := range in {
		at := fmt.Sprintf("%s[%d]", path, i)
		out := step.Check(src, at, extracted)
		if step.Name != "" {
			out.Name = step.Name
		}
		if names[out.Name] {
			src.Fail(at, fmt.Sprintf("a step named %q stands before", out.Name), "give each its own name")
		}
		names[out.Name] = true
		out.Extract = extract(src, step.Extract)
		if out.Operation = step.Operation; out.Operation != "" && out.Extract[out.Operation] == "" {
			src.Fail(at+".operation", fmt.Sprintf("the step extracts no %q", out.Operation), "it is the name of a value below extract")
		}
		extracted = append(extracted, slices.Sorted(maps.Keys(out.Extract))...)
		steps = append(steps, out)
	}
	return steps
}

func extract(src *strictyaml.Source, in strictyaml.Map[string]) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, entry := range in {
		out[entry.Name] = entry.Value
		if !fieldPattern.MatchString(entry.Name) {
			src.Fail(entry.Path, fmt.Sprintf("%q cannot be used in a template", entry.Name), "letters, digits and _")
		}
		if entry.Value == "" || slices.Contains(strings.Split(entry.Value, "."), "") {
			src.Fail(entry.Path, fmt.Sprintf("%q is not a path into an answer", entry.Value), "write it as items.0.id")
		}
	}
	return out
}

// Check returns the request as a step, named after itself, and adds what is wrong with it
// to the errors of the source. Extracted are the names that templates may use.
func (r *RequestFile) Check(src *strictyaml.Source, path string, extracted []string) loadgen.Step {
	step := loadgen.Step{Name: r.Request + r.RPC, RPC: r.RPC, Body: r.Body, Accept: r.Accept}
	switch {
	case src.Failed(path):
	case (r.Request == "") == (r.RPC == ""):
		src.Fail(path, "want one of request and rpc", "")
	case r.RPC != "" && !rpcPattern.MatchString(r.RPC):
		src.Fail(path+".rpc", fmt.Sprintf("%q is not a gRPC method", r.RPC), "write it as package.Service/Method")
	case r.Request != "":
		step.Method, step.Path = r.split(src, path+".request")
	}
	words := requestWords(extracted)
	words.check(src, path+".request", r.Request)
	words.check(src, path+".body", r.Body)
	for _, header := range r.Headers {
		if step.Headers == nil {
			step.Headers = map[string]string{}
		}
		step.Headers[header.Name] = string(header.Value)
		words.check(src, header.Path, string(header.Value))
	}
	r.checkAccept(src, path+".accept")
	return step
}

func (r *RequestFile) split(src *strictyaml.Source, path string) (method, target string) {
	method, target, found := strings.Cut(r.Request, " ")
	switch {
	case !found || !strings.HasPrefix(target, "/") || blank(target):
		src.Fail(path, fmt.Sprintf("%q is not a request", r.Request), "write it as GET /path")
	case !slices.Contains(methods, method):
		message, hint := strictyaml.Unknown("method", method, methods)
		src.Fail(path, message, hint)
	}
	return method, target
}

// blank tells whether there is a blank in what templates leave of a text.
func blank(text string) bool {
	for {
		before, rest, _ := strings.Cut(text, "{{")
		if strings.ContainsAny(before, " \t\r\n") {
			return true
		}
		if _, text, _ = strings.Cut(rest, "}}"); text == "" {
			return false
		}
	}
}

func (r *RequestFile) checkAccept(src *strictyaml.Source, path string) {
	least, greatest := 100, 599
	if r.RPC != "" {
		least, greatest = 0, 16
	}
	for i, status := range r.Accept {
		if status < least || status > greatest {
			src.Fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%d is not a status", status), fmt.Sprintf("permitted: %d to %d", least, greatest))
		}
	}
}
