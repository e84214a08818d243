package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// numbers are those of the runs that were carried out.
func (w *world) numbers() []int {
	var out []int
	for _, task := range w.ran {
		out = append(out, task.Slot.Number)
	}
	return out
}

func create(t *testing.T, o Options) *Campaign {
	t.Helper()
	c := campaign(t, o)
	if err := c.Create(t.TempDir(), dawn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func resume(t *testing.T, c *Campaign) *Campaign {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Resume(c.Dir(), pair(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestRunGoesThroughAllInOrder(t *testing.T) {
	c := create(t, Options{Repeats: 2})
	w := &world{}
	if err := c.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.numbers()); got != "[1 2 3 4 5 6 7 8]" || c.Left() != 0 {
		t.Errorf("ran %s, %d left", got, c.Left())
	}
	if filepath.Base(c.Dir()) != "20260301-120000-pair-bench" {
		t.Errorf("the directory is %s", c.Dir())
	}
	for _, task := range w.ran {
		if task.Root != filepath.Join(c.Dir(), RunsDir) || task.Keep != KeepResults || string(task.Scenario) != string(read(t, "pair.yaml")) {
			t.Errorf("task %+v", task.Slot)
		}
	}
	if slot := c.Slots()[2]; slot.Record != "runs/r3" || !slot.Ended.After(slot.Started) {
		t.Errorf("noted %+v", *slot)
	}
	header, err := ReadHeader(c.Dir())
	if err != nil || header != (Header{Scenario: "pair", Named: "/some/pair.yaml", Version: "v1"}) {
		t.Errorf("got %+v, %v", header, err)
	}
	second := campaign(t, Options{Repeats: 1})
	if err := second.Create(filepath.Dir(c.Dir()), dawn); err != nil || filepath.Base(second.Dir()) != "20260301-120000-pair-bench-2" {
		t.Errorf("a second of the same time: %s, %v", second.Dir(), err)
	}
	second.Close()
}

func TestInterruptedCampaignGoesOn(t *testing.T) {
	c := create(t, Options{Repeats: 2})
	w := &world{}
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Run(ctx, func(ctx context.Context, task Task) (string, *Measured, error) {
		if task.Slot.Number == 3 {
			cancel()
			return filepath.Join(task.Root, "cut"), nil, nil
		}
		return w.run(ctx, task)
	}, silent{}, clock())
	if !errors.Is(err, ErrInterrupted) || c.Left() != 6 {
		t.Fatalf("%v, %d left", err, c.Left())
	}
	again := resume(t, c)
	w = &world{}
	if err := again.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.numbers()); got != "[3 4 5 6 7 8]" {
		t.Errorf("repeated %s", got)
	}
	attempts := again.Slots()[2].Attempts
	if len(attempts) != 1 || attempts[0].Record != "runs/cut" || attempts[0].Why != "interrupted by the user" {
		t.Errorf("noted %+v", attempts)
	}
	r, err := again.Analyse()
	if err != nil || r.Total != (Tally{Planned: 8, Done: 8}) {
		t.Errorf("%+v, %v", r.Total, err)
	}
}

// A run that had ended when Ctrl-C came is kept.
func TestInterruptedAfterTheRun(t *testing.T) {
	c := create(t, Options{Repeats: 1})
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{}
	err := c.Run(ctx, func(ctx context.Context, task Task) (string, *Measured, error) {
		defer cancel()
		return w.run(ctx, task)
	}, silent{}, clock())
	if !errors.Is(err, ErrInterrupted) || c.Left() != 3 {
		t.Errorf("%v, %d left", err, c.Left())
	}
}

// A lab that was killed leaves a run that says running.
func TestKilledCampaignGoesOn(t *testing.T) {
	c := create(t, Options{Repeats: 1})
	w := &world{}
	if err := c.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	c.Slots()[1].State = Running
	if err := errors.Join(c.save(), os.Remove(c.figuresPath(c.Slots()[3]))); err != nil {
		t.Fatal(err)
	}
	again := resume(t, c)
	w = &world{}
	if err := again.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.numbers()); got != "[2 4]" {
		t.Errorf("repeated %s", got)
	}
	for n, why := range map[int]string{1: "the lab ended before the run did", 3: "its figures are missing"} {
		if a := again.Slots()[n].Attempts; len(a) != 1 || a[0].Why != why {
			t.Errorf("noted %+v", a)
		}
	}
}

func TestRunsThatFail(t *testing.T) {
	c := create(t, Options{Repeats: 2})
	w, failing := &world{}, map[int]bool{2: true, 5: true, 6: true, 7: true}
	run := func(ctx context.Context, task Task) (string, *Measured, error) {
		if failing[task.Slot.Number] {
			return "", nil, errors.New("port 80 is taken")
		}
		return w.run(ctx, task)
	}
	err := c.Run(t.Context(), run, silent{}, clock())
	if err == nil || err.Error() != "3 runs in a row could not be carried out, the last because: port 80 is taken" {
		t.Fatal(err)
	}
	r, err := c.Analyse()
	if err != nil || r.Total != (Tally{Planned: 8, Done: 3, Failed: 4}) {
		t.Fatalf("%+v, %v", r.Total, err)
	}
	again := resume(t, c)
	clear(failing)
	w = &world{}
	if err := again.Run(t.Context(), run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.numbers()); got != "[2 5 6 7 8]" {
		t.Errorf("repeated %s", got)
	}
}

func TestResumeRefuses(t *testing.T) {
	edit := func(change func(map[string]any)) func(t *testing.T, dir string, s *Source) {
		return func(t *testing.T, dir string, _ *Source) {
			t.Helper()
			path := filepath.Join(dir, CampaignFile)
			var content map[string]any
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &content)
			}
			if err != nil {
				t.Fatal(err)
			}
			change(content)
			if data, err = json.Marshal(content); err == nil {
				err = os.WriteFile(path, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	slot := func(c map[string]any, n int) map[string]any { return c["slots"].([]any)[n].(map[string]any) }
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string, s *Source)
		want   string
	}{
		{"format", edit(func(c map[string]any) { c["format"] = 9 }), "has format 9 (faultline v1), and this faultline goes on with format 1 only; start it anew"},
		{"version", func(_ *testing.T, _ string, s *Source) { s.Version = "v2" }, "was begun by faultline v1, and this is v2: runs of two versions are not compared"},
		{"scenario", func(_ *testing.T, _ string, s *Source) {
			s.Text = []byte(strings.Replace(string(s.Text), "rate: 50/s", "rate: 51/s", 1))
		}, "was begun with another plan: the scenario /some/pair.yaml or its system has changed since"},
		{"system", func(_ *testing.T, _ string, s *Source) { s.System.Services[0].Capacity.Workers++ }, "was begun with another plan"},
		{"variant gone", func(_ *testing.T, _ string, s *Source) {
			s.Text = []byte(strings.Replace(string(s.Text), "same:", "other:", 1))
		}, `cannot be gone on with: --variant: unknown variant "same"`},
		{"no directory", func(t *testing.T, dir string, _ *Source) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, "there is no campaign"},
		{"no campaign", func(t *testing.T, dir string, _ *Source) {
			if err := os.Remove(filepath.Join(dir, CampaignFile)); err != nil {
				t.Fatal(err)
			}
		}, "is not the directory of a campaign: it has no campaign.json"},
		{"damaged", func(t *testing.T, dir string, _ *Source) {
			if err := os.WriteFile(filepath.Join(dir, CampaignFile), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "campaign.json of"},
		{"runs missing", edit(func(c map[string]any) { c["slots"] = c["slots"].([]any)[:3] }), "it has 3 runs, and its options make 4"},
		{"another order", edit(func(c map[string]any) { slot(c, 1)["seed"] = 99 }), "run 2 is not the one that its options make"},
		{"no slot", edit(func(c map[string]any) { c["slots"].([]any)[0] = nil }), "run 1 is not the one that its options make"},
		{"a state", edit(func(c map[string]any) { slot(c, 2)["state"] = "lost" }), `run 3 is "lost"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := create(t, Options{Repeats: 1})
			if err := made.Close(); err != nil {
				t.Fatal(err)
			}
			source := pair(t)
			c.change(t, made.Dir(), &source)
			if _, err := Resume(made.Dir(), source); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestOneAtATime(t *testing.T) {
	c := create(t, Options{Repeats: 1})
	if _, err := Resume(c.Dir(), pair(t)); err == nil || !strings.Contains(err.Error(), "another faultline is at campaign") {
		t.Errorf("got %v", err)
	}
	resume(t, c)
}

// Where the scenario lies makes no difference; what it says does.
func TestPlanHash(t *testing.T) {
	a, elsewhere, b := pair(t), pair(t), pair(t)
	elsewhere.File, elsewhere.Named = "other/pair.yaml", "pair"
	b.Text = []byte(strings.Replace(string(b.Text), "delay: 1s", "delay: 2s", 1))
	hash := func(s Source) string {
		c, err := New(s, Options{Repeats: 1, Keep: KeepAll})
		if err != nil {
			t.Fatal(err)
		}
		return c.file.Plan
	}
	if hash(a) != hash(elsewhere) || hash(a) == hash(b) {
		t.Errorf("hashes %s %s %s", hash(a), hash(elsewhere), hash(b))
	}
}

func TestSlim(t *testing.T) {
	for keep, want := range map[Keep]string{
		KeepAll:     "data events.jsonl metrics output plan.json profiles report.html results.parquet run.json telemetry.db verdict.json",
		KeepResults: "events.jsonl output plan.json report.html results.parquet run.json verdict.json",
		KeepNone:    "",
	} {
		dir := filepath.Join(t.TempDir(), "run")
		for _, folder := range []string{"data/x", "metrics/01", "profiles", "output"} {
			if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"events.jsonl", "plan.json", "report.html", "results.parquet", "run.json", "telemetry.db", "verdict.json"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		left, err := Slim(dir, keep)
		if err != nil || left != (want != "") {
			t.Fatalf("%s: %v, %v", keep, left, err)
		}
		entries, _ := os.ReadDir(dir)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s keeps %s", keep, got)
		}
	}
}

func FuzzReadFile(f *testing.F) {
	c := campaign(f, Options{Repeats: 1})
	good, err := json.Marshal(c.file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"options":{"repeats":1,"keep":"all"},"slots":[null]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, CampaignFile), data, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := Resume(dir, pair(t))
		if err != nil {
			return
		}
		if _, err := c.Analyse(); err != nil {
			t.Logf("no analysis: %v", err)
		}
		c.Close()
	})
}
