package resilience

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

// TestQueues tells each queue as a story: +a lets a wait, -a takes a out, . takes the next one, and 50 lets 50 ms pass.
func TestQueues(t *testing.T) {
	tests := []struct {
		discipline string
		limit      int
		story      string
		want       string // who was taken, !a for a refused one, ~a for an evicted one
	}{
		{"", 3, "+a +b +c . . . .", "a b c nobody"},
		{"", 2, "+a +b +c . .", "~c a b"},
		{"", 0, "+a .", "~a nobody"},
		{"", 3, "+a +b +c -b . .", "a c"},
		{fifo, 3, "+a +b . +c . .", "a b c"},
		{lifo, 3, "+a +b +c . . .", "c b a"},
		{lifo, 2, "+a +b +c . .", "~a c b"},
		{codel, 9, "+a 50 +b 50 . .", "a b"},              // never longer than the interval
		{codel, 9, "+a 101 .", "!a"},                      // nobody may wait longer than it
		{codel, 9, "+a 90 +b 20 . 4 .", "!a b"},           // b came before the queue stood: it may wait
		{codel, 9, "+a 101 +b +c 4 . 2 . .", "!a !b !c"},  // who comes to a queue that stands has 5 ms
		{codel, 9, "+a 101 +b 4 . .", "!a b"},             // and is served within them
		{codel, 9, "+a 101 . +b 50 .", "!a b"},            // an empty queue stands no more
		{codelLIFO, 9, "+a +b 50 . .", "a b"},             // fair while the queue moves
		{codelLIFO, 9, "+a 101 +b +c . . .", "c b !a"},    // the newest first when it stands
		{codelLIFO, 2, "+a +b 101 +c . . ", "~a c !b"},    // and the oldest has to go
		{codelLIFO, 2, "+a +b +c . . .", "~c a b nobody"}, // but not while it moves
	}
	for _, test := range tests {
		t.Run(test.discipline+" "+test.story, func(t *testing.T) {
			var chain []Spec
			if test.discipline != "" {
				chain = append(chain, spec(t, "queue", test.discipline))
			}
			d, reg := newTestDoor(t, chain...)
			got := tell(t, d.NewQueue(test.limit), test.story)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if refused := strings.Count(test.want, "!"); refused > 0 {
				if n := reg.value(t, names.PolicyRejections, names.Policy, "queue", names.Cause, "late"); int(n) != refused {
					t.Errorf("%v refusals counted", n)
				}
			}
		})
	}
}

func tell(t *testing.T, q Queue, story string) string {
	t.Helper()
	now := time.Unix(1000, 0)
	waiting, name := map[string]*Waiting{}, map[*Waiting]string{}
	var out []string
	for _, step := range strings.Fields(story) {
		switch step[0] {
		case '+':
			w := &Waiting{Since: now}
			waiting[step[1:]], name[w] = w, step[1:]
			if evicted := q.Push(w); evicted != nil {
				out = append(out, "~"+name[evicted])
			}
		case '-':
			q.Remove(waiting[step[1:]])
		case '.':
			w, refuse := q.Pop(now)
			switch {
			case w == nil:
				out = append(out, "nobody")
			case refuse != nil:
				out = append(out, "!"+name[w])
			default:
				out = append(out, name[w])
			}
		default:
			var ms int
			if _, err := fmt.Sscan(step, &ms); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Duration(ms) * time.Millisecond)
		}
	}
	return strings.Join(out, " ")
}
