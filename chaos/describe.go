package chaos

import (
	"io"

	"github.com/faultline-lab/faultline/parameter"
)

// Describe prints the catalog of faults for a terminal that is so many columns wide.
func Describe(w io.Writer, kinds []Kind, width int) error {
	headings := map[string]string{
		FamilyNetwork: "network: on the wire of an edge, through its proxy",
		FamilyProcess: "process: on the processes of a service",
		FamilyLoad:    "load: part of the plan, nothing is injected",
	}
	entries := make([]parameter.Entry, 0, len(kinds))
	for _, k := range kinds {
		entries = append(entries, parameter.Entry{
			Heading: headings[k.Family], Name: k.Name, Kind: "acts on: " + k.Target, About: k.About, Params: k.Params,
			Notes:   []parameter.Note{{Label: "felt", Text: k.Felt}, {Label: "cannot", Text: k.Cannot}, {Label: "undone", Text: k.Undo}},
			Example: k.Example,
		})
	}
	return parameter.Describe(w, entries, width)
}
