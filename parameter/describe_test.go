package parameter_test

import (
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/parameter"
)

func TestDescribe(t *testing.T) {
	entries := []parameter.Entry{
		{
			Heading: "network", Name: "latency", Kind: "edge", About: "Delays what crosses the edge, one way, without slowing its rate.",
			Params: []parameter.Parameter{
				{Name: "delay", Type: parameter.Duration, Required: true, About: "how much later the bytes arrive"},
				{Name: "toxicity", Type: parameter.Ratio, Default: 1.0},
				{Name: "way", Type: parameter.Text, Allowed: []string{"up", "down"}, Default: "down", About: "which way"},
			},
			Notes:   []parameter.Note{{Label: "undone", Text: "the delay is lifted"}, {Label: "cannot"}},
			Example: "slow:\n  latency: {delay: 3s}\n",
		},
		{Heading: "network", Name: "down", Kind: "edge", About: "Takes it down."},
		{Heading: "process", Name: "kill", Kind: "service", About: "Kills it."},
	}
	var b strings.Builder
	if err := parameter.Describe(&b, entries, 10); err != nil {
		t.Fatal(err)
	}
	want := `NETWORK

  latency (edge)
      Delays what crosses the edge, one
      way, without slowing its rate.
      delay     duration, required: how
                much later the bytes
                arrive
      toxicity  ratio, such as 0.1 or
                10%, 1 by default
      way       up | down, down by
                default: which way
      undone: the delay is lifted
        slow:
          latency: {delay: 3s}

  down (edge)
      Takes it down.

PROCESS

  kill (service)
      Kills it.

`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
