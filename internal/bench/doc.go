// Package bench owns campaigns: the variants of a scenario, run again and again
// in an order drawn at random, compared with one another by statistics that
// allow a claim, or say that none is allowed.
//
// A campaign is a list of runs (Slot) that is fixed before the first one
// starts, a directory in which it can be interrupted and gone on with, the figures of
// each run (Measured), and what they come to (Report), for people and machines.
//
// It neither carries out a run nor judges one: a Runner does. The statistics
// themselves are in package stats; docs/benchmarking.md explains all of it.
package bench
