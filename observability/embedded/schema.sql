-- telemetry.db: the traces and logs of one run. Ids are blobs, times are Unix
-- nanoseconds, attributes are JSON; the views spans and logs are for reading.

CREATE TABLE resource (
  id         INTEGER PRIMARY KEY,
  service    TEXT NOT NULL,
  instance   TEXT NOT NULL,
  attributes TEXT NOT NULL,
  UNIQUE (service, instance, attributes)
);

CREATE TABLE span (
  trace_id   BLOB NOT NULL,
  span_id    BLOB NOT NULL,
  parent_id  BLOB,              -- null for a root
  resource   INTEGER NOT NULL REFERENCES resource (id),
  name       TEXT NOT NULL,
  kind       INTEGER NOT NULL,  -- OTLP: 1 internal, 2 server, 3 client, 4 producer, 5 consumer
  start      INTEGER NOT NULL,
  "end"      INTEGER NOT NULL,
  error      INTEGER NOT NULL,
  message    TEXT,
  attributes TEXT,
  events     TEXT,
  links      TEXT
);
-- A sender that is unsure whether a batch arrived sends it again.
CREATE UNIQUE INDEX span_id ON span (trace_id, span_id);
CREATE INDEX span_start ON span (start);
CREATE INDEX span_resource ON span (resource, start);
CREATE INDEX span_error ON span (start) WHERE error = 1;

CREATE TABLE log (
  time       INTEGER NOT NULL,
  severity   INTEGER NOT NULL,  -- OTLP: 1 trace, 5 debug, 9 info, 13 warn, 17 error
  body       TEXT NOT NULL,
  resource   INTEGER NOT NULL REFERENCES resource (id),
  trace_id   BLOB,
  span_id    BLOB,
  attributes TEXT
);
CREATE INDEX log_time ON log (time);
CREATE INDEX log_resource ON log (resource, time);
CREATE INDEX log_trace ON log (trace_id) WHERE trace_id IS NOT NULL;

-- What was received, as it was received: gzipped Export*ServiceRequest messages.
CREATE TABLE otlp (
  id       INTEGER PRIMARY KEY,
  received INTEGER NOT NULL,
  signal   TEXT NOT NULL,       -- traces | logs
  records  INTEGER NOT NULL,
  body     BLOB NOT NULL
);

CREATE VIEW spans AS
SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, lower(hex(parent_id)) AS parent_id,
       service, instance, name,
       CASE kind WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'internal' END AS kind,
       strftime('%Y-%m-%dT%H:%M:%f', start / 1e9, 'unixepoch') AS start, ("end" - start) / 1e6 AS duration_ms,
       error, message, span.attributes, events, links
FROM span JOIN resource ON resource.id = span.resource;

CREATE VIEW logs AS
SELECT strftime('%Y-%m-%dT%H:%M:%f', time / 1e9, 'unixepoch') AS time,
       CASE WHEN severity >= 17 THEN 'ERROR' WHEN severity >= 13 THEN 'WARN' WHEN severity >= 9 THEN 'INFO' WHEN severity >= 1 THEN 'DEBUG' ELSE 'INFO' END AS severity,
       service, instance, body, lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, log.attributes
FROM log JOIN resource ON resource.id = log.resource;
