package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/golden"
)

// other is the pair of scenarios' second: the same under another name.
func other(t testing.TB) Source {
	t.Helper()
	source := pair(t)
	source.Named, source.File = "/some/other.yaml", "other.yaml"
	source.Text = bytes.Replace(source.Text, []byte("name: pair"), []byte("name: other"), 1)
	return source
}

func newSuite(t testing.TB, repeats ...int) *Suite {
	t.Helper()
	var members []*Campaign
	for i, source := range []Source{pair(t), other(t)} {
		c, err := New(source, Options{Repeats: repeats[i], Keep: KeepResults})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, c)
	}
	s, err := NewSuite(SuiteSource{Name: "both", About: "Two of them.", Version: "v1", Machine: "linux/amd64, 2 CPUs"}, members)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func createSuite(t testing.TB, repeats ...int) *Suite {
	t.Helper()
	s := newSuite(t, repeats...)
	if err := s.Create(t.TempDir(), dawn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// told keeps what a Watcher is told of the beginnings.
type told struct {
	lines []string
	left  []time.Duration
}

func (w *told) Begins(slot Slot, _ []string, of int, left time.Duration) {
	w.lines = append(w.lines, fmt.Sprintf("%d/%d %s block %d", slot.Number, of, slot.Scenario, slot.Block))
	w.left = append(w.left, left)
}
func (*told) Ends(Slot, *Measured, error) {}

func TestSuiteGoesBlockByBlock(t *testing.T) {
	s := createSuite(t, 2, 1)
	w, heard := &world{}, &told{}
	if err := s.Run(t.Context(), w.run, heard, clock()); err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, line := range heard.lines {
		of = append(of, strings.TrimSuffix(strings.SplitAfterN(line, " ", 2)[1], " "))
	}
	want := append(append(slices.Repeat([]string{"pair block 1"}, 4), slices.Repeat([]string{"other block 1"}, 4)...), slices.Repeat([]string{"pair block 2"}, 4)...)
	if !slices.Equal(of, want) || !strings.HasPrefix(heard.lines[0], "1/12 ") || !strings.HasPrefix(heard.lines[11], "12/12 ") {
		t.Errorf("ran %q", heard.lines)
	}
	if heard.left[11].Round(time.Second) != time.Minute || s.Left() != 0 || s.Length() != 0 {
		t.Errorf("time left: %v", heard.left)
	}
	if filepath.Base(s.Dir()) != "20260301-120000-both-bench" || w.ran[4].Root != filepath.Join(s.Dir(), "other", RunsDir) {
		t.Errorf("kept in %s and %s", s.Dir(), w.ran[4].Root)
	}
}

func TestSuiteGoesOn(t *testing.T) {
	s := createSuite(t, 1, 1)
	w := &world{}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Run(ctx, func(ctx context.Context, task Task) (string, *Measured, error) {
		if len(w.ran) == 5 {
			cancel()
			return "", nil, nil
		}
		return w.run(ctx, task)
	}, silent{}, clock())
	if !errors.Is(err, ErrInterrupted) || s.Left() != 3 {
		t.Fatalf("%v, %d left", err, s.Left())
	}
	find := func(named string) (Source, error) {
		return map[string]Source{"/some/pair.yaml": pair(t), "/some/other.yaml": other(t)}[named], nil
	}
	if _, err := ResumeSuite(s.Dir(), "v1", find); err == nil || !strings.Contains(err.Error(), "another faultline is at campaign") {
		t.Errorf("while the first is at it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := ResumeSuite(s.Dir(), "v1", find)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	w, heard := &world{}, &told{}
	if err := again.Run(t.Context(), w.run, heard, clock()); err != nil {
		t.Fatal(err)
	}
	if len(w.ran) != 3 || !strings.HasPrefix(heard.lines[0], "6/8 other") {
		t.Errorf("went on with %q", heard.lines)
	}
}

func TestWhatIsNoSuite(t *testing.T) {
	s := createSuite(t, 1, 1)
	none := func(string) (Source, error) { return Source{}, errors.New("no such scenario") }
	state := filepath.Join(s.Dir(), SuiteStateFile)
	text, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, c := range []struct{ name, text, want string }{
		{"of another format", strings.Replace(string(text), `"format": 1`, `"format": 7`, 1), "has format 7 (faultline v1), and this faultline goes on with format 1 only"},
		{"damaged", "{", "suite.json of " + s.Dir() + " is damaged"},
		{"with a scenario that is gone", string(text), "cannot be gone on with: no such scenario"},
		{"with a member that is gone", strings.Replace(string(text), `"other"`, `"away"`, 1), "there is no campaign " + filepath.Join(s.Dir(), "away")},
	} {
		if err := os.WriteFile(state, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		find := none
		if strings.HasPrefix(c.name, "with a member") {
			find = func(string) (Source, error) { return pair(t), nil }
		}
		if _, err := ResumeSuite(s.Dir(), "v1", find); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := ResumeSuite(t.TempDir(), "v1", none); err == nil || !strings.Contains(err.Error(), "is not the directory of a suite") {
		t.Errorf("of an empty folder: %v", err)
	}
	if err := os.WriteFile(state, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ResumeSuite(s.Dir(), "v2", none); err == nil || !strings.Contains(err.Error(), "was begun by faultline v1, and this is v2") {
		t.Errorf("of another version: %v", err)
	}
	one := newSuite(t, 1, 1).members[0]
	if _, err := NewSuite(SuiteSource{Name: "twice"}, []*Campaign{one, one}); err == nil || !strings.Contains(err.Error(), "scenario pair is named twice") {
		t.Errorf("twice the same: %v", err)
	}
}

func TestSuiteReport(t *testing.T) {
	s := createSuite(t, 6, 6)
	w := &world{noise: 0.01, effects: map[string]map[string]fx{"better": {"goodput.browse.fault": {1, 0.3}}}, void: func(slot Slot) []string {
		if slot.Number == 3 {
			return []string{"the generator lagged"}
		}
		return nil
	}}
	if err := s.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	r, err := s.Analyse("")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(r, ""); err != nil {
		t.Fatal(err)
	}
	if r.Tally() != (Tally{Planned: 48, Done: 48, Void: 2}) {
		t.Errorf("%+v", r.Tally())
	}
	var text bytes.Buffer
	if err := r.Print(&text, Style{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	golden.Equal(t, filepath.Join("testdata", "suite.txt"), text.String())
	for _, name := range []string{SuitePage, SuiteCSV, SuiteJSON, "pair/" + PageFile, "other/" + CSVFile} {
		if data, err := os.ReadFile(filepath.Join(s.Dir(), name)); err != nil || !bytes.Contains(data, []byte("better")) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

func TestReadSuite(t *testing.T) {
	s := ReadSuite("s.yaml", []byte("name: queues\nrepeats: 3\nseed: 7\nscenarios:\n  - retry-storm\n  - {scenario: codel, variants: [fifo, codel], aa: codel, repeats: 5}\n"))
	if err := s.Source.Err(); err != nil {
		t.Fatal(err)
	}
	if o := s.Options(s.Scenarios[1]); s.Scenarios[0].Scenario != "retry-storm" || o.Repeats != 5 || *o.Seed != 7 || o.AA != "codel" || len(o.Variants) != 2 || s.Options(s.Scenarios[0]).Repeats != 3 {
		t.Errorf("read %+v", s)
	}
	for text, want := range map[string]string{
		"name: Queues\nscenarios: [a]\n":                          `s.yaml:1: name: "Queues" is not a name`,
		"name: a\n":                                               `s.yaml:1: key "scenarios" is missing`,
		"name: a\nscenarios: []\n":                                "s.yaml:2: scenarios: the suite lists no scenario",
		"name: a\nscenarios:\n  - 7\n":                            `s.yaml:3: scenarios[0]: 7 is not the name of a scenario, or a map`,
		"name: a\nscenarios:\n  - {scenarios: b}\n":               `s.yaml:3: scenarios[0]: unknown key "scenarios"; did you mean "scenario"?`,
		"name: a\nrepeats: 0\nscenarios: [a]\n":                   "s.yaml:2: repeats: 0 ",
		"name: a\nkeep: some\nscenarios: [a]\n":                   `s.yaml:2: keep: "some" is not permitted; permitted: all, results, none`,
		"name: a\nscenarios:\n  - {scenario: b, repeats: 1001}\n": "s.yaml:3: scenarios[0].repeats: 1001 ",
	} {
		err := ReadSuite("s.yaml", []byte(text)).Source.Err()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if !IsSuite([]byte("name: a\nscenarios: [b]\n")) || IsSuite(read(t, "pair.yaml")) || IsSuite([]byte("{")) {
		t.Error("suites and scenarios are not told apart")
	}
}
