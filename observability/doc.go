// Package observability makes a program observable: traces and logs over
// OTLP, metrics with exemplars on an HTTP handler, continuous profiles.
//
//	tel, err := observability.Setup(ctx, observability.ConfigFromEnv(os.Getenv))
//	if err != nil { ... }
//	defer tel.Shutdown(context.WithoutCancel(ctx))
//	mux.Handle("/metrics", tel.MetricsHandler())
//	ctx, span := tel.Tracer().Start(ctx, "place order")
//
// It owns the OpenTelemetry SDK, the metrics registry and the profiler; what
// telemetry is called is owned by package names, and what receives it by
// package embedded or by any collector.
//
// # What it promises
//
// Nothing global is set, so several programs can share a process, each with
// telemetry of its own. The one exception is the CPU profiler, of which a
// process has only one: the first Setup that asks gets it.
//
// Telemetry never holds the program up. Spans and log records wait in bounded
// queues (4,096 spans, 2,048 records) for a batch each second; when a queue is
// full, or the collector is missing, slow or refuses, they are dropped and
// counted in names.SpansDropped and names.LogsDropped by cause:
//
//	queue_full     no room: the collector is slower than the program
//	export_failed  the batch could not be handed over in time
//	rejected       the collector took the batch but refused these
//
// A span that ends in a process which is then killed is lost uncounted if its
// batch was not yet sent: up to the last second.
package observability
