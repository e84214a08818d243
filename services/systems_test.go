package services_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/services"
)

// Every file but the alert rules is a system that goes by its name, and says so itself.
func TestSystemsAreTheFiles(t *testing.T) {
	files, err := fs.Glob(services.FS, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var systems []string
	for _, file := range files {
		if name := strings.TrimSuffix(file, ".yaml"); name != "alerts" {
			systems = append(systems, name)
			if !strings.Contains(string(read(t, file)), "\nname: "+name+"\n") {
				t.Errorf("%s does not give its name", file)
			}
		}
	}
	if want := slices.Sorted(slices.Values(services.Systems())); !slices.Equal(systems, want) {
		t.Errorf("the files are %q, the systems %q", systems, want)
	}
}
