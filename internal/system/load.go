package system

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// startWithin is how long a service may take to become ready where its file does not say.
const startWithin = 15 * time.Second

// LoadFile reads a system file from disk; its folder becomes the system's Dir.
func LoadFile(path string) (*System, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading system: %w", err)
	}
	dir := filepath.Dir(path)
	sys, err := Load(path, data, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return os.ReadFile(name)
	})
	if err != nil {
		return nil, err
	}
	sys.Dir = dir
	return sys, nil
}

// Load reads and checks a system file. The name is for messages; readFile
// reads what the file refers to, by the path as it is written there, which counts from the
// file's folder. Dir is left empty. The error is a strictyaml.Errors: every error
// of the file.
func Load(file string, data []byte, readFile func(string) ([]byte, error)) (*System, error) {
	var doc document
	src := strictyaml.Decode(file, data, &doc)
	l := loader{src: src, doc: &doc}
	sys := l.system()
	l.alerts(sys, readFile)
	if err := src.Err(); err != nil {
		return nil, err
	}
	return sys, nil
}

// Schema returns the JSON schema of system files.
func Schema() ([]byte, error) {
	return strictyaml.Schema(&document{}, "Faultline system",
		"A system under test: its services, how each starts, whom it calls, its journeys and probes.")
}

// document is the file as it is written.
type document struct {
	Name     string                      `yaml:"name,required" about:"a name: small letters, digits and hyphens"`
	About    string                      `yaml:"about" about:"what the system is, in a sentence"`
	Entry    string                      `yaml:"entry,required" about:"the service that load calls when it names none"`
	Observe  string                      `yaml:"observe" allowed:"services,proxy" about:"who measures the edges: services, which export these metrics themselves, when left out; proxy, a layer-7 proxy on each edge that speaks http or grpc, for services that do not"`
	Defaults defaults                    `yaml:"defaults" about:"what holds for every service that does not say otherwise"`
	Services strictyaml.Map[service]     `yaml:"services,required" about:"the services by name"`
	Journeys strictyaml.Map[[]stepFile]  `yaml:"journeys" about:"what a user does, step by step, for loads to use by name"`
	Settings strictyaml.Map[settingFile] `yaml:"settings" about:"variables of the environment of the lab's command that go to every service and into the record; whatever else is set there goes to the services unrecorded"`
	Probes   probesFile                  `yaml:"probes" about:"questions that the lab asks the system"`
	Alerts   string                      `yaml:"alerts" about:"a Prometheus rule file, evaluated during a run; counts from this file's folder"`
}

type defaults struct {
	Health  *healthFile                     `yaml:"health" about:"health check of services without one of their own"`
	Metrics *metricsFile                    `yaml:"metrics" about:"metrics endpoint of services without one of their own"`
	Env     strictyaml.Map[strictyaml.Word] `yaml:"env" about:"environment of every service; its own entries win"`
}

type service struct {
	About    string                          `yaml:"about" about:"what the service is for, in a sentence"`
	Run      []strictyaml.Word               `yaml:"run,required" about:"program and arguments; templates: {{port}}, {{admin_port}}, {{addr \"callee\"}}, {{data_dir}}, {{replica}}"`
	Env      strictyaml.Map[strictyaml.Word] `yaml:"env" about:"environment; the same templates as in run"`
	Protocol string                          `yaml:"protocol,required" allowed:"http,grpc,tcp" about:"how the service is called: http, grpc or tcp"`
	Replicas int                             `yaml:"replicas" min:"1" max:"100" about:"how many run; 1 when left out"`
	Calls    []string                        `yaml:"calls" about:"the services that it calls; each call is an edge"`
	Capacity *CapacityFile                   `yaml:"capacity" about:"model of the service's door; without it there is no limit"`
	Store    bool                            `yaml:"store" about:"gets a directory of its own, which outlives a restart within the run"`
	Health   *healthFile                     `yaml:"health" about:"when it is ready; by default its protocol's check on the main port"`
	Metrics  *metricsFile                    `yaml:"metrics" about:"where Prometheus metrics are served; none says that there are none"`
}

type healthFile struct {
	Check  string        `yaml:"check" allowed:"http,grpc,tcp" about:"http: 2xx at path; grpc: the health service says SERVING; tcp: a connection is accepted"`
	Port   string        `yaml:"port" allowed:"main,admin" about:"main when left out"`
	Path   string        `yaml:"path" about:"of an http check; /healthz when left out"`
	Within time.Duration `yaml:"within" about:"how long starting may take; 15s when left out"`
}

// metricsFile is an endpoint, or the text none.
type metricsFile struct {
	Port string `yaml:"port" allowed:"main,admin" about:"main when left out"`
	Path string `yaml:"path" about:"/metrics when left out"`
	none bool
}

// UnmarshalValue reads none or a map.
func (m *metricsFile) UnmarshalValue(v strictyaml.Value) {
	type fields metricsFile
	switch {
	case v.Kind == strictyaml.KindText && v.Written == "none":
		m.none = true
	case v.Kind == strictyaml.KindMap:
		v.Decode((*fields)(m))
	default:
		v.Want(`a map such as {port: admin, path: /metrics}, or none`)
	}
}

// Schema describes none or a map.
func (m *metricsFile) Schema(s *strictyaml.Schemas) map[string]any {
	type metricsFields metricsFile
	return map[string]any{"anyOf": []any{
		map[string]any{"const": "none"},
		s.Of(reflect.TypeFor[metricsFields]()),
	}}
}

// settingFile is a variable that whoever runs the lab may set.
type settingFile struct {
	About   string   `yaml:"about" about:"what it does, in a sentence"`
	Allowed []string `yaml:"allowed" about:"its values; any when left out"`
}

type probesFile struct {
	Invariants *probeFile `yaml:"invariants" about:"is asked what of the system's own rules is broken"`
}

type probeFile struct {
	Service string   `yaml:"service,required" about:"the service that is asked, on its admin port"`
	Get     string   `yaml:"get,required" about:"the path, such as /audit"`
	Also    []string `yaml:"also" about:"further services that are asked the same for their own part; the violations that they find are added"`
}

// loader turns the document into a System and gathers what is wrong.
type loader struct {
	src *strictyaml.Source
	doc *document
}

var (
	namePattern     = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,60}[a-z0-9])?$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// NameRule is what ValidName asks for, in words.
const NameRule = "a name has small letters, digits and hyphens, begins with a letter and has at most 62 of them"

// ValidName tells whether a name can be that of a system, a service, a scenario or what it contains.
func ValidName(name string) bool { return namePattern.MatchString(name) }

func (l *loader) system() *System {
	doc := l.doc
	if doc.Name != "" && !ValidName(doc.Name) {
		l.src.Fail("name", fmt.Sprintf("%q is not a name", doc.Name), NameRule)
	}
	sys := &System{Name: doc.Name, About: strings.TrimSpace(doc.About), Entry: doc.Entry, Observe: doc.Observe}
	if len(doc.Services) == 0 && l.src.Has("services") && !l.src.Failed("services") {
		l.src.Fail("services", "there is no service", "")
	}
	for _, entry := range doc.Services {
		sys.Services = append(sys.Services, l.service(entry))
	}
	l.entry(sys)
	sys.Journeys = journeys(l.src, doc.Journeys)
	for _, entry := range doc.Settings {
		if !variablePattern.MatchString(entry.Name) {
			l.src.Fail(entry.Path, fmt.Sprintf("%q is not the name of a variable", entry.Name), "letters, digits and _")
		}
		sys.Settings = append(sys.Settings, Setting{Name: entry.Name, About: entry.Value.About, Allowed: entry.Value.Allowed})
	}
	if probe := doc.Probes.Invariants; probe != nil {
		sys.Probes.Invariants = l.probe("probes.invariants", probe)
	}
	return sys
}

func (l *loader) entry(sys *System) {
	if l.doc.Entry == "" || len(sys.Services) == 0 || !l.known("entry", l.doc.Entry) {
		return
	}
	if sys.Service(l.doc.Entry).Protocol == "tcp" {
		l.src.Fail("entry", fmt.Sprintf("load cannot call %q, which speaks tcp", l.doc.Entry), "it calls http and grpc")
	}
}

// known tells whether there is a service of that name, and else says what is near.
func (l *loader) known(path, name string) bool {
	names := l.doc.Services.Names()
	if slices.Contains(names, name) {
		return true
	}
	message, hint := strictyaml.Unknown("service", name, names)
	l.src.Fail(path, message, hint)
	return false
}

func (l *loader) service(entry strictyaml.Named[service]) *Service {
	in, path := entry.Value, entry.Path
	out := &Service{
		Name: entry.Name, About: strings.TrimSpace(in.About), Protocol: in.Protocol,
		Replicas: max(1, in.Replicas), Calls: in.Calls, Store: in.Store,
	}
	switch {
	case entry.Name == LoadCaller:
		l.src.Fail(path, fmt.Sprintf("the name %q is taken", LoadCaller), "the load generator goes by it on edges")
	case !ValidName(entry.Name):
		l.src.Fail(path, fmt.Sprintf("%q is not a name", entry.Name), NameRule)
	}
	l.calls(path, in.Calls)
	l.run(out, path, in)
	out.Health = l.health(path, in)
	out.Metrics = l.metrics(path, in)
	if in.Capacity != nil {
		out.Capacity = in.Capacity.Check(l.src, path+".capacity")
	}
	return out
}

func (l *loader) calls(path string, calls []string) {
	for i, callee := range calls {
		at := fmt.Sprintf("%s.calls[%d]", path, i)
		if slices.Contains(calls[:i], callee) {
			l.src.Fail(at, fmt.Sprintf("%q is listed twice", callee), "")
			continue
		}
		l.known(at, callee)
	}
}

// run checks and takes over the command and the environment.
func (l *loader) run(out *Service, path string, in service) {
	if len(in.Run) == 0 && !l.src.Failed(path) {
		l.src.Fail(path+".run", "there is no program to run", "")
	}
	words := variables(in.Calls)
	for i, arg := range in.Run {
		out.Run = append(out.Run, string(arg))
		words.check(l.src, fmt.Sprintf("%s.run[%d]", path, i), string(arg))
	}
	if len(in.Run) > 0 && strings.TrimSpace(out.Run[0]) == "" {
		l.src.Fail(path+".run[0]", "the program's name is empty", "")
	}
	for _, env := range l.doc.Defaults.Env {
		l.variable(out, env)
	}
	for _, env := range in.Env {
		l.variable(out, env)
	}
}

func (l *loader) variable(out *Service, env strictyaml.Named[strictyaml.Word]) {
	if out.Env == nil {
		out.Env = map[string]string{}
	}
	out.Env[env.Name] = string(env.Value)
	CheckVariable(l.src, env, out.Calls)
}

// CheckVariable checks an entry of the environment of a service that calls callees.
func CheckVariable(src *strictyaml.Source, env strictyaml.Named[strictyaml.Word], callees []string) {
	if !variablePattern.MatchString(env.Name) {
		src.Fail(env.Path, fmt.Sprintf("%q is not the name of a variable", env.Name), "letters, digits and _")
	}
	variables(callees).check(src, env.Path, string(env.Value))
}

// health is the service's own block, else that of defaults, else the
// protocol's. Blocks replace each other whole.
func (l *loader) health(path string, in service) Health {
	block, at := in.Health, path+".health"
	if block == nil {
		block, at = l.doc.Defaults.Health, "defaults.health"
	}
	if block == nil {
		block = &healthFile{Check: in.Protocol}
	}
	out := Health{Check: block.Check, Port: block.Port, Path: block.Path, Within: block.Within}
	if out.Check == "" {
		out.Check = in.Protocol
	}
	if out.Port == "" {
		out.Port = "main"
	}
	if out.Within == 0 {
		out.Within = startWithin
	}
	switch {
	case out.Check == "http" && out.Path == "":
		out.Path = "/healthz"
	case out.Check != "http" && out.Path != "":
		l.src.Fail(at+".path", fmt.Sprintf("a %s check has no path", out.Check), "")
	}
	l.path(at+".path", out.Path)
	return out
}

func (l *loader) metrics(path string, in service) Endpoint {
	block, at := in.Metrics, path+".metrics"
	if block == nil {
		block, at = l.doc.Defaults.Metrics, "defaults.metrics"
	}
	if block == nil || block.none {
		return Endpoint{}
	}
	out := Endpoint{Port: block.Port, Path: block.Path}
	if out.Port == "" {
		out.Port = "main"
	}
	if out.Path == "" {
		out.Path = "/metrics"
	}
	l.path(at+".path", out.Path)
	return out
}

// path checks that a path, where there is one, begins as paths do.
func (l *loader) path(at, path string) {
	if path != "" && !strings.HasPrefix(path, "/") {
		l.src.Fail(at, fmt.Sprintf("%q is not a path", path), "a path begins with /")
	}
}

func (l *loader) probe(path string, in *probeFile) *Probe {
	if in.Service != "" {
		l.known(path+".service", in.Service)
	}
	for i, name := range in.Also {
		at := fmt.Sprintf("%s.also[%d]", path, i)
		if l.known(at, name) && (name == in.Service || slices.Contains(in.Also[:i], name)) {
			l.src.Fail(at, fmt.Sprintf("%s is asked twice", name), "")
		}
	}
	l.path(path+".get", in.Get)
	return &Probe{Service: in.Service, Get: in.Get, Also: in.Also}
}

func (l *loader) alerts(sys *System, readFile func(string) ([]byte, error)) {
	if l.doc.Alerts == "" {
		return
	}
	data, err := readFile(l.doc.Alerts)
	if err != nil {
		l.src.Fail("alerts", fmt.Sprintf("reading %q: %v", l.doc.Alerts, err), "")
		return
	}
	if _, err := alertNames(l.doc.Alerts, data); err != nil {
		l.src.Fail("alerts", err.Error(), "")
		return
	}
	sys.Alerts = data
}
