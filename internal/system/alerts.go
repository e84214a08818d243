package system

import (
	"fmt"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// AlertNames returns the names of the alerts that the rule file defines, in its order.
func (s *System) AlertNames() []string {
	names, err := alertNames("alerts", s.Alerts)
	if err != nil {
		return nil // Load has refused such a file
	}
	return names
}

// alertNames reads as much of a Prometheus rule file as the lab needs to know;
// Prometheus itself checks the rest.
func alertNames(name string, data []byte) ([]string, error) {
	if len(data) == 0 {
		return nil, nil
	}
	root, err := strictyaml.Read(name, data)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	var names []string
	for _, group := range root.Get("groups").Items {
		for _, rule := range group.Get("rules").Items {
			if alert := rule.Get("alert"); alert.Kind == strictyaml.KindText {
				names = append(names, alert.Written)
			}
		}
	}
	return names, nil
}
