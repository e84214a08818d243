package main

import (
	"regexp"
	"testing"
	"time"
)

// TestCrashScenario wants every process killed equally often, and none while another of its service is
// still coming back: a fault on a service that is not healthy is not begun.
func TestCrashScenario(t *testing.T) {
	victims := []victim{{"catalog", 1}, {"catalog", 2}, {"catalog", 3}, {"orders", 1}}
	line := regexp.MustCompile(`kill: \{service: (\w+), replica: (\d)\}, at: (\S+), for: (\S+)\}`)
	for seed := range uint64(50) {
		text := crashScenario("shop", victims, crashFlags{journey: "checkout", kills: 40, rate: 15, seed: seed})
		kills, back := map[string]int{}, map[string]time.Duration{}
		for _, m := range line.FindAllStringSubmatch(text, -1) {
			at, err1 := time.ParseDuration(m[3])
			dead, err2 := time.ParseDuration(m[4])
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if at < back[m[1]] {
				t.Errorf("seed %d: %s is killed at %s, but back at %s only", seed, m[1], at, back[m[1]])
			}
			back[m[1]] = at + dead + reviveFor
			kills[m[1]+m[2]]++
		}
		for process, n := range kills {
			if n != 10 {
				t.Errorf("seed %d: %s is killed %d times, want 10", seed, process, n)
			}
		}
		if len(kills) != len(victims) {
			t.Errorf("seed %d: killed %v", seed, kills)
		}
	}
}
