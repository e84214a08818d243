package record

import (
	"testing"
	"time"
)

// BenchmarkResult is what recording one result costs the lab.
func BenchmarkResult(b *testing.B) {
	w, err := Create(b.TempDir(), testMeta(), testPlan(), testSystem(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer w.closeFiles()
	r := result(1, time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Result(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCloseAndOpen packs and reads back 10,000 results: a run of 100 s at
// 100 requests a second.
func BenchmarkCloseAndOpen(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w, err := Create(b.TempDir(), testMeta(), testPlan(), testSystem(), nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 10_000 {
			if err := w.Result(result(i, time.Duration(i)*10*time.Millisecond)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := w.Close(completed(w)); err != nil {
			b.Fatal(err)
		}
		if _, err := Open(w.Dir()); err != nil {
			b.Fatal(err)
		}
	}
}
