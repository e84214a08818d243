package parameter

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Entry is one entry of a catalog, as people read it.
type Entry struct {
	Heading string // entries with the same heading stand together below it
	Name    string
	Kind    string // a word or two beside the name: "edge or door"
	About   string
	Params  []Parameter
	Notes   []Note
	Example string // YAML; kept as it is
}

// Note is a labelled remark: "undone: the toxic is removed". Empty texts are left out.
type Note struct{ Label, Text string }

// Describe prints a catalog for a terminal that is so many columns wide; below 40
// columns it is printed as for 40.
func Describe(w io.Writer, entries []Entry, width int) error {
	width = max(width, 40)
	var out strings.Builder
	heading := ""
	for _, e := range entries {
		if e.Heading != heading {
			heading = e.Heading
			fmt.Fprintf(&out, "%s\n\n", strings.ToUpper(heading))
		}
		describe(&out, e, width)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func describe(out *strings.Builder, e Entry, width int) {
	fmt.Fprintf(out, "  %s (%s)\n", e.Name, e.Kind)
	wrap(out, e.About, 6, 6, width)
	name := 0
	for _, p := range e.Params {
		name = max(name, len(p.Name))
	}
	for _, p := range e.Params {
		wrap(out, fmt.Sprintf("%-*s  %s", name, p.Name, p.describeForm()), 6, 6+name+2, width)
	}
	for _, note := range e.Notes {
		if note.Text != "" {
			wrap(out, note.Label+": "+note.Text, 6, 8, width)
		}
	}
	for line := range strings.Lines(strings.TrimRight(e.Example, "\n")) {
		out.WriteString(strings.TrimRight("        "+line, " \n") + "\n")
	}
	out.WriteString("\n")
}

// describeForm says what the parameter takes: "duration, required: how long".
func (p Parameter) describeForm() string {
	form := p.describe()
	if len(p.Allowed) > 0 {
		form = strings.Join(p.Allowed, " | ")
	}
	switch {
	case p.Required:
		form += ", required"
	case p.Default != nil:
		form += fmt.Sprintf(", %v by default", p.Default)
	}
	return strings.TrimSuffix(form+": "+p.About, ": ")
}

// wrap breaks text into lines of at most width columns. The first line is
// indented by first, the others by rest; runs of spaces within text are kept on the first line.
func wrap(out *strings.Builder, text string, first, rest, width int) {
	line := strings.Repeat(" ", first)
	for i, word := range strings.Split(strings.TrimSpace(text), " ") {
		if i > 0 && word != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", rest) + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	out.WriteString(strings.TrimRight(line, " ") + "\n")
}
