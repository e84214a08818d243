package report

import "testing"

func TestFiguresOf(t *testing.T) {
	run := newFixture("naive").judge(t).Run
	figures := FiguresOf(run)
	if len(figures) != len(run.Plan.Loads) {
		t.Fatalf("got %+v", figures)
	}
	for _, f := range figures {
		if f.In != "fault" || f.Goodput == nil || *f.Goodput < 0 || *f.Goodput > 1 || f.P99 == nil || *f.P99 <= 0 {
			t.Errorf("got %+v", f)
		}
	}
	run.Plan.Faults = nil
	if figures := FiguresOf(run); figures[0].In != "" {
		t.Errorf("without faults: %+v", figures[0])
	}
	run.Results = nil
	if figures := FiguresOf(run); figures[0].Goodput != nil {
		t.Errorf("without results: %+v", figures[0])
	}
}
