package compose

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultProject is the project that compose.yaml names.
const DefaultProject = "faultline"

// Stack is what stands of a project: its containers, and how it was brought up.
type Stack struct {
	Project    string
	Folder     string   // of the compose file
	Files      []string // that it was brought up with
	EnvFiles   []string
	Containers []Container // by service
}

// Container is one container of a stack.
type Container struct {
	ID      string
	Name    string
	Service string // of the compose file
	State   string // running | paused | exited | created | restarting | dead
	Exit    int    // its exit code, once it has exited
	Health  string // healthy | unhealthy | starting; "" without a health check
	Labels  map[string]string
	Ports   map[int]string // what is published of its ports: 8474 -> 127.0.0.1:8474
}

// Running tells whether a container works, as far as the engine knows.
func (c Container) Running() bool {
	return c.State == "running" && (c.Health == "" || c.Health == "healthy")
}

// Find asks the engine for the containers of a project. That there are none is no error.
func Find(ctx context.Context, project string) (*Stack, error) {
	ids, err := docker(ctx, "ps", "-aq", "--no-trunc", "--filter", "label=com.docker.compose.project="+project,
		"--filter", "label=com.docker.compose.oneoff=False")
	if err != nil {
		return nil, fmt.Errorf("asking the container engine: %w", err)
	}
	stack := &Stack{Project: project}
	list := strings.Fields(ids)
	if len(list) == 0 {
		return stack, nil
	}
	text, err := docker(ctx, append([]string{"inspect", "--type", "container"}, list...)...)
	if err != nil {
		return nil, fmt.Errorf("asking the container engine: %w", err)
	}
	return stack, stack.read([]byte(text))
}

// inspected is the part of the engine's description of a container that counts here.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status   string
		ExitCode int
		Health   *struct{ Status string }
	}
	Config          struct{ Labels map[string]string }
	NetworkSettings struct {
		Ports map[string][]struct{ HostIP, HostPort string }
	}
}

func (s *Stack) read(text []byte) error {
	var all []inspected
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("reading the container engine's answer: %w", err)
	}
	for _, one := range all {
		labels := one.Config.Labels
		c := Container{
			ID: one.ID, Name: strings.TrimPrefix(one.Name, "/"), Service: labels["com.docker.compose.service"],
			State: one.State.Status, Exit: one.State.ExitCode, Labels: labels, Ports: map[int]string{},
		}
		if one.State.Health != nil {
			c.Health = one.State.Health.Status
		}
		for port, bindings := range one.NetworkSettings.Ports {
			number, _, _ := strings.Cut(port, "/")
			if target, err := strconv.Atoi(number); err == nil && len(bindings) > 0 {
				c.Ports[target] = bindings[0].HostIP + ":" + bindings[0].HostPort
			}
		}
		s.Containers = append(s.Containers, c)
		s.Folder = cmp.Or(labels["com.docker.compose.project.working_dir"], s.Folder)
		s.Files = union(s.Files, labels["com.docker.compose.project.config_files"])
		s.EnvFiles = union(s.EnvFiles, labels["com.docker.compose.project.environment_file"])
	}
	slices.SortFunc(s.Containers, func(a, b Container) int { return strings.Compare(a.Service, b.Service) })
	return nil
}

// union adds the files of a list with commas that are not there yet, but for those that a run wrote.
func union(files []string, list string) []string {
	for file := range strings.SplitSeq(list, ",") {
		if file != "" && !slices.Contains(files, file) && !strings.HasSuffix(file, overrideFile) {
			files = append(files, file)
		}
	}
	return files
}

// Container returns the container of a service of the compose file, and whether there is one.
func (s *Stack) Container(service string) (Container, bool) {
	for _, c := range s.Containers {
		if c.Service == service {
			return c, true
		}
	}
	return Container{}, false
}

// compose runs docker compose on the stack, with further files.
func (s *Stack) compose(ctx context.Context, more []string, args ...string) error {
	argv := []string{"compose", "--project-name", s.Project, "--project-directory", s.Folder, "--progress", "quiet"}
	for _, file := range s.EnvFiles {
		argv = append(argv, "--env-file", file)
	}
	for _, file := range append(slices.Clone(s.Files), more...) {
		argv = append(argv, "--file", file)
	}
	_, err := docker(ctx, append(argv, args...)...)
	return err
}

// docker runs the engine's command line and returns what it prints.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("there is no docker command on this machine; install Docker with its compose plugin, or leave --target out to run local processes")
	}
	return "", explain(errOut.String(), err)
}

var (
	portTaken  = regexp.MustCompile(`(?:Bind for|listen tcp4?) ([0-9.:]+)[^\n]*(?:port is already allocated|address already in use)`)
	noEngine   = regexp.MustCompile(`(?i)cannot connect to the docker daemon|failed to connect to the docker api|error during connect`)
	noPlugin   = regexp.MustCompile(`(?i)unknown command: docker compose|'compose' is not a docker command|unknown (?:shorthand )?flag: 'p' in -p|unknown flag: --project-name`)
	notAllowed = regexp.MustCompile(`(?i)permission denied while trying to connect`)
)

// explain words what the engine's command line complained of.
func explain(complaint string, err error) error {
	switch {
	case notAllowed.MatchString(complaint):
		return errors.New("this user may not use the container engine; on Linux, be in the group docker")
	case noEngine.MatchString(complaint):
		return errors.New("no container engine answers: start Docker (on Linux: systemctl start docker), or leave --target out to run local processes")
	case noPlugin.MatchString(complaint):
		return errors.New("docker compose is missing: install Docker's compose plugin, version 2.24 or later")
	}
	if found := portTaken.FindStringSubmatch(complaint); found != nil {
		return fmt.Errorf("another program holds %s: stop it, or give the stack another port; docs/full-stack.md lists their variables", found[1])
	}
	complaint = strings.TrimSpace(complaint)
	if complaint == "" {
		return err
	}
	lines := strings.Split(complaint, "\n")
	return fmt.Errorf("docker: %s", strings.Join(lines[max(0, len(lines)-4):], "; "))
}
