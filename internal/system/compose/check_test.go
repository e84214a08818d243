package compose

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/services"
)

const root = "../../.."

func shop(t *testing.T) *system.System {
	t.Helper()
	text, err := services.FS.ReadFile("shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Load("services/shop.yaml", text, services.FS.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

// TestGenerated holds the generated files to the system file; with -update it writes them anew.
func TestGenerated(t *testing.T) {
	sys := shop(t)
	proxies, err := ProxyFile(sys)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, filepath.Join(root, "deploy/docker/proxies.json"), string(proxies))
	golden.Equal(t, filepath.Join(root, "deploy/docker/databases.sql"), string(DatabaseFile(sys)))
	golden.Equal(t, filepath.Join(root, "compose.chaos.yaml"), string(ChaosFile(sys)))
	text, err := os.ReadFile(filepath.Join(root, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := Renew(string(text), sys)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, filepath.Join(root, "compose.yaml"), renewed)
}

// TestRenewNeedsItsPart: a file without the lines around the generated part is left alone.
func TestRenewNeedsItsPart(t *testing.T) {
	for _, text := range []string{"", generatedFrom, generatedTo} {
		if out, err := Renew(text, shop(t)); err == nil {
			t.Errorf("%q became %q", text, out)
		}
	}
}

// load reads compose files as the engine's own command does, with a profile's environment file.
func load(t *testing.T, profile string, files ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(root), cli.WithName("faultline"),
		cli.WithEnvFiles(filepath.Join(root, "deploy/docker", profile+".env")), cli.WithDotEnv, cli.WithDefaultProfiles())
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

var profiles = []string{"core", "full", "elk"}

// TestComposeFileMatchesTheSystem is the test that holds compose.yaml and services/shop.yaml together.
func TestComposeFileMatchesTheSystem(t *testing.T) {
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) {
			project, err := load(t, profile, filepath.Join(root, "compose.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range append(mismatches(project, shop(t)), unsafe(project)...) {
				t.Error(problem)
			}
		})
	}
}

// mismatches lists where a compose file does not run the system that the system file describes.
func mismatches(project *types.Project, sys *system.System) []string {
	var out []string
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	expected := map[string]bool{}
	for _, c := range Containers(sys) {
		expected[c.Name] = true
		service, found := project.Services[c.Name]
		if !found {
			complain("%s: the system has this replica, and compose.yaml has no such service", c.Name)
			continue
		}
		if service.Labels[ServiceLabel] != c.Service || service.Labels[ReplicaLabel] != strconv.Itoa(c.Replica) {
			complain("%s: its labels say %q, replica %q", c.Name, service.Labels[ServiceLabel], service.Labels[ReplicaLabel])
		}
		if !foreign(sys.Service(c.Service)) {
			out = append(out, wrongContainer(service, sys, c)...)
		} else if host, _, _ := net.SplitHostPort(metricsOf(c.Name)); project.Services[host].Image == "" {
			complain("%s: nothing gives its metrics: there is no %s", c.Name, host)
		}
	}
	for name, service := range project.Services {
		if service.Labels[ServiceLabel] != "" && !expected[name] {
			complain("%s: it says that it is %s of the system, which has no such replica", name, service.Labels[ServiceLabel])
		}
	}
	return append(out, wrongProxy(project, sys)...)
}

// wrongContainer compares what one container of the shop runs with the system file.
func wrongContainer(service types.ServiceConfig, sys *system.System, c system.Instance) []string {
	var out []string
	complain := func(format string, args ...any) {
		out = append(out, c.Name+": "+fmt.Sprintf(format, args...))
	}
	svc := sys.Service(c.Service)
	if got, want := strings.Join(service.Command, " "), strings.Join(svc.Run[1:], " "); got != want {
		complain("it runs %q, and the system file %q", got, want)
	}
	env := map[string]string{}
	for key, value := range service.Environment {
		if value != nil {
			env[key] = *value
		}
	}
	want := Environment(sys, c)
	maps.Copy(want, map[string]string{
		"PORT": strconv.Itoa(MainPort), "ADMIN_PORT": strconv.Itoa(AdminPort), "HOST": "0.0.0.0", "ADMIN_HOST": "0.0.0.0",
		"RESILIENCE_POLICIES": "{}", // as the system file has none: a run brings its variant's
	})
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if env[key] != want[key] {
			complain("%s is %q, and the system file makes it %q", key, env[key], want[key])
		}
	}
	for key := range env {
		if _, known := want[key]; !known && strings.HasSuffix(key, "_ADDR") {
			complain("%s is an edge that the system does not have", key)
		}
	}
	if _, waits := service.DependsOn["postgres"]; waits != svc.Store {
		complain("the system file says store: %t, and it waits for postgres: %t", svc.Store, waits)
	}
	return out
}

// wrongProxy compares the ports that the proxy publishes with what the lab counts on.
func wrongProxy(project *types.Project, sys *system.System) []string {
	targets := map[uint32]bool{}
	for _, port := range project.Services[ProxyHost].Ports {
		targets[port.Target] = true
	}
	var out []string
	entry := Edges(sys)[0]
	for what, port := range map[string]int{"its API": ProxyAPIPort, "the edge " + entry.String(): entry.Port} {
		if !targets[uint32(port)] {
			out = append(out, fmt.Sprintf("proxy: it does not publish %s, port %d", what, port))
		}
	}
	return out
}

// memoryLimit is what the memory limits of one profile may add up to.
const memoryLimit = 3 << 30

// unsafe lists what containers must not be or do, whatever they run.
func unsafe(project *types.Project) []string {
	var out []string
	var memory types.UnitBytes
	watched := watchedURLs(project)
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		service := project.Services[name]
		complain := func(format string, args ...any) {
			out = append(out, name+": "+fmt.Sprintf(format, args...))
		}
		user, group, _ := strings.Cut(service.User, ":")
		if id, err := strconv.Atoi(user); err != nil || id == 0 || group == "" {
			complain("user %q is not a number that is not root's, with a group", service.User)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				complain("port %s is published on %q, and not on 127.0.0.1", port.Published, port.HostIP)
			}
		}
		if service.MemLimit == 0 {
			complain("it has no memory limit")
		}
		memory += service.MemLimit
		if service.HealthCheck == nil && !strings.Contains(watched, "//"+name+":") {
			complain("nothing asks whether it is healthy, so up --wait does not mean ready")
		}
		if !pinned(service.Image) {
			complain("image %q is not pinned to a version", service.Image)
		}
		if !service.ReadOnly && !writes[name] {
			complain("its file system can be written to")
		}
		for _, volume := range service.Volumes {
			if strings.Contains(volume.Source, "docker.sock") {
				complain("it holds the engine's socket")
			}
		}
		if service.Privileged || len(service.CapAdd) > 0 {
			complain("it has more rights than it needs")
		}
	}
	if memory > memoryLimit {
		out = append(out, fmt.Sprintf("memory limits add up to %d MB, and at most %d MB are allowed", memory>>20, memoryLimit>>20))
	}
	return out
}

// writes lists the programs of others that write beside their data, wherever that is.
var writes = map[string]bool{"elasticsearch": true, "kibana": true}

// watchedURLs is what health checks ask, in one text.
func watchedURLs(project *types.Project) string {
	var out strings.Builder
	for _, service := range project.Services {
		if service.HealthCheck != nil {
			out.WriteString(strings.Join(service.HealthCheck.Test, " ") + " ")
		}
	}
	return out.String()
}

// pinned tells whether an image is one of ours, built here, or has a version with three numbers or two.
func pinned(image string) bool {
	if image == "faultline-shop:local" || image == "faultline-lab:local" {
		return true
	}
	_, tag, found := strings.Cut(image, ":")
	number, _, _ := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
	return found && strings.Count(number, ".") >= 1 && strings.Trim(number, "0123456789.") == ""
}

// TestTargets: what a Prometheus of the stack scrapes has the labels that it has on this machine, wherever it is.
func TestTargets(t *testing.T) {
	var got []string
	for _, target := range Targets(shop(t)) {
		got = append(got, target.Service+" "+target.Instance+" "+target.URL)
	}
	for _, want := range []string{
		"proxy proxy http://proxy:8474/metrics", "catalog catalog-2 http://catalog-2:8081/metrics", "broker broker http://broker-metrics:8081/metrics",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(got, "\n"))
		}
	}
	if len(got) != 14 { // twelve of the shop's, the broker, the proxy
		t.Errorf("%d targets:\n%s", len(got), strings.Join(got, "\n"))
	}
}

// TestMemoryLimitsAreStated: the sums in compose.yaml's own comment are right.
func TestMemoryLimitsAreStated(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, profile := range profiles {
		project, err := load(t, profile, filepath.Join(root, "compose.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var sum types.UnitBytes
		for _, service := range project.Services {
			sum += service.MemLimit
		}
		if want := fmt.Sprintf("%d MB in %s", sum>>20, profile); !strings.Contains(string(text), want) {
			t.Errorf("compose.yaml does not say %q", want)
		}
	}
}

// TestChecksFail sees each rule fail, on a copy of compose.yaml in which one thing is changed.
func TestChecksFail(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"a service is missing", "\n  bank:\n", "\n  bang:\n", "bank: the system has this replica, and compose.yaml has no such service"},
		{"a service too many", "\n  bank:\n", "\n  bang:\n", "bang: it says that it is bank of the system, which has no such replica"},
		{"the broker's metrics are missing", "\n  broker-metrics:", "\n  broker-figures:", "broker: nothing gives its metrics: there is no broker-metrics"},
		{"a replica's label", `faultline.replica: "3"`, `faultline.replica: "4"`, `catalog-3: its labels say "catalog", replica "4"`},
		{"another program", "command: [bank]", "command: [node]", `bank: it runs "node", and the system file "bank"`},
		{"an edge past the proxy", "BANK_ADDR: 'proxy:", "BANK_ADDR: 'bank:", "payments: BANK_ADDR is"},
		{"an edge too many", "BANK_ADDR: '", "BROKER_ADDR: 'proxy:20000'\n      BANK_ADDR: '", "payments: BROKER_ADDR is an edge that the system does not have"},
		{"another capacity", `"workers":128`, `"workers":64`, "bank: CAPACITY is"},
		{"another port", `PORT: "8080"`, `PORT: "8000"`, `gateway: PORT is "8000"`},
		{"policies of its own", `RESILIENCE_POLICIES: "{}"`, `RESILIENCE_POLICIES: "{\"bank\":[]}"`, "bank: RESILIENCE_POLICIES is"},
		{"a store without its database", "\n  bank:\n    <<: *shop-with-store", "\n  bank:\n    <<: *shop", "bank: the system file says store: true, and it waits for postgres: false"},
		{"the proxy's API is not published", ":8474\" #", ":8475\" #", "proxy: it does not publish its API, port 8474"},
		{"the entry is not published", ":20000\" #", ":20001\" #", "proxy: it does not publish the edge load->gateway, port 20000"},
		{"root", `user: "70:70"`, `user: "0:70"`, `postgres: user "0:70" is not a number that is not root's`},
		{"a name for a user", `user: "70:70"`, `user: "postgres:postgres"`, `postgres: user "postgres:postgres" is not a number`},
		{"a port for everybody", `"127.0.0.1:${PROXY_PORT`, `"${PROXY_PORT`, `proxy: port 8474 is published on "", and not on 127.0.0.1`},
		{"no memory limit", "    mem_limit: 384m\n", "", "postgres: it has no memory limit"},
		{"too much memory", "mem_limit: 384m", "mem_limit: 3g", "memory limits add up to"},
		{"no health check", "    healthcheck: # by", "    x-healthcheck: # by", "postgres: nothing asks whether it is healthy"},
		{"an image without a version", "postgres:17.6-alpine", "postgres:alpine", `postgres: image "postgres:alpine" is not pinned`},
		{"a file system to write to", "  read_only: true\n", "", "bank: its file system can be written to"},
		{"the engine's socket", "volumes: [lab:/data]", "volumes: [/var/run/docker.sock:/var/run/docker.sock]", "lab: it holds the engine's socket"},
		{"more rights", "    shm_size: 64m\n", "    privileged: true\n", "postgres: it has more rights than it needs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.ReplaceAll(string(text), test.old, test.new)
			if changed == string(text) {
				t.Fatalf("compose.yaml holds no %q", test.old)
			}
			file := filepath.Join(t.TempDir(), "compose.yaml")
			if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			project, err := load(t, "core", file)
			if err != nil {
				t.Fatal(err)
			}
			problems := append(mismatches(project, shop(t)), unsafe(project)...)
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, test.want) }) {
				t.Errorf("got %q, want one that begins with %q", problems, test.want)
			}
		})
	}
}

// TestChaosIsOptIn: the lab may break nothing, unless the file that says so is given, and then only the system.
func TestChaosIsOptIn(t *testing.T) {
	base, chaos := filepath.Join(root, "compose.yaml"), filepath.Join(root, "compose.chaos.yaml")
	for _, test := range []struct {
		name  string
		files []string
		may   bool
	}{{"without the file", []string{base}, false}, {"with it", []string{base, chaos}, true}} {
		t.Run(test.name, func(t *testing.T) {
			project, err := load(t, "core", test.files...)
			if err != nil {
				t.Fatal(err)
			}
			for name, service := range project.Services {
				want := test.may && service.Labels[ServiceLabel] != ""
				if got := service.Labels[ChaosLabel] == ChaosAllowed; got != want {
					t.Errorf("%s may be broken: %t", name, got)
				}
			}
			for _, problem := range append(mismatches(project, shop(t)), unsafe(project)...) {
				t.Error(problem)
			}
		})
	}
}

// TestNeedsItsProfile: without one of the environment files nothing starts half.
func TestNeedsItsProfile(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "compose.yaml")}, cli.WithWorkingDirectory(root), cli.WithProfiles([]string{"core"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := options.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), "use make up") {
		t.Errorf("got %v", err)
	}
}
