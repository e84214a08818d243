package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

func summaryOf(t *testing.T, style Style, judged ...*Judged) string {
	t.Helper()
	var b bytes.Buffer
	if err := Summary(&b, judged, style); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if n := columnsOf(clean(line)); n > style.columns() {
			t.Errorf("a line of %d columns: %s", n, line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
	return b.String()
}

func TestSummary(t *testing.T) {
	judged := []*Judged{newFixture("naive").judge(t), newFixture("contained").judge(t)}
	pages(t, judged...) // then there is something to say about how the failure spread
	for _, width := range []int{80, 60, 40} {
		golden.Equal(t, fmt.Sprintf("testdata/summary/%d.txt", width), summaryOf(t, Style{Width: width}, judged...))
	}
	colored := summaryOf(t, Style{Color: true}, judged...)
	if !strings.Contains(colored, "\x1b[31mfail\x1b[0m") {
		t.Errorf("the outcome has no colour in %q", colored)
	}
	if clean80 := escapes.ReplaceAllString(colored, ""); clean80 != summaryOf(t, Style{}, judged...) {
		t.Error("colours change the text")
	}
}

// A run that was cut short has phases without numbers, and reasons.
func TestSummaryOfAnInterruptedRun(t *testing.T) {
	f := newFixture("naive")
	f.interrupt()
	golden.Equal(t, "testdata/summary/interrupted.txt", summaryOf(t, Style{}, f.judge(t)))
}

// More phases than fit are written below each other.
func TestSummaryOfManyPhases(t *testing.T) {
	f := newFixture("naive")
	for i := range 8 {
		f.plan.Phases = append(f.plan.Phases, plan.Phase{Name: fmt.Sprintf("another-%d", i), Start: 15 * time.Second, End: 15 * time.Second})
	}
	got := summaryOf(t, Style{}, f.judge(t))
	for i := range 8 {
		if !strings.Contains(got, fmt.Sprintf("another-%d", i)) {
			t.Errorf("phase %d is missing in\n%s", i, got)
		}
	}
	if n := strings.Count(got, "browse  naive"); n < 2 {
		t.Errorf("%d tables in\n%s", n, got)
	}
}

func TestSummaryStripsWhatATerminalObeys(t *testing.T) {
	f := newFixture("na\x1b[2Jive")
	f.plan.Scenario, f.plan.Loads[0].Name = "s\x1b]0;owned\x07", "bro\x1b[Awse"
	f.plan.Phases[2].Name = "fa\x07ult\x1b[31m"
	f.plan.Expect = []plan.Expectation{{That: "promql('\x1b[31mx') < 1", In: "baseline"}}
	j := f.judge(t)
	j.Run.Meta.Scenario = f.plan.Scenario
	j.Verdict.Reasons = append(j.Verdict.Reasons, "because \x1b[5A of\r\nthis")
	if got := summaryOf(t, Style{}, j); strings.ContainsAny(got, "\x1b\x07\r") {
		t.Errorf("control characters in %q", got)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	if err := Summary(io.Discard, nil, Style{}); err == nil {
		t.Error("no error")
	}
	if _, err := buildPage(t.Context(), nil); err == nil {
		t.Error("no error")
	}
	if _, err := WritePage(t.Context(), nil, t.TempDir()); err == nil {
		t.Error("no error")
	}
}

func TestLabels(t *testing.T) {
	run := func(scenario, variant string) *Judged {
		return &Judged{Run: &record.Run{Meta: record.Meta{Scenario: scenario, Variant: variant}}}
	}
	for _, test := range []struct {
		judged []*Judged
		want   string
	}{
		{[]*Judged{run("a", "naive"), run("a", "contained")}, "naive, contained"},
		{[]*Judged{run("a", "naive"), run("a", "naive"), run("a", "naive")}, "naive, naive #2, naive #3"},
		{[]*Judged{run("a", "naive"), run("b", "naive")}, "a/naive, b/naive"},
		{[]*Judged{run("a", "")}, "a"},
	} {
		if got := strings.Join(labelsOf(test.judged), ", "); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

type fullDisk struct{}

var errFullDisk = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFullDisk }

func TestFullDisk(t *testing.T) {
	j := newFixture("naive").judge(t)
	if err := Summary(fullDisk{}, []*Judged{j}, Style{}); !errors.Is(err, errFullDisk) {
		t.Errorf("summary: %v", err)
	}
	if err := writePage(t.Context(), fullDisk{}, []*Judged{j}); !errors.Is(err, errFullDisk) {
		t.Errorf("page: %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.html")
	if err := writeFile(path, func(*os.File) error { return errFullDisk }); !errors.Is(err, errFullDisk) {
		t.Errorf("file: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListRuns(t *testing.T) {
	root := t.TempDir()
	var b bytes.Buffer
	if err := ListRuns(&b, root); err != nil || !strings.HasPrefix(b.String(), "no runs in ") {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, variant := range []string{"naive", "con\x1b[31mtained"} {
		w, err := record.Create(root, record.Meta{Scenario: "slow-bank", Variant: variant, Started: second(0)}, fixturePlan(&fixture{}), fixtureSystem(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(w.Meta()); err != nil {
			t.Fatal(err)
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(root, "2*"))
	for dir, verdict := range map[string]string{dirs[0]: `{"outcome":"\u001b[31mpass"}`, dirs[1]: `{"outcome":"pass"}`} {
		if err := os.WriteFile(filepath.Join(dir, record.VerdictFile), []byte(verdict), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(root, "20260301-110000-broken")
	if err := os.MkdirAll(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, record.MetaFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := ListRuns(&b, root); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{"pass          20260301-120000-slow-bank-naive", "not judged", "unreadable    20260301-110000-broken"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("control characters in %q", got)
	}
	if err := ListRuns(fullDisk{}, root); !errors.Is(err, errFullDisk) {
		t.Errorf("full disk: %v", err)
	}
}

func TestSays(t *testing.T) {
	of := func(reasons int, outcomes ...check.Outcome) *check.Verdict {
		v := &check.Verdict{Reasons: make([]string, reasons), Outcome: check.Inconclusive}
		for _, o := range outcomes {
			v.Findings = append(v.Findings, check.Finding{Outcome: o})
		}
		return v
	}
	for _, test := range []struct {
		verdict *check.Verdict
		want    string
	}{
		{of(0, check.Pass), "The expectation held."},
		{of(0, check.Pass, check.Pass), "All 2 expectations held."},
		{of(0, check.Pass, check.Fail), "1 of 2 expectations did not hold."},
		{of(0, check.Pass, check.Inconclusive), "1 of 2 expectations could not be judged."},
		{of(2, check.Pass, check.Pass), "This run proves nothing, whatever its figures say:"},
		{of(2, check.Pass, check.Fail), "This run proves nothing, whatever its figures say:"},
	} {
		if got := says(test.verdict); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
