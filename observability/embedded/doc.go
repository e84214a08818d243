// Package embedded is the observability backend that lives in the lab's own
// process: it receives, scrapes, stores, queries and alerts, with nothing to
// install, and leaves one run's telemetry in one directory.
//
//	backend, err := embedded.Start(ctx, embedded.Config{Dir: dir, Rules: rules, OnAlert: tell})
//	...                                     // OTEL_EXPORTER_OTLP_ENDPOINT = backend.Endpoints().OTLP
//	err = backend.SetTargets(targets)       // /metrics of every instance, each second
//	series, err := backend.Archive().Query(ctx, `sum(rate(edge_calls_total[5s]))`, time.Now())
//	...
//	backend.StopScraping()                  // while the targets still live
//	loss, err := backend.Close(ctx)         // after they have gone: their last spans arrive as they stop
//
//	archive, err := embedded.OpenArchive(dir) // tomorrow
//
// It owns the files telemetry.db, metrics/ and profiles/ of a run's
// directory. It does not own what telemetry is called (package names) nor how
// programs send it (package observability, or any OpenTelemetry SDK).
//
// # What it is made of
//
//	OTLP, gRPC and HTTP --> receiver --> bounded queue --> one writer --> telemetry.db (SQLite)
//	/metrics  <-- Prometheus' scrape manager, each second --+
//	OTLP metrics --> Prometheus' translator ----------------+--> metrics/ (Prometheus' TSDB)
//	alert rules --> Prometheus' rule manager, each second --+
//	POST /ingest (pyroscope-go) --> profiles/ (pprof files)
//	/api/v1 --> Prometheus' own HTTP API, read only: a Grafana takes it for a Prometheus
//	/api/v1/write --> metrics/, only with Config.RemoteWrite: what Archive.WriteMessages gives
//
// One loopback port serves all of it. telemetry.db opens in sqlite3 or
// Datasette (see its views spans and logs); the OTLP messages are in it as they
// came, for sending them on to another backend.
//
// # What it does not keep
//
// Everything is bounded (Limits) and what is beyond a bound is counted (Loss).
// A process killed with signal 9 loses the spans of its last second, uncounted.
// Native histograms are not scraped. A busy lab (2,000 spans and fifteen scrapes
// a second) leaves about 40 MB a minute, nearly all of it spans at 0.35 KB each;
// docs/decisions/0001-embedded-backend.md has the other costs.
//
// # Rules for callers
//
// A target that is down stays a target, and its failed scrapes are counted in
// Loss.ScrapesFailed, also when it was killed on purpose. Targets that are about
// to be stopped for good are no outage: call StopScraping first, it takes their
// last values. OnAlert must not block: the rules wait for it.
package embedded
