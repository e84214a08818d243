// Package scenarios owns the scenarios that come with Faultline, and the JSON
// schema that editors complete scenario files from.
package scenarios

import "embed"

// FS holds the scenario files (*.yaml) and their schema (scenario.schema.json).
//
//go:embed *.yaml scenario.schema.json
var FS embed.FS

//go:generate go test ../internal/scenario ../internal/system -run TestSchemaIsCurrent -update
