// Package stack holds the configuration of the full stack's programs together, by its tests: what Grafana is given, what
// its dashboards ask, what Prometheus scrapes and evaluates, what the collector sends on. The files lie beside it, in
// folders that are called after their programs; each says in its first lines where it is mounted.
//
// Prometheus' configuration and rules are read by Prometheus' own code. The other programs are not run by these tests: of their
// files it is checked that they are whole, and that they agree. 'make test-stack' asks the programs of a stack that is up.
package stack
