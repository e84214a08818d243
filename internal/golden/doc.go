package golden

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Section fails the test when a generated part of a Markdown file, between
// <!-- generated: name --> and <!-- end -->, is not what it should be.
func Section(t testing.TB, file, name, want string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), "<!-- generated: "+name+" -->\n")
	got, after, closed := strings.Cut(rest, "<!-- end -->")
	if !found || !closed {
		t.Fatalf("%s has no generated part %q", file, name)
	}
	if got == want {
		return
	}
	if !*update {
		t.Errorf("%s, %s (go test -update writes it anew):\n%s", file, name, diff(got, want))
		return
	}
	text := fmt.Sprintf("%s<!-- generated: %s -->\n%s<!-- end -->%s", before, name, want, after)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Block is a fenced block of a Markdown file.
type Block struct {
	Line int    // of its first line, 1-based
	Info string // what stands behind the fence: yaml
	Text string
}

// Blocks returns the fenced blocks of a Markdown file in their order.
func Blocks(t testing.TB, file string) []Block {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []Block
	var open *Block
	for i, line := range strings.Split(string(data), "\n") {
		switch info, fence := strings.CutPrefix(line, "```"); {
		case fence && open == nil:
			open = &Block{Line: i + 2, Info: info}
		case fence:
			out, open = append(out, *open), nil
		case open != nil:
			open.Text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block is not closed", file, open.Line)
	}
	return out
}

// Table writes a Markdown table.
func Table(head []string, rows [][]string) string {
	var b strings.Builder
	write := func(cells []string) {
		for _, cell := range cells {
			b.WriteString("| " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell) + " ")
		}
		b.WriteString("|\n")
	}
	write(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, row := range rows {
		write(row)
	}
	return b.String()
}
