package loadgen

import "testing"

func TestSharesAreExact(t *testing.T) {
	for _, ratio := range []float64{0.01, 0.1, 0.25, 1.0 / 3, 0.37, 0.5} {
		l := Load{Experiment: ratio}
		counts := map[string]float64{}
		for seq := range uint64(5000) {
			counts[l.ShareOf(seq)]++
			n := float64(seq + 1)
			for _, share := range []string{ShareExperiment, ShareControl} {
				if off := counts[share] - n*ratio; off < -1.001 || off > 1.001 {
					t.Fatalf("of the first %v at %v, %v are %s", n, ratio, counts[share], share)
				}
			}
		}
	}
	if got := (Load{}).ShareOf(3); got != "" {
		t.Errorf("a load without an experiment has the share %q", got)
	}
}
