// The head of the page, the overview of all runs, and each run's expectations.

function head() {
  const first = data.runs[0],
    length = first && runEnd(first);
  const facts = [
    data.system && 'system ' + data.system,
    counted(data.runs.length, data.runs.length > 1 ? 'run' : 'run'),
    length && 'each ' + ms(length * 1000),
    first && 'seed ' + first.seed,
    data.started,
  ].filter(Boolean);
  main.append(
    h(
      'div',
      { class: 'head' },
      h('h1', {}, data.scenario + ' ', badge(data.outcome)),
      data.about && h('p', { class: 'story' }, data.about),
      faultList(),
      h(
        'p',
        { class: 'soft small' },
        facts.join(' · '),
        data.sources.length > 0 && h('span', {}, ' · Source: ' + data.sources.join('; ')),
      ),
    ),
  );
}

// faultList says what was broken, once for all runs that broke the same.
function faultList() {
  const seen = new Map();
  for (const run of data.runs)
    for (const f of run.faults) seen.set([f.id, f.kind, f.target, f.params, f.start, f.end].join('|'), f);
  return h(
    'ul',
    { class: 'faults' },
    [...seen.values()].map(f =>
      h(
        'li',
        {},
        h('span', { class: 'flash', 'aria-hidden': 'true' }, '⚡︎ '),
        h('b', {}, f.id),
        ': ' + f.kind.replace(/_/g, ' ') + ' on ' + arrow(f.target),
        f.params && h('span', { class: 'soft' }, ' (' + f.params + ')'),
        ', ' + seconds(f.start) + ' to ' + seconds(f.end),
      ),
    ),
  );
}

// overview has a row for each load and run: goodput by phase, and the recovery.
function overview() {
  const phases = [],
    loads = [];
  for (const run of data.runs) {
    for (const p of run.phases) if (p.name !== 'warmup' && !phases.some(q => q.name === p.name)) phases.push(p);
    for (const l of run.loads) if (!loads.includes(l.name)) loads.push(l.name);
  }
  const cell = p =>
    p && p.offered > 0
      ? h(
          'td',
          { class: 'num share ' + shareClass(p.goodput), style: `--v:${missing(p.goodput) ? 0 : p.goodput}` },
          h('b', {}, percent(p.goodput)),
          h('span', { class: 'p99' }, 'p99 ' + ms(p.p99)),
        )
      : h('td', { class: 'num soft' }, nothing);
  const rows = loads.flatMap(name => {
    const having = data.runs.map(run => [run, run.loads.find(l => l.name === name)]).filter(p => p[1]);
    return having.map(([run, load], i) =>
      h(
        'tr',
        { class: i === 0 && 'first' },
        i === 0 && h('th', { scope: 'rowgroup', rowspan: having.length }, name),
        h('th', { scope: 'row', class: 'soft' }, run.label),
        phases.map(p => cell(load.phases.find(q => q.name === p.name))),
        h('td', { class: 'num' }, load.recovery === 'unknown' ? nothing : load.recovery),
      ),
    );
  });
  return h(
    'div',
    { class: 'card overview' },
    table(
      'goodput by load, variant and phase',
      ['load', 'variant', ...phases.map(p => '#' + (p.fault ? '⚡︎ ' : '') + p.name), '#recovered after'],
      rows,
    ),
    h(
      'p',
      { class: 'soft small' },
      'Goodput: the share of the journeys that came due in a phase and ended with success within the slo, however the system felt about it. Latency counts from due.',
    ),
  );
}

function finding(f) {
  return h(
    'tr',
    {},
    h(
      'td',
      { class: 'mark ' + outcomeClass[f.outcome] },
      h('span', { role: 'img', 'aria-label': f.outcome }, outcomeMark[f.outcome]),
    ),
    h(
      'td',
      { title: f.meaning },
      arrow(f.what),
      f.wants && [' ', h('b', {}, f.wants)],
      h('span', { class: 'soft' }, f.in ? ' in ' + f.in : ' over the run'),
      h('div', { class: 'mono soft that' }, f.that),
      f.why && f.outcome !== 'pass' && h('div', { class: 'why ' + outcomeClass[f.outcome] }, f.why),
    ),
    h('td', { class: 'num ' + (f.outcome === 'pass' ? '' : outcomeClass[f.outcome]) }, h('b', {}, f.value)),
  );
}

// violationList names what is broken, by invariant: orders, keys and traces, and the requests whose traces were kept.
const firstViolations = 5;
function violationList(run) {
  const kinds = new Map();
  for (const v of run.violations) kinds.set(v.invariant, [...(kinds.get(v.invariant) || []), v]);
  const listed = run.broken > run.violations.length ? `, ${run.violations.length} of them here` : '';
  const list = some =>
    h(
      'ul',
      { class: 'reasons' },
      some.map(v => violationItem(run, v)),
    );
  return h(
    'details',
    { class: 'plain violations', open: true },
    h('summary', {}, counted(run.broken, 'broken invariant') + listed),
    [...kinds].map(([name, all]) => [
      h('h4', {}, name, h('span', { class: 'soft' }, ' · ' + count(all.length))),
      list(all.slice(0, firstViolations)),
      all.length > firstViolations &&
        h(
          'details',
          { class: 'plain' },
          h('summary', {}, `${count(all.length - firstViolations)} more of ${name}`),
          list(all.slice(firstViolations)),
        ),
    ]),
  );
}
const violationItem = (run, v) =>
  h(
    'li',
    {},
    v.detail,
    h(
      'div',
      { class: 'mono soft that' },
      [...v.keys, ...v.clients.map(k => 'key ' + k)].join(', '),
      v.traces.map((t, i) => [
        i > 0 || v.keys.length + v.clients.length > 0 ? ', ' : '',
        'trace ' + t,
        inGrafana(run, t),
      ]),
    ),
    v.requests.map(r => requestRow(run, { ...r, faults: '' }, r.ok ? 'ok, ' + r.status + ':' : r.error + ':')),
  );

// grafanaLinks lead from each stretch of the run to the dashboards and the logs of that time.
const grafanaLinks = run =>
  h(
    'details',
    { class: 'plain', open: true },
    h('summary', {}, 'In Grafana'),
    h(
      'ul',
      { class: 'chain grafana' },
      run.grafana.windows.map(w =>
        h(
          'li',
          {},
          h('b', {}, (w.fault ? '⚡︎ ' : '') + w.name),
          [
            ['lab', w.lab],
            ['services', w.services],
            ['edges', w.edges],
            ['logs', w.logs],
          ].map(([name, address], i) => [i > 0 ? ' · ' : ': ', elsewhere(address, name)]),
        ),
      ),
    ),
  );

// sharesTable has an experiment beside its control, phase by phase.
function sharesTable(run) {
  const several = new Set(run.shares.map(s => s.load)).size > 1,
    cell = (text, more) => h('td', { class: 'num' }, h('b', {}, text), more && h('div', { class: 'soft small' }, more)),
    share = s => cell(s.goodput, `p99 ${s.p99}, of ${count(s.due)}`);
  return [
    h('h4', { class: 'shares' }, 'Goodput of experiment and control', several ? '' : ' · ' + run.shares[0].load),
    table(
      'experiment beside control of ' + run.label,
      [...(several ? ['load'] : []), 'phase', '#experiment', '#control', '#difference'],
      run.shares.map(s => [
        ...(several ? [s.load] : []),
        s.phase,
        share(s.experiment),
        share(s.control),
        cell(s.difference, s.interval),
      ]),
    ),
  ];
}

function verdictCard(run) {
  return h(
    'article',
    { class: 'card', 'aria-label': run.label },
    h('h3', {}, run.label + ' ', badge(run.outcome)),
    run.about && h('p', { class: 'soft' }, run.about),
    h('p', {}, run.says),
    run.reasons.length > 0 &&
      h(
        'ul',
        { class: 'reasons' },
        run.reasons.map(r => h('li', {}, r)),
      ),
    run.findings.length > 0 &&
      table('expectations of ' + run.label, ['', 'expected', '#measured'], run.findings.map(finding)),
    run.shares && run.shares.length > 0 && sharesTable(run),
    run.settings && h('p', { class: 'settings' }, 'Run with ', h('code', {}, run.settings)),
    run.violations && run.violations.length > 0 && violationList(run),
    run.policies.length > 0 &&
      h(
        'details',
        { class: 'plain' },
        h('summary', {}, counted(run.policies.length, 'policy').replace('policys', 'policies') + ' of this variant'),
        h(
          'ul',
          { class: 'chain' },
          run.policies.map(p =>
            h(
              'li',
              {},
              h('b', {}, arrow(p.on)),
              ' ',
              p.chain.map((c, i) => [i > 0 && ' › ', h('span', { class: 'mono' }, c)]),
            ),
          ),
        ),
      ),
    run.grafana && grafanaLinks(run),
  );
}
