package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/system"
)

// What is between these lines of compose.yaml is generated from the system file.
const (
	generatedFrom = "  # generated: containers, from services/shop.yaml (make generate)\n"
	generatedTo   = "  # end of what is generated\n"
)

// Renew returns the text of a compose file with its generated part anew.
func Renew(text string, sys *system.System) (string, error) {
	before, rest, found := strings.Cut(text, generatedFrom)
	_, after, closed := strings.Cut(rest, generatedTo)
	if !found || !closed {
		return "", fmt.Errorf("the compose file has no part between %q and %q", strings.TrimSpace(generatedFrom), strings.TrimSpace(generatedTo))
	}
	var out strings.Builder
	out.WriteString(before + generatedFrom)
	for _, c := range Containers(sys) {
		if !foreign(sys.Service(c.Service)) {
			writeContainer(&out, sys, c)
		}
	}
	return out.String() + generatedTo + after, nil
}

// writeContainer writes one service of the compose file. What all have in common is in the
// anchors of its hand-written part.
func writeContainer(out *strings.Builder, sys *system.System, c system.Instance) {
	svc := sys.Service(c.Service)
	base := "*shop"
	if svc.Store {
		base = "*shop-with-store"
	}
	fmt.Fprintf(out, "  %s:\n    <<: %s\n", c.Name, base)
	fmt.Fprintf(out, "    command: [%s]\n", strings.Join(svc.Run[1:], ", "))
	fmt.Fprintf(out, "    labels: {%s: %s, %s: %q}\n", ServiceLabel, c.Service, ReplicaLabel, strconv.Itoa(c.Replica))
	out.WriteString("    environment:\n      <<: *shop-environment\n")
	env := Environment(sys, c)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(out, "      %s: %s\n", key, quoted(env[key]))
	}
}

// quoted writes a YAML string that stays one: in single quotes, where the engine's
// own interpolation of $ is told to leave it alone.
func quoted(text string) string {
	return "'" + strings.NewReplacer("'", "''", "$", "$$").Replace(text) + "'"
}

// ChaosFile is the compose file that gives leave to kill, pause and restart the containers of a system.
func ChaosFile(sys *system.System) []byte {
	var out strings.Builder
	out.WriteString("# generated: with this file beside compose.yaml (make up CHAOS=1) the lab may kill, pause and restart these\n" +
		"# containers, and no others. It does so through the engine that brought them up; no container holds its socket.\nservices:\n")
	for _, c := range Containers(sys) {
		fmt.Fprintf(&out, "  %s: {labels: {%s: %s}}\n", c.Name, ChaosLabel, ChaosAllowed)
	}
	return []byte(out.String())
}
