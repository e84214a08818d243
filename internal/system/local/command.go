package local

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/faultline-lab/faultline/internal/system"
)

// command works out what to execute for an instance, and with which environment.
func (l *Launcher) command(i *instance) (argv, env []string, err error) {
	l.mu.Lock()
	addrs, extra := l.addrs, l.env
	l.mu.Unlock()
	vars := variables(i, addrs)
	for _, arg := range i.svc.Run {
		text, err := vars.expand(arg)
		if err != nil {
			return nil, nil, fmt.Errorf("service %s: run: %w", i.name, err)
		}
		argv = append(argv, text)
	}
	if argv[0], err = l.program(argv[0]); err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", i.name, explainStart(err, argv[0]))
	}
	values := map[string]string{
		"HOST": "127.0.0.1", "PORT": portOf(i.addr), "ADMIN_PORT": portOf(i.adminAddr),
		"DATA_DIR": i.data, "REPLICA": strconv.Itoa(i.replica),
	}
	for _, callee := range i.svc.Calls {
		values[system.AddressVariable(callee)] = strings.Join(addrs(i.svc.Name, callee), ",")
	}
	if i.svc.Capacity != nil {
		values["CAPACITY"] = i.svc.Capacity.JSON()
	}
	if extra != nil {
		maps.Copy(values, extra(i.svc.Name, i.replica))
	}
	for key, text := range i.svc.Env {
		if values[key], err = vars.expand(text); err != nil {
			return nil, nil, fmt.Errorf("service %s: env %s: %w", i.name, key, err)
		}
	}
	return argv, environment(values), nil
}

// environment is the lab's own environment, less what would reach the
// services' telemetry by accident, plus values.
func environment(values map[string]string) []string {
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if _, ours := values[name]; !ours && !strings.HasPrefix(name, "OTEL_") {
			env = append(env, pair)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, name+"="+values[name])
	}
	return env
}

// program finds what to execute: a path counts from the system file's folder; a
// plain name is searched in Config.Bin, then on PATH.
func (l *Launcher) program(name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		if filepath.IsAbs(name) || l.cfg.System.Dir == "" {
			return name, nil
		}
		return filepath.Abs(filepath.Join(l.cfg.System.Dir, name))
	}
	for _, folder := range l.cfg.Bin {
		candidate := filepath.Join(folder, name)
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return filepath.Abs(candidate)
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return name, err
	}
	return found, nil
}

// expander fills in the templates of a system file for one instance.
type expander template.FuncMap

func variables(i *instance, addrs func(caller, callee string) []string) expander {
	return expander{
		"port":       func() string { return portOf(i.addr) },
		"admin_port": func() string { return portOf(i.adminAddr) },
		"data_dir":   func() string { return i.data },
		"replica":    func() int { return i.replica },
		"addr": func(callee string) (string, error) {
			if !slices.Contains(i.svc.Calls, callee) {
				return "", fmt.Errorf("%s does not call %q", i.svc.Name, callee)
			}
			return strings.Join(addrs(i.svc.Name, callee), ","), nil
		},
	}
}

func (e expander) expand(text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	parsed, err := template.New("value").Funcs(template.FuncMap(e)).Parse(text)
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", text, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, nil); err != nil {
		return "", fmt.Errorf("filling in %q: %w", text, err)
	}
	return out.String(), nil
}
