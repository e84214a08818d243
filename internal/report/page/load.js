// Goodput and latency of each load, the same scales for every run.

// firstFirings are the alerts that fired, each name once.
function firstFirings(run) {
  const seen = new Map();
  for (const a of run.alerts) if (!seen.has(a.name)) seen.set(a.name, a);
  return [...seen.values()];
}
const firingAt = (run, t) => [
  ...new Set(run.alerts.filter(a => t >= a.start && (a.end === null || t < a.end)).map(a => a.name)),
];

function goodputChart(run, load, top) {
  const sum = load.phases.reduce((a, p) => a + p.offered, 0);
  return chart(run, {
    height: 176,
    left: 46,
    label: `${load.name} in ${run.label}: what became of ${count(sum)} journeys, second by second`,
    draw: ({ x, top: y0, plot, left, inner, end }) => {
      const marks = ticks(top, 4),
        most = marks[marks.length - 1],
        y = v => y0 + plot - (plot * v) / most,
        out = [yAxis(marks, y, left, inner, String)];
      const step = inner / end,
        gap = step > 4 ? 1 : 0;
      out.push(outcomeBars(load.bins, { x: b => x(b.t), y, width: Math.max(0.6, step - gap) }));
      for (const a of firstFirings(run))
        out.push(
          s(
            'path',
            { class: 'alert-mark', d: `M${x(a.start).toFixed(1)} ${y0 + 5}l-4 -7h8z` },
            s('title', {}, `${a.name} fired at ${clock(a.start)}`),
          ),
        );
      return out;
    },
    read: t => {
      const b = load.bins[Math.floor(t)],
        firing = firingAt(run, t);
      return (
        (b
          ? `${clock(b.t)} ${phaseAt(run, t)}\n${b.offered} due: ${b.good} good, ${b.slow} slow, ${b.failed} failed`
          : `${clock(t)}: not reached`) + (firing.length ? '\nfiring: ' + firing.join(', ') : '')
      );
    },
  });
}

function latencyChart(run, load, low, high) {
  return chart(run, {
    height: 166,
    left: 46,
    label: `${load.name} in ${run.label}: p50 and p99 of the latency from due, second by second`,
    draw: ({ x, top: y0, plot, left, inner }) => {
      const span = Math.log10(high / low),
        y = v => y0 + plot - (plot * Math.log10(Math.min(Math.max(v, low), high) / low)) / span,
        marks = [];
      for (let v = low; v <= high * 1.001; v *= 10) marks.push(v);
      const line = key =>
        s('path', {
          class: 'line-' + key,
          d: path(
            load.bins.map(b => [b.t + 0.5, b[key]]),
            x,
            y,
          ),
        });
      return [
        yAxis(marks, y, left, inner, ms),
        load.slo >= low &&
          load.slo <= high && [
            s('line', { class: 'slo', x1: left, x2: left + inner, y1: y(load.slo), y2: y(load.slo) }),
            s(
              'text',
              { class: 'slo-label', x: left + inner - 2, y: y(load.slo) - 4, 'text-anchor': 'end' },
              'slo ' + ms(load.slo),
            ),
          ],
        line('p99'),
        line('p50'),
      ];
    },
    read: t => {
      const b = load.bins[Math.floor(t)];
      return b
        ? `due at ${clock(b.t)} ${phaseAt(run, t)}\np50 ${ms(b.p50)}\np99 ${ms(b.p99)}`
        : `${clock(t)}: not reached`;
    },
  });
}

function phaseTable(run, load) {
  const rows = load.phases
    .filter(p => p.offered > 0)
    .map(p => [
      p.name,
      count(p.offered),
      h('td', { class: 'num ' + shareClass(p.goodput) }, percent(p.goodput)),
      percent(p.success),
      ms(p.p50),
      ms(p.p99),
      ms(p.max),
    ]);
  return table(
    `${load.name} in ${run.label} by phase`,
    ['phase', '#due', '#goodput', '#success', '#p50', '#p99', '#max'],
    rows,
  );
}

function stepTable(run, load) {
  const rows = load.phases
    .filter(p => p.offered > 0 && p.steps)
    .flatMap(p =>
      p.steps.map((v, i) =>
        h(
          'tr',
          { class: i === 0 && 'first' },
          i === 0 && h('th', { scope: 'rowgroup', rowspan: p.steps.length }, p.name),
          h('td', {}, v.name),
          h('td', { class: 'num' }, count(v.requests)),
          h('td', { class: 'num ' + shareClass(v.success) }, percent(v.success)),
          h('td', { class: 'num' }, ms(v.p50)),
          h('td', { class: 'num' }, ms(v.p99)),
        ),
      ),
    );
  return (
    rows.length > 0 &&
    h(
      'details',
      { class: 'plain' },
      h('summary', {}, 'step by step'),
      table(`steps of ${load.name} in ${run.label}`, ['phase', 'step', '#requests', '#success', '#p50', '#p99'], rows),
    )
  );
}

function loadBlock(name) {
  const all = data.runs.map(run => [run, run.loads.find(l => l.name === name)]).filter(p => p[1]),
    about = all[0][1];
  const top = Math.max(1, ...all.flatMap(([, l]) => l.bins.map(b => b.offered)));
  const values = all.flatMap(([, l]) => l.bins.flatMap(b => [b.p50, b.p99]).concat(l.slo)).filter(v => v > 0);
  const low = Math.max(0.1, Math.pow(10, Math.floor(Math.log10(Math.min(...values, 10))))),
    high = Math.max(low * 10, Math.pow(10, Math.ceil(Math.log10(Math.max(...values, 10)))));
  const good = about.slo > 0 ? 'good: success within ' + ms(about.slo) : 'good: success';
  return h(
    'div',
    { class: 'load' },
    h('h3', {}, name, h('span', { class: 'soft' }, ' · ' + about.about)),
    legend([
      ['', 'var(--good)', good],
      ['', 'var(--slow)', 'slow'],
      ['', 'var(--bad)', 'failed'],
      ['stroke', 'var(--bad)', 'p99'],
      ['stroke', 'var(--blue)', 'p50'],
      ...(all.some(([r]) => r.alerts.length) ? [['triangle', '', 'an alert fires']] : []),
    ]),
    h(
      'div',
      { class: 'grid' },
      all.map(([run, load]) =>
        card(
          run,
          goodputChart(run, load, top),
          latencyChart(run, load, low, high),
          phaseTable(run, load),
          stepTable(run, load),
        ),
      ),
    ),
  );
}
