package resilience

import (
	"io"
	"strings"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

// Describe prints the catalog of policies for a terminal that is so many columns wide.
func Describe(w io.Writer, kinds []Kind, width int) error {
	entries := make([]parameter.Entry, 0, len(kinds))
	for _, k := range kinds {
		short := ""
		if k.Main != "" {
			short = "{" + k.Name + ": …} sets " + k.Main
		}
		entries = append(entries, parameter.Entry{
			Heading: "policies, of an edge (caller->callee) or of a service's door", Name: k.Name, Kind: strings.Join(k.Sides, " or "), About: k.About, Params: k.Params,
			Notes: []parameter.Note{
				{Label: "short form", Text: short},
				{Label: "protocol", Text: k.Protocol},
				{Label: "rejections, by cause", Text: strings.Join(k.Causes, ", ")},
				{Label: names.PolicyState, Text: k.Means},
				{Label: "counts", Text: strings.Join(k.Counts, ", ")},
			}, Example: k.Example,
		})
	}
	return parameter.Describe(w, entries, width)
}
