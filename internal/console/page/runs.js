// The recorded runs: how scenarios fared from run to run, what was compared, and every run with its report.

const chosen = new Set(),
  mostChosen = 6,
  note = h('div', { class: 'kept', 'aria-live': 'polite' });
const side = h('button', { type: 'button', class: 'act', disabled: true, onclick: compare }, 'side by side');
async function compare() {
  side.disabled = true;
  note.replaceChildren(h('p', { class: 'soft small' }, 'Judging and drawing…'));
  try {
    const { url } = await ask('/api/compare', { runs: [...chosen] });
    note.replaceChildren(h('p', { class: 'small' }, h('a', { href: url }, 'open the comparison')));
    location.assign(url);
  } catch (e) {
    note.replaceChildren(h('p', { class: 'wrong', role: 'alert' }, e.error || String(e)));
  }
  choose();
}
function choose() {
  side.disabled = chosen.size < 2 || chosen.size > mostChosen;
  say(side, chosen.size > 1 ? `${chosen.size} side by side` : 'side by side');
}

const day = text => text.replace('T', ' ').slice(0, 16),
  reportOf = id => '/runs/' + encodeURIComponent(id) + '/report';

function row(r) {
  const box = h('input', {
    type: 'checkbox',
    'aria-label': 'choose ' + r.id,
    onchange: e => {
      if (e.target.checked) chosen.add(r.id);
      else chosen.delete(r.id);
      choose();
    },
  });
  const state =
    r.ended === 'running'
      ? h('a', { href: '/' }, 'runs now')
      : r.verdict
        ? badge(r.verdict)
        : h('span', { class: 'soft' }, r.ended);
  return h(
    'tr',
    { 'data-scenario': r.scenario },
    h('td', {}, r.ended !== 'running' && r.ended !== 'damaged' && box),
    h('td', {}, state),
    h(
      'td',
      { class: 'wide' },
      h('b', {}, r.scenario),
      ' ',
      h('span', { class: 'soft' }, r.variant),
      r.why && h('div', { class: 'soft small' }, r.why),
    ),
    h('td', { class: 'num' }, day(r.started)),
    h('td', { class: 'num' }, r.seconds ? seconds(r.seconds) : nothing),
    h('td', {}, r.report ? h('a', { href: reportOf(r.id) }, 'report') : h('span', { class: 'soft' }, 'none')),
    h('td', { class: 'mono small' }, r.id),
  );
}

function runsCard(runs) {
  const names = [...new Set(runs.map(r => r.scenario))].sort(),
    rows = runs.map(row);
  const pick = h(
    'select',
    {
      name: 'scenario',
      onchange: () => rows.forEach(r => (r.hidden = Boolean(pick.value) && r.dataset.scenario !== pick.value)),
    },
    h('option', { value: '' }, 'every scenario'),
    names.map(n => h('option', { value: n }, n)),
  );
  return part(
    'h-runs',
    'Runs',
    h(
      'div',
      { class: 'status' },
      h('label', { class: 'inline' }, 'scenario ', pick),
      side,
      h('span', { class: 'soft small' }, `Choose two to ${mostChosen} runs, of one variant or of several.`),
    ),
    note,
    table(
      'recorded runs, the newest first',
      ['', 'verdict', 'scenario', '#started', '#length', 'report', 'record'],
      rows,
    ),
  );
}

// --- trends: a row for each load of a variant, a small picture for each figure ---
const figuresShown = [
  { key: 'goodput', name: 'goodput', text: percent, top: () => 1 },
  { key: 'p99', name: 'p99', text: ms, top: most => most },
  { key: 'recovery', name: 'recovery', text: v => ms(missing(v) ? v : v * 1000), top: most => most },
];
function trendCard(t) {
  const loads = [...new Set(t.runs.flatMap(r => r.loads.map(l => l.load)))],
    first = t.runs[t.runs.length - 1].loads[0];
  return h(
    'article',
    { class: 'card trend', 'aria-label': `${t.scenario} ${t.variant} over ${counted(t.runs.length, 'run')}` },
    h('h3', {}, t.scenario, ' ', h('span', { class: 'soft' }, t.variant)),
    h(
      'p',
      { class: 'soft small' },
      `${counted(t.runs.length, 'run')}, ${first && first.in ? 'figures of the phase ' + first.in : 'figures of the whole run'}`,
    ),
    table(
      `figures of ${t.scenario} ${t.variant}, the latest run's as numbers`,
      ['load', ...figuresShown.map(f => f.name)],
      loads.map(load => [load, ...figuresShown.map(f => multiple(t, load, f))]),
    ),
  );
}
const verdictColor = { pass: 'var(--good)', fail: 'var(--bad)', inconclusive: 'var(--slow)' };
// multiple is one figure of one load over the runs: a dot each, in the colour of its verdict, on a scale of its own.
function multiple(t, load, f) {
  const width = 110,
    height = 34,
    points = t.runs.map(r => ({ run: r, v: (r.loads.find(l => l.load === load) || {})[f.key] })),
    known = points.filter(p => !missing(p.v));
  if (!known.length) return h('span', { class: 'soft' }, nothing);
  const top = Math.max(f.top(Math.max(...known.map(p => p.v))), 1e-9),
    x = i => 6 + (points.length < 2 ? (width - 12) / 2 : (i * (width - 12)) / (points.length - 1)),
    y = v => height - 5 - ((height - 10) * Math.min(v, top)) / top,
    latest = known[known.length - 1];
  const texts = known.map(p => `${day(p.run.started)}: ${f.text(p.v)}, ${p.run.verdict}`);
  return h(
    'span',
    { class: 'multiple' },
    s(
      'svg',
      {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: 'img',
        'aria-label': `${f.name} of ${load}, from 0 to ${f.text(top)}: ` + texts.join('; '),
      },
      s('line', { class: 'axis', x1: 0, x2: width, y1: height - 5, y2: height - 5 }),
      s('path', {
        class: 'trend-line',
        d: path(
          points.map((p, i) => [i, p.v]),
          x,
          y,
        ),
      }),
      points.map(
        (p, i) =>
          !missing(p.v) &&
          s(
            'a',
            { href: p.run.report ? reportOf(p.run.id) : null, 'aria-hidden': 'true', tabindex: -1 },
            s('circle', {
              cx: x(i).toFixed(1),
              cy: y(p.v).toFixed(1),
              r: 3.2,
              fill: verdictColor[p.run.verdict] || 'var(--soft)',
              onmousemove: e => showTip(e.clientX, e.clientY, `${p.run.id}\n${f.text(p.v)}, ${p.run.verdict}`),
              onmouseleave: hideTip,
            }),
          ),
      ),
    ),
    h('b', { class: 'num' }, f.text(latest.v)),
  );
}

// --- campaigns, and variants side by side ---
function collectionRow(c) {
  return h(
    'tr',
    {},
    h('td', {}, c.campaign ? 'campaign' : 'variants side by side'),
    h('td', { class: 'wide' }, h('b', {}, c.scenario), c.why && h('div', { class: 'soft small' }, c.why)),
    h('td', { class: 'num' }, c.started ? day(c.started) : nothing),
    h('td', { class: 'num' }, c.campaign ? count(c.runs) + (c.left ? `, ${count(c.left)} to go` : '') : nothing),
    h(
      'td',
      {},
      c.url
        ? h('a', { href: c.url.split('/').map(encodeURIComponent).join('/') }, 'results')
        : h('span', { class: 'soft' }, 'none yet'),
    ),
    h('td', { class: 'mono small' }, c.name),
  );
}

const part = (id, title, ...children) =>
  h('section', { class: 'card', 'aria-labelledby': id }, h('h2', { id }, title), ...children);
async function fillIn(place, path, draw) {
  try {
    place.replaceChildren(...[draw(await ask(path))].flat());
  } catch (e) {
    place.replaceChildren(h('p', { class: 'notice', role: 'alert' }, e.error || String(e)));
  }
}
const waiting = text => h('div', {}, h('p', { class: 'soft', role: 'status' }, text));
(async () => {
  document.title = 'Runs: Faultline';
  const runs = waiting('Reading the records…'),
    trends = waiting('Measuring the latest runs…'),
    sets = waiting('Looking for campaigns…');
  main.replaceChildren(
    h('h1', {}, 'Runs'),
    h(
      'div',
      { class: 'stackup' },
      runs,
      part('h-sets', 'Campaigns and comparisons', sets),
      part('h-trends', 'Trends', trends),
    ),
  );
  await fillIn(runs, '/api/runs', list =>
    list.length
      ? runsCard(list)
      : h(
          'p',
          { class: 'soft' },
          'No run is recorded yet. faultline run cascade-failure records one for each variant.',
        ),
  );
  await fillIn(sets, '/api/collections', list =>
    list.length
      ? table(
          'campaigns and comparisons, the newest first',
          ['', 'scenario', '#started', '#runs', 'report', 'name'],
          list.map(collectionRow),
        )
      : h(
          'p',
          { class: 'soft' },
          'None yet. faultline bench cascade-failure makes one: every variant again and again, with intervals.',
        ),
  );
  await fillIn(trends, '/api/trends', list =>
    list.length
      ? [
          h(
            'p',
            { class: 'soft small' },
            'A dot is a run, the latest on the right; its colour is the verdict. A click opens the report.',
          ),
          h('div', { class: 'trends' }, list.map(trendCard)),
        ]
      : h('p', { class: 'soft' }, 'No run has a verdict yet.'),
  );
})();
