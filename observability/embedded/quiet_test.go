package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuietHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newQuietHandler(slog.NewTextHandler(&out, nil))).With("part", "tsdb").WithGroup("g")
		log.Info("compacting")
		for range 5 {
			log.Warn("append failed", "target", 1)
		}
		log.Error("disk is full")
		time.Sleep(repeatAfter)
		log.Warn("append failed", "target", 2)
		var got []string
		for line := range strings.Lines(out.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
			got = append(got, line)
		}
		want := []string{
			`level=WARN msg="append failed" part=tsdb g.target=1`,
			`level=ERROR msg="disk is full" part=tsdb`,
			`level=WARN msg="append failed" part=tsdb g.target=2`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got:\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestQuietHandlerForgets(t *testing.T) {
	s := &said{when: make(map[string]time.Time)}
	now := time.Now()
	for i := range 3 * maxSaid {
		s.again(strings.Repeat("x", i), now)
	}
	if len(s.when) > maxSaid {
		t.Errorf("%d messages are remembered", len(s.when))
	}
}
