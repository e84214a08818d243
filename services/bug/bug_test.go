package bug

import (
	"log/slog"
	"strings"
	"testing"
)

type env map[string]string

func (e env) Get(key string) string { return e[key] }

func TestIn(t *testing.T) {
	for _, test := range []struct {
		name, value, service string
		want                 Name
		wrong                string
	}{
		{"none", "", "payments", "", ""},
		{"its own", "double-charge", "payments", DoubleCharge, ""},
		{"of another service", "double-charge", "orders", "", ""},
		{"a typo", "duble-charge", "payments", "", `BUG=duble-charge: there is no such bug; did you mean "double-charge"; permitted: double-charge, double-compensation`},
		{"nothing like it", "x", "payments", "", "BUG=x: there is no such bug; permitted: double-charge"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := In(env{Variable: test.value}, test.service, slog.New(slog.DiscardHandler))
			if got != test.want || (err == nil) != (test.wrong == "") || err != nil && !strings.HasPrefix(err.Error(), test.wrong) {
				t.Errorf("got %q and %v, want %q and %q", got, err, test.want, test.wrong)
			}
		})
	}
}

func TestCatalogIsComplete(t *testing.T) {
	seen := map[Name]bool{}
	for _, b := range Catalog() {
		if seen[b.Name] || b.Service == "" || b.Scenario == "" || b.Variant == "" || b.Broken == "" || !strings.HasSuffix(b.About, ".") {
			t.Errorf("%+v is not whole, or there twice", b)
		}
		seen[b.Name] = true
	}
}
