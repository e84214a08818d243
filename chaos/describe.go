package chaos

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/parameter"
)

// Describe writes the kinds for people to read, by family, in lines of up to width columns
// (80 when width is less than 40).
func Describe(w io.Writer, kinds []Kind, width int) error {
	if width < 40 {
		width = 80
	}
	p := &page{out: bufio.NewWriter(w), width: width}
	for _, family := range []string{FamilyNetwork, FamilyRequest, FamilyProcess, FamilyAdmin, FamilyLoad} {
		p.family(family, kinds)
	}
	return p.out.Flush()
}

// page writes paragraphs. A bufio.Writer keeps the first error until Flush.
type page struct {
	out   *bufio.Writer
	width int
	begun bool
}

func (p *page) family(family string, kinds []Kind) {
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return k.Family != family })
	if len(kinds) == 0 {
		return
	}
	if p.begun {
		p.line("")
	}
	p.begun = true
	p.line(strings.ToUpper(family))
	p.text(0, "", familyAbout(family))
	for _, param := range kinds[0].Params {
		if shared(family, param.Name) {
			p.param(2, 0, param)
		}
	}
	for _, kind := range kinds {
		p.kind(family, kind)
	}
}

func familyAbout(family string) string {
	switch family {
	case FamilyNetwork:
		return "Faults of an edge, through the proxy that stands on it. The target of each but partition:"
	case FamilyRequest:
		return "Faults of single requests, through a proxy that understands HTTP and gRPC and stands on the edge only in runs that need it. Every request that is hit gets a span of its own in its own trace. The target of each, and which requests:"
	case FamilyProcess:
		return "Faults of the processes of a service. The target of each:"
	case FamilyAdmin:
		return "What a service does to itself when it is asked on its admin port. The target:"
	}
	return "Faults of the load. They are part of the plan: nothing is injected."
}

// shared tells the parameters that every kind of a family has, which are described once.
func shared(family, name string) bool {
	if family == FamilyRequest && slices.Contains([]string{"ratio", "route", "baggage", "first"}, name) {
		return true
	}
	return slices.Contains([]string{"edge", "edges", "service", "services", "replica"}, name)
}

func (p *page) kind(family string, kind Kind) {
	p.line("")
	p.line("  " + kind.Name)
	p.text(4, "", kind.About)
	own := slices.DeleteFunc(slices.Clone(kind.Params), func(param parameter.Parameter) bool { return shared(family, param.Name) })
	column := 0
	for _, param := range own {
		column = max(column, len(param.Name))
	}
	for _, param := range own {
		p.param(4, column, param)
	}
	p.text(4, "Felt:    ", kind.Felt)
	p.text(4, "Undone:  ", kind.Undo)
	p.text(4, "Limits:  ", kind.Cannot)
	p.text(4, "Example: ", kind.Example)
}

// param writes one parameter: its name in a column, what it takes, what it is.
func (p *page) param(indent, column int, param parameter.Parameter) {
	name := param.Name + strings.Repeat(" ", max(8, column)-min(len(param.Name), max(8, column)))
	p.text(indent, name+"  ", takes(param)+": "+param.About)
}

// takes says in a few words what a parameter takes.
func takes(p parameter.Parameter) string {
	words := []string{string(p.Type)}
	switch {
	case len(p.Allowed) > 0:
		words[0] = strings.Join(p.Allowed, " | ")
	case p.Type == parameter.Any:
		words[0] = "list of lists"
	case p.Type == parameter.Texts:
		words[0] = "list"
	case p.Min != nil && p.Max != nil:
		words = append(words, show(p, *p.Min)+" to "+show(p, *p.Max))
	case p.Max != nil:
		words = append(words, "up to "+show(p, *p.Max))
	}
	switch {
	case p.Required:
		words = append(words, "required")
	case p.Default != nil:
		words = append(words, fmt.Sprintf("default %v", p.Default))
	}
	return strings.Join(words, ", ")
}

func show(p parameter.Parameter, bound float64) string {
	switch p.Type {
	case parameter.Duration:
		text := time.Duration(bound * float64(time.Second)).String()
		if minutes, whole := strings.CutSuffix(text, "m0s"); whole {
			return minutes + "m"
		}
		return text
	case parameter.Size:
		return size(int64(bound))
	case parameter.Rate:
		return strconv.FormatFloat(bound, 'f', -1, 64) + "/s"
	}
	return strconv.FormatFloat(bound, 'f', -1, 64)
}

func size(bytes int64) string {
	units := []string{"B", "KB", "MB", "GB"}
	unit := 0
	for bytes >= 1024 && bytes%1024 == 0 && unit < len(units)-1 {
		bytes, unit = bytes/1024, unit+1
	}
	return strconv.FormatInt(bytes, 10) + units[unit]
}

func (p *page) line(text string) { _, _ = p.out.WriteString(text + "\n") } // Flush returns the error

// text writes words after a lead, broken into lines that start below the first word.
func (p *page) text(indent int, lead, text string) {
	line := strings.Repeat(" ", indent) + lead
	hang := strings.Repeat(" ", len(line))
	if lead == "" {
		hang = strings.Repeat(" ", indent)
	}
	used := false
	for _, word := range strings.Fields(text) {
		if used && len(line)+1+len(word) > p.width {
			p.line(line)
			line, used = hang, false
		}
		if used {
			line += " "
		}
		line += word
		used = true
	}
	p.line(line)
}
