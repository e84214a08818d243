// Package run owns carrying out a plan: it starts the backend, the proxy, the
// system and the load, brings faults about on time, watches, and takes
// everything down again, whatever happens. What it saw is in the record.
//
// It judges nothing: that is check's work, from the record alone.
package run
