package chaos_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/chaos"
)

// update is a flag of go test, so it has to be a variable of the package.
var update = flag.Bool("update", false, "write the golden files anew")

func TestDescribe(t *testing.T) {
	var out bytes.Buffer
	if err := chaos.Describe(&out, chaos.Catalog(), 80); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "faults.txt")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("it differs from %s; run with -update and look at the difference:\n%s", golden, &out)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > 80 || strings.TrimRight(line, " ") != line {
			t.Errorf("%d columns, or blanks at the end: %q", len(line), line)
		}
	}
}

func TestDescribeInNarrowTerminals(t *testing.T) {
	for width, most := range map[int]int{0: 80, 39: 80, 50: 50, 120: 120} {
		var out bytes.Buffer
		if err := chaos.Describe(&out, chaos.Catalog(), width); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if len(line) > most {
				t.Errorf("width %d: %q has %d columns", width, line, len(line))
			}
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestDescribeReturnsTheErrorOfItsWriter(t *testing.T) {
	if err := chaos.Describe(broken{}, chaos.Catalog(), 80); err == nil {
		t.Error("no error")
	}
}
