package resilience

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
)

// withPriority is the context of a request whose baggage says that.
func withPriority(t *testing.T, text string) context.Context {
	t.Helper()
	if text == "" {
		return t.Context()
	}
	bag, err := baggage.Parse(PriorityKey + "=" + text + ",faultline.load=x")
	if err != nil {
		t.Fatal(err)
	}
	return baggage.ContextWithBaggage(t.Context(), bag)
}

func TestPriorityOf(t *testing.T) {
	for text, want := range map[string]Priority{
		"": Default, "critical": Critical, "0": Critical, "default": Default, "1": Default, "Sheddable": Sheddable, "2": Sheddable,
		"bulk": Bulk, "3": Bulk, "4": Default, "-1": Default, "urgent": Default, "00": Default,
	} {
		if got := PriorityOf(withPriority(t, text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if _, err := ParsePriority("urgent"); err == nil {
		t.Error("urgent is a priority")
	}
}

func TestShed(t *testing.T) {
	queue := Occupancy{Busy: 4, Workers: 4, Queue: 100}
	waiting := func(n int) Occupancy { o := queue; o.Waiting = n; return o }
	tests := []struct {
		name   string
		params any
		now    Occupancy
		shed   string // of each priority, the most important first: x is shed
	}{
		{"a worker is free", nil, Occupancy{Busy: 3, Workers: 4, Queue: 100, Waiting: 100}, "...."},
		{"nobody waits", nil, waiting(0), "...x"},
		{"few wait", nil, waiting(9), "...x"},
		{"a tenth of the queue is taken", nil, waiting(10), "..xx"},
		{"less than half", nil, waiting(49), "..xx"},
		{"half", nil, waiting(50), ".xxx"},
		{"full", nil, waiting(100), ".xxx"}, // the critical one meets the full queue next
		{"without a queue it is the workers", nil, Occupancy{Busy: 1, Workers: 4}, "..xx"},
		{"without a queue, half of them", nil, Occupancy{Busy: 2, Workers: 4}, ".xxx"},
		{"of the workers", "workers", Occupancy{Busy: 2, Workers: 4, Queue: 100}, ".xxx"},
		{"of the workers, all idle", "workers", Occupancy{Workers: 4, Queue: 100}, "...x"},
		{"no limits", nil, Occupancy{Busy: 1000}, "...."},
		{"shares of one's own", params{"default": 1, "sheddable": 0.5, "bulk": 0.5}, waiting(50), "..xx"},
		{"default ones until it is full", params{"default": 1}, waiting(99), "..xx"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, reg := newTestDoor(t, spec(t, "priority", test.params))
			got := ""
			for p := Critical; p < priorities; p++ {
				err := d.Shed(withPriority(t, fmt.Sprint(uint8(p))), test.now)
				if err == nil {
					got += "."
					continue
				}
				got += "x"
				if rejection(err) != "priority "+p.String() || status.Code(err) != codes.ResourceExhausted {
					t.Errorf("got %v", err)
				}
				if n := reg.value(t, names.PolicyRejections, names.On, "b", names.Policy, "priority", names.Cause, p.String()); n != 1 {
					t.Errorf("%v rejections", n)
				}
			}
			if got != test.shed {
				t.Errorf("got %s, want %s", got, test.shed)
			}
		})
	}
}

func TestNobodyIsShedWithoutThePolicy(t *testing.T) {
	d, _ := newTestDoor(t)
	if err := d.Shed(withPriority(t, "bulk"), Occupancy{Busy: 1, Workers: 1, Waiting: 9, Queue: 9}); err != nil {
		t.Error(err)
	}
}
