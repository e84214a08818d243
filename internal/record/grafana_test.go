package record

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestNoteGrafana: one field of a record that is closed changes, and nothing else.
func TestNoteGrafana(t *testing.T) {
	w := create(t)
	if err := w.Close(completed(w)); err != nil {
		t.Fatal(err)
	}
	before, err := Open(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	const base = "http://127.0.0.1:3000"
	for range 2 { // the second finds it done
		if err := NoteGrafana(w.Dir(), base); err != nil {
			t.Fatal(err)
		}
	}
	after, err := Open(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if after.Meta.Grafana != base {
		t.Errorf("it says %q", after.Meta.Grafana)
	}
	after.Meta.Grafana = before.Meta.Grafana
	if !reflect.DeepEqual(before, after) {
		t.Errorf("before\n%+v\nafter\n%+v", before, after)
	}
	if err := os.WriteFile(filepath.Join(w.Dir(), MetaFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := NoteGrafana(w.Dir(), base); err == nil || !strings.Contains(err.Error(), "run.json is damaged") {
		t.Errorf("a damaged record: %v", err)
	}
}
