// Package golden owns comparing what a test got with a file under testdata/.
// Tests that use it take the flag -update, which writes the files anew.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Equal fails the test when got is not what the file holds.
func Equal(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it anew):\n%s", file, diff(string(want), got))
	}
}

// Errors runs one test for each *.yaml of a folder: what read says of it has to
// be what the *.err beside it holds.
func Errors(t *testing.T, folder string, read func(t *testing.T, name string, data []byte) error) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures in %s (%v)", folder, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			err = read(t, filepath.Base(file), data)
			if err == nil {
				t.Fatal("nothing was found wrong")
			}
			Equal(t, filepath.Join(folder, name+".err"), err.Error()+"\n")
		})
	}
}

// shown bounds the lines of a difference that a message holds, on each side.
const shown = 12

// diff shows where two texts differ: what is between their common beginning
// and their common end, wanted with -, got with +.
func diff(want, got string) string {
	wanted, lines := strings.Split(want, "\n"), strings.Split(got, "\n")
	for len(wanted) > 0 && len(lines) > 0 && wanted[0] == lines[0] {
		wanted, lines = wanted[1:], lines[1:]
	}
	for len(wanted) > 0 && len(lines) > 0 && wanted[len(wanted)-1] == lines[len(lines)-1] {
		wanted, lines = wanted[:len(wanted)-1], lines[:len(lines)-1]
	}
	return marked("- ", wanted) + marked("+ ", lines)
}

func marked(mark string, lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		if i == shown {
			b.WriteString(mark + "…\n")
			break
		}
		b.WriteString(mark + line + "\n")
	}
	return b.String()
}
