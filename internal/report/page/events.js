// When alerts fired, what happened, and how the lab itself was doing.

// alertStrip has a row for each alert, with a bar for each time it fired.
function alertStrip(run) {
  if (!run.alerts.length) return h('p', { class: 'soft' }, 'No alert fired.');
  const names = [...new Set(run.alerts.map(a => a.name))],
    rowHeight = 20,
    top = 20,
    height = top + names.length * rowHeight + 22,
    rest = reached(run);
  const strip = draws(height, width => {
    const left = Math.min(150, Math.max(96, width * 0.26)),
      inner = width - left - 8,
      end = runEnd(run),
      x = t => left + (inner * Math.max(0, Math.min(end, t))) / end;
    const root = s(
      'svg',
      {
        viewBox: `0 0 ${width} ${height}`,
        height,
        role: 'img',
        'aria-label': 'When alerts fired. The table below has the times.',
      },
      bands(run, x, top, height - top - 22),
    );
    names.forEach((name, i) => {
      const y = top + i * rowHeight;
      root.append(
        s(
          'text',
          { class: 'row-label', x: left - 8, y: y + 14, 'text-anchor': 'end' },
          short(name, Math.floor((left - 10) / 7.3)),
          s('title', {}, name),
        ),
      );
      for (const a of run.alerts.filter(v => v.name === name))
        root.append(
          s('rect', {
            class: 'alert ' + (a.severity === 'page' ? 'page' : ''),
            x: x(a.start),
            y: y + 4,
            width: Math.max(2, x(a.end === null ? rest : a.end) - x(a.start)),
            height: rowHeight - 8,
            rx: 2,
            onmousemove: e => showTip(e.clientX, e.clientY, alertText(a)),
            onmouseleave: hideTip,
          }),
        );
    });
    root.append(...timeAxis(run, x, height - 22, width));
    return root;
  });
  return [
    strip,
    h(
      'details',
      { class: 'plain' },
      h('summary', {}, counted(run.alerts.length, 'firing') + ' in numbers'),
      table(
        'alerts of ' + run.label,
        ['alert', 'on', '#fired', '#for'],
        run.alerts.map(a => [
          a.name,
          arrow(a.on) || nothing,
          clock(a.start),
          a.end === null ? 'to the end' : seconds(a.end - a.start),
        ]),
      ),
    ),
  ];
}
const alertText = a =>
  [a.name, a.on && 'on ' + arrow(a.on), `${clock(a.start)} to ${a.end === null ? 'the end' : clock(a.end)}`]
    .filter(Boolean)
    .join('\n');

const eventMark = { phase: '▸', fault: '⚡︎', health: '✗', process: '·', audit: '✓', abort: '✗', note: '·' };
function eventRow(e) {
  const bad =
    e.kind === 'abort' ||
    e.kind === 'health' ||
    /^(not |exited)/.test(e.text) ||
    (e.kind === 'audit' && e.text !== 'settled');
  return h(
    'tr',
    { class: e.kind === 'phase' && 'phase' },
    h('td', { class: 'num soft' }, clock(e.t)),
    h('td', { class: bad ? 'bad' : 'soft', 'aria-hidden': 'true' }, eventMark[e.kind] || '·'),
    h(
      'td',
      {},
      e.kind === 'phase' ? h('b', {}, e.name) : [h('b', {}, e.name), ' ', h('span', { class: bad && 'bad' }, e.text)],
      e.detail && h('div', { class: 'soft small' }, arrow(e.detail)),
    ),
  );
}
const eventsCard = run => [
  alertStrip(run),
  table('events of ' + run.label, ['#time', '', 'what happened'], run.events.map(eventRow), { class: 'events' }),
];

function labCard(run) {
  return [
    table(
      'the lab during ' + run.label,
      ['figure', '#value'],
      run.facts.map(f => [f.name, f.value]),
      { class: 'facts' },
    ),
    run.notes.length > 0 &&
      h(
        'ul',
        { class: 'notes' },
        run.notes.map(n => h('li', {}, n)),
      ),
    run.processes.length > 0 &&
      h(
        'details',
        { class: 'plain' },
        h('summary', {}, counted(run.processes.length, 'process').replace('processs', 'processes')),
        table(
          'processes of ' + run.label,
          ['process', '#cores, mean', '#resident memory, most'],
          run.processes.map(p => [p.name, p.cores.toFixed(3), Math.round(p.mb) + ' MB']),
        ),
      ),
    h('p', { class: 'small soft' }, 'Judge it again: ', h('code', {}, 'faultline check ' + run.id)),
  ];
}
