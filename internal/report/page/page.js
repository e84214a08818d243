// Puts the sections onto the page.

head();
section('verdict', 'Verdict', 'Verdict', '', overview(), h('div', { class: 'grid' }, data.runs.map(verdictCard)));

if (data.runs.some(run => run.services.some(v => v.busy.length))) {
  section(
    'spread',
    'Spread',
    'How the failure spread',
    'A row for each service: those on the way to the fault first, callers above whom they call. A slow callee holds its callers’ workers, so the trouble climbs.',
    legend([
      ['ramp', '', 'workers busy, 0 to 100%'],
      ['', 'var(--queue)', 'queue, up to its limit'],
      ['topline', 'var(--blue)', 'requests turned away'],
      ...(data.runs.some(r => r.breakers.length)
        ? [
            ['', 'var(--bad)', 'breaker open'],
            ['', 'var(--slow)', 'half open'],
          ]
        : []),
    ]),
    cards(spreadCard),
  );
}

section(
  'load',
  'Load',
  'Load',
  'Each journey counts in the second in which it was due, and its latency counts from then. Failures that were answered count in the latency too: an error can be fast.',
  [...new Set(data.runs.flatMap(run => run.loads.map(l => l.name)))].map(loadBlock),
);

if (data.runs.some(run => run.edges.length)) {
  section(
    'topology',
    'Topology',
    'Topology',
    'Calls flow one way. Thicker lines: more calls a second. Red: errors above 1%. Dashed: a fault acts on the edge. The bar in a service: its busy workers. ≈ is as fine as the buckets of a histogram.',
    topologies(),
  );
}

section(
  'requests',
  'Requests',
  'Requests',
  'Failures by kind, and the slowest of each load. Open one for its trace: solid is the critical path, hatched is waiting for a worker, ● is a log line. Click a span or a log line for all of it.',
  h(
    'div',
    { class: 'stack' },
    data.runs.map(run => card(run, requestsCard(run))),
  ),
);

section(
  'events',
  'Events',
  'Events',
  'Alerts and what happened, in order. Times count from the start of the load.',
  cards(eventsCard),
);
section(
  'lab',
  'Lab',
  'The lab itself',
  'A lab that is short of breath measures itself. These figures say how far to trust the rest.',
  cards(labCard),
);

main.append(h('footer', {}, ['Faultline ' + data.version, data.machine].filter(Boolean).join(' · ')));
