// Package scenarios owns the scenarios that come with Faultline, and the JSON
// schema that editors complete scenario files from.
package scenarios

import "embed"

// FS holds the scenario files (*.yaml), suites of them to benchmark together (suites/*.yaml) and their schema (scenario.schema.json).
//
//go:embed *.yaml suites/*.yaml scenario.schema.json
var FS embed.FS

// The schemas and the tables of the reference are written from the catalogs of
// faults, policies and measures.
//
//go:generate go test ../internal/scenario ../internal/system ../internal/plan -run TestSchemaIsCurrent|TestReferenceTables -update
//go:generate go test ../resilience -run TestDocsListTheCatalog -update
//go:generate go test . -run TestReadmeIsCurrent -update
