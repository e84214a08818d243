package loadgen

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// step is a Step made ready to be sent.
type step struct {
	name    string
	method  string // HTTP method, or the RPC as /package.Service/Method
	path    *template
	headers []header
	body    *template
	extract []extraction
	accept  []int
	// operation is the name of the extracted value that goes into the result; empty for most.
	operation string
}

type header struct {
	name string
	text *template
}

// request is a step rendered for one journey.
type request struct {
	step    *step
	turn    uint64 // which of several addresses is asked
	path    string
	headers [][2]string
	body    string
}

// compileSteps makes steps ready and returns everything that is wrong with
// them, joined.
func compileSteps(steps []Step, protocol string) ([]*step, error) {
	if len(steps) == 0 {
		return nil, errors.New("there are no steps")
	}
	var out []*step
	var problems []error
	var known []string // what earlier steps extract
	names := map[string]bool{}
	for i, s := range steps {
		where := fmt.Sprintf("step %q", s.Name)
		if s.Name == "" {
			where = fmt.Sprintf("step %d", i+1)
		}
		add := func(err error) {
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", where, err))
			}
		}
		if len(steps) > 1 && s.Name == "" {
			add(errors.New("a step of a journey needs a name"))
		} else if names[s.Name] {
			add(errors.New("there are two of that name"))
		}
		names[s.Name] = true
		compiled, err := compileStep(s, protocol, known)
		add(err)
		out = append(out, compiled)
		known = append(known, slices.Sorted(maps.Keys(s.Extract))...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return out, nil
}

func compileStep(s Step, protocol string, known []string) (*step, error) {
	out := &step{name: s.Name, accept: s.Accept, operation: s.Operation}
	var problems []error
	compile := func(what, text string) *template {
		t, err := compileTemplate(text, known)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
		return t
	}
	var err error
	if out.method, err = methodOf(s, protocol); err != nil {
		problems = append(problems, err)
	}
	out.path, out.body = compile("path", s.Path), compile("body", s.Body)
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if !isToken(name) {
			problems = append(problems, fmt.Errorf("%q cannot be the name of a header", name))
		}
		out.headers = append(out.headers, header{name: name, text: compile("header "+name, s.Headers[name])})
	}
	if out.extract, err = compileExtractions(s.Extract); err != nil {
		problems = append(problems, fmt.Errorf("extract: %w", err))
	}
	if _, extracted := s.Extract[s.Operation]; s.Operation != "" && !extracted {
		problems = append(problems, fmt.Errorf("operation %q: the step extracts nothing of that name", s.Operation))
	}
	return out, errors.Join(problems...)
}

// methodOf checks that the step is one of its protocol and returns what it calls.
func methodOf(s Step, protocol string) (string, error) {
	if protocol == protocolGRPC {
		service, method, found := strings.Cut(strings.TrimPrefix(s.RPC, "/"), "/")
		switch {
		case s.Method != "" || s.Path != "":
			return "", errors.New("the service speaks gRPC: give rpc, not a method and a path")
		case !found || service == "" || method == "" || strings.Contains(method, "/"):
			return "", fmt.Errorf("rpc %q is not package.Service/Method", s.RPC)
		}
		return "/" + service + "/" + method, nil
	}
	method := s.Method
	if method == "" {
		method = http.MethodGet
	}
	switch {
	case s.RPC != "":
		return "", errors.New("the service speaks HTTP: give a method and a path, not rpc")
	case !isToken(method):
		return "", fmt.Errorf("%q cannot be an HTTP method", method)
	case !strings.HasPrefix(s.Path, "/") && !strings.HasPrefix(s.Path, "{{"):
		return "", fmt.Errorf("path %q does not begin with /", s.Path)
	}
	return method, nil
}

// render fills the step's templates in.
func (s *step) render(env *environment, turn uint64) request {
	r := request{step: s, turn: turn, path: s.path.render(env), body: s.body.render(env)}
	if len(s.headers) > 0 {
		r.headers = make([][2]string, len(s.headers))
		for i, h := range s.headers {
			r.headers[i] = [2]string{h.name, h.text.render(env)}
		}
	}
	return r
}

// accepts says whether a status counts as success.
func (s *step) accepts(protocol string, status int) bool {
	return succeeded(protocol, status) || slices.Contains(s.accept, status)
}

// succeeded says whether a status is success by the protocol's own word.
func succeeded(protocol string, status int) bool {
	if protocol == protocolGRPC {
		return status == 0
	}
	return status >= 200 && status < 300
}

// isToken says whether s is a token of HTTP (RFC 9110, section 5.6.2), as
// methods and header names are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
