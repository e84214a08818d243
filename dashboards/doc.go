// Package dashboards owns the Grafana dashboards of the lab: what they ask,
// and how it is laid out. The JSON files beside it are made from it (go generate ./dashboards)
// and are what Grafana reads; a test holds the two together, and runs every PromQL query over
// the record of a real run, so that no panel is empty during a scenario.
//
// It owns no metrics: their names come from package names.
//
//	lab          what is done to the system, and whether it holds
//	services     rate, errors, duration and saturation of each service
//	edges        what callers see of their callees, and what policies make of it
//	resilience   the variants of a scenario side by side
//	bench        the runs of a campaign side by side
package dashboards

//go:generate go test . -run TestFilesAreCurrent -update
