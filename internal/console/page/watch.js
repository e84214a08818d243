// Drawing what changes: each place keeps its elements and its size, and takes new figures.

const minutes = t => (t >= 60 ? Math.floor(t / 60) + 'm ' + Math.floor(t % 60) + 's' : t.toFixed(0) + 's');
function drawStatus() {
  const phase = run.phases.find(p => run.now >= p.start && run.now < p.end);
  say(parts.time, minutes(Math.max(0, run.now)) + (run.bench ? '' : ' of ' + minutes(run.length)));
  say(
    parts.phase,
    run.over
      ? 'coming to its end'
      : run.bench
        ? 'bench: until you stop it'
        : phase
          ? `${phase.name}, ${minutes(phase.end - run.now)} left`
          : '',
  );
  parts.trouble.hidden = !run.trouble;
  say(parts.trouble, run.trouble);
  for (const b of parts.controls) b.disabled = run.over;
}

// --- the topology ---
// snapshot is the run as the report's topology wants it: one phase, which is now.
function snapshot() {
  const active = run.faults.filter(f => f.active).map(f => ({ ...f, start: 0, end: 1 })),
    acting = new Map();
  for (const f of active) for (const e of f.edges) acting.set(e, [...(acting.get(e) || []), f.id]);
  return {
    label: 'this run',
    entry: run.entry,
    phases: [{ name: 'now', start: 0, end: 1 }],
    faults: active,
    services: run.services.map(v => {
      const now = run.servicesNow[v.name] || {};
      return {
        ...v,
        phases: { now: now.busy },
        down: missing(now.up) ? 0 : Math.max(0, v.replicas - now.up),
      };
    }),
    edges: run.edges.map(e => ({
      ...e,
      faults: acting.get(edgeName(e)) || [],
      phases: { now: run.edgesNow[edgeName(e)] || {} },
    })),
  };
}
function drawTopology() {
  const now = snapshot();
  parts.topology.update(now, 'now');
  if (parts.edgeTable.open) parts.edgeTable.update(now);
}

// edgesInNumbers is a table that is made when it is opened, and then only filled anew.
function edgesInNumbers() {
  const rows = new Map(),
    place = h('div', {});
  const box = h(
    'details',
    {
      class: 'plain',
      ontoggle: () => {
        if (box.open) box.update(snapshot());
      },
    },
    h('summary', {}, 'edges in numbers'),
    place,
  );
  const make = now => {
    const made = now.edges.map(e => {
      const acting = h('span', { class: 'bad' }),
        cells = [0, 1, 2, 3].map(() => h('td', { class: 'num' }));
      rows.set(edgeName(e), { acting, cells });
      return h('tr', {}, h('td', {}, h('span', { class: 'mono' }, e.caller + ' → ' + e.callee), acting), cells);
    });
    place.replaceChildren(
      table('edges over the last 5 seconds', ['edge', '#calls', '#errors', '#p99', '#attempts a call'], made, {
        class: 'edges',
      }),
    );
  };
  box.update = now => {
    if (!rows.size) make(now);
    for (const e of now.edges) {
      const { acting, cells } = rows.get(edgeName(e)),
        f = e.phases.now;
      say(acting, e.faults.map(id => ' ⚡︎ ' + id).join(''));
      const texts = [rate(f.rate), percent(f.errors), ms(f.p99), times(f.amplification)],
        bad = [false, f.errors > hot, false, f.amplification > 1.2];
      texts.forEach((text, i) => {
        say(cells[i], text);
        change(cells[i], { class: 'num' + (bad[i] ? ' bad' : '') });
      });
    }
  };
  return box;
}

// --- loads ---
function drawLoads() {
  const v = view();
  for (const card of parts.loads) card.update(v);
}
// loadCard shows what became of a load's journeys, and how long they took, second by second.
function loadCard(l) {
  let v = view(),
    bins = [];
  const share = h('span', {}),
    readAt = t => bins[Math.floor(t)],
    when = t => clock(Math.floor(t) + v.from) + (phaseAt(v, t) ? ' ' + phaseAt(v, t) : '');
  const journeys = chart(() => v, {
    height: 150,
    left: 46,
    label: `${l.name}: what became of the journeys, second by second`,
    draw: ({ x, top: y0, plot, left, inner, end }) => {
      const marks = ticks(Math.max(1, ...bins.map(b => (b ? b.offered : 0))), 3),
        y = n => y0 + plot - (plot * n) / marks[marks.length - 1],
        step = inner / end;
      return [
        yAxis(marks, y, left, inner, String),
        outcomeBars(bins, { x: b => x(b.t - v.from), y, width: Math.max(0.6, step - (step > 4 ? 1 : 0)) }),
      ];
    },
    read: t => {
      const b = readAt(t);
      return b ? `${when(t)}\n${b.offered} due: ${b.good} good, ${b.slow} slow, ${b.failed} failed` : when(t);
    },
  });
  const latency = chart(() => v, {
    height: 170,
    left: 46,
    label: `${l.name}: how long the journeys took, second by second`,
    draw: ({ x, top: y0, plot, left, inner, end }) =>
      latencyMap(l, bins, { x, y0, plot, left, inner, step: inner / end, from: v.from }),
    read: t => {
      const b = readAt(t);
      return b ? `due at ${when(t)}\np50 ${ms(b.p50)}\np99 ${ms(b.p99)}` : when(t);
    },
  });
  const card = h(
    'article',
    { class: 'card', 'aria-label': 'load ' + l.name },
    h(
      'h3',
      {},
      l.name,
      h('span', { class: 'soft' }, ` · ${l.about} · `),
      share,
      h('span', { class: 'soft' }, ' over 5 s'),
    ),
    journeys,
    latency,
  );
  card.update = now => {
    v = now;
    bins = [];
    const end = runEnd(v);
    for (let t = 0; t < end; t++) bins.push(l.at.get(Math.floor(v.from) + t) || null);
    const last = bins
      .slice(0, Math.max(0, Math.floor(run.now - v.from)))
      .filter(Boolean)
      .slice(-5);
    const offered = last.reduce((a, b) => a + b.offered, 0),
      good = offered ? last.reduce((a, b) => a + b.good, 0) / offered : null;
    change(share, { class: shareClass(good) });
    say(share, percent(good) + ' good');
    journeys.redraw();
    latency.redraw();
  };
  return card;
}

const shades = 8;
// latencyMap is a row for each range of latency: the darker, the more journeys took that long; over it p99 and the slo.
function latencyMap(l, bins, { x, y0, plot, left, inner, step, from }) {
  const bounds = run.buckets,
    seen = bins.filter(Boolean),
    used = seen.flatMap(b => b.heat.map((n, i) => (n > 0 ? i : -1))).filter(i => i >= 0);
  const sloRow = bounds.findIndex(v => v >= l.slo),
    low = Math.max(0, Math.min(...used, sloRow < 0 ? 99 : sloRow) - 1),
    high = Math.min(bounds.length, Math.max(low + 4, ...used, sloRow) + 1);
  const rows = high - low + 1,
    size = plot / rows,
    y = i => y0 + plot - (i - low + 1) * size;
  // where a latency lies between the bounds of its row
  const place = v => {
    const i = bounds.findIndex(b => b >= v),
      row = i < 0 ? bounds.length : i,
      start = row === 0 ? 0 : bounds[row - 1],
      to = i < 0 ? v : bounds[row];
    return y(row) + size * (1 - (to > start ? (v - start) / (to - start) : 0));
  };
  const out = [],
    cells = Array.from({ length: shades + 1 }, () => []);
  for (let i = low; i <= high && i < bounds.length; i += Math.max(1, Math.ceil(rows / 6)))
    out.push(s('text', { x: left - 6, y: y(i) + 4, 'text-anchor': 'end' }, ms(bounds[i])));
  for (const b of seen)
    b.heat.forEach((n, i) => {
      if (n > 0 && i >= low && i <= high)
        cells[Math.ceil(shades * Math.sqrt(n / Math.max(1, b.offered)))].push({
          x: x(b.t - from),
          y: y(i),
          w: step + 0.3,
          h: size + 0.3,
        });
    });
  cells.forEach((list, i) =>
    out.push(boxes({ class: 'heatcell', opacity: (0.12 + (0.78 * i) / shades).toFixed(2) }, list)),
  );
  if (l.slo > 0 && sloRow >= 0)
    out.push(
      s('line', { class: 'slo', x1: left, x2: left + inner, y1: place(l.slo), y2: place(l.slo) }),
      s(
        'text',
        { class: 'slo-label', x: left + inner - 2, y: place(l.slo) - 4, 'text-anchor': 'end' },
        'slo ' + ms(l.slo),
      ),
    );
  out.push(
    s('path', {
      class: 'line-p99',
      d: path(
        bins.map((b, t) => [t + 0.5, b ? b.p99 : null]),
        x,
        place,
      ),
    }),
  );
  return out;
}

// --- policies ---
// policyTable has a row for each policy of the run, which does not change; its states do.
function policyTable() {
  if (!run.policies.length)
    return h('p', { class: 'empty' }, 'This run has no policies: nothing limits what a failure can do.');
  const rows = run.policies.map(p => {
    const state = h('td', {}),
      refused = h('td', { class: 'num' }),
      row = h(
        'tr',
        {},
        h('td', { class: 'mono' }, arrow(p.on)),
        h('td', { title: p.about }, p.policy.replace(/_/g, ' ')),
        state,
        refused,
      );
    return { p, state, refused, row };
  });
  const box = h(
    'div',
    {},
    table(
      'policies now',
      ['on', 'policy', 'state or limit', '#refused'],
      rows.map(r => r.row),
    ),
  );
  box.update = () => {
    const now = new Map(run.policyNow.map(p => [p.on + ' ' + p.policy, p]));
    for (const { p, state, refused, row } of rows) {
      const n = now.get(p.on + ' ' + p.policy) || {},
        breaker = p.policy === 'circuit_breaker',
        open = breaker && n.state >= 2;
      const text = missing(n.state)
        ? nothing
        : breaker
          ? ['closed', 'half open', 'open'][Math.round(n.state)] || String(n.state)
          : significant(n.state);
      say(state, text);
      change(state, { class: open ? 'bad' : breaker && n.state >= 1 ? 'slow' : '' });
      change(row, { class: open ? 'open' : '' });
      say(refused, rate(n.rejected));
      change(refused, { class: 'num' + (n.rejected > 0 ? ' slow' : '') });
    }
  };
  return box;
}
function drawPolicies() {
  if (parts.policies.update) parts.policies.update();
}

// --- requests and events: lists that stand still while somebody reads them ---
const isRead = place =>
  place.matches(':hover') || (place.contains(document.activeElement) && place.matches(':has(:focus-visible)'));
function drawRequests() {
  const n = run.waiting.requests,
    held = parts.requests.querySelector('details[open]') || isRead(parts.requests);
  if (!n) return;
  if (held && parts.requests.querySelector('details')) {
    say(parts.moreRequests, counted(n, 'newer one') + ': show');
    change(parts.moreRequests, { style: '' });
    return;
  }
  showRequests();
}
// showRequests puts the new ones on top of those that stand there.
function showRequests() {
  const fresh = run.requests.slice(-run.waiting.requests).reverse(),
    empty = parts.requests.querySelector('.empty');
  run.waiting.requests = 0;
  change(parts.moreRequests, { style: 'visibility:hidden' });
  if (empty) empty.remove();
  const first = fresh.slice(0, oneFrame).map(liveRequest);
  parts.requests.prepend(...first);
  if (fresh.length > oneFrame)
    parts.later.push(() => {
      first.at(-1).after(...fresh.slice(oneFrame).map(liveRequest));
      trimRequests();
    });
  trimRequests();
  if (!parts.requests.contains(document.activeElement)) stopAt(parts.requests.querySelector('summary'));
}
const oneFrame = 60; // requests that are drawn in one frame; a page that is opened late comes with more
function trimRequests() {
  while (parts.requests.childElementCount > keepRequests) parts.requests.lastElementChild.remove();
}
// The list is one stop of the tab key; the arrow keys lead from request to request.
function stopAt(summary) {
  for (const other of parts.requests.querySelectorAll('.request > summary[tabindex="0"]')) other.tabIndex = -1;
  if (summary) summary.tabIndex = 0;
}
function requestKeys(e) {
  if (!e.target.matches('.request > summary')) return;
  const rows = [...parts.requests.querySelectorAll('.request > summary')],
    at = rows.indexOf(e.target),
    to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[e.key];
  if (to === undefined) return;
  e.preventDefault();
  if (rows[to]) rows[to].focus();
}
function liveRequest(r) {
  const box = h('div', {}, h('p', { class: 'soft small', role: 'status' }, 'Asking for the trace…'));
  const load = async () => {
    if (!r.trace) {
      box.replaceChildren(h('p', { class: 'soft small' }, 'The request has no trace.'));
      return;
    }
    try {
      run.traces[r.trace] = await ask('/api/trace/' + encodeURIComponent(r.trace));
      box.replaceChildren(waterfall(run, r));
    } catch (e) {
      box.replaceChildren(
        h('p', { class: 'soft small' }, e.error + ' ', h('button', { type: 'button', onclick: load }, 'ask again')),
      );
    }
  };
  let asked = false;
  const request = h(
    'details',
    {
      class: 'request',
      ontoggle: e => {
        if (e.target.open && !asked) load();
        asked = e.target.open;
      },
    },
    requestSummary(
      r,
      h('b', {}, r.load + ' '),
      r.ok ? h('span', { class: 'slow' }, 'slow') : h('span', { class: 'bad' }, r.error || 'status ' + r.status),
    ),
    box,
  );
  request.firstElementChild.tabIndex = -1;
  return request;
}

// profileHere asks for the profile of a span's service at its time.
async function profileHere(trace, v) {
  const query = new URLSearchParams({
    service: v.service,
    instance: v.instance || '',
    at: trace.at + v.start / 1000,
    ms: v.ms,
  });
  return { ...(await ask('/api/profile?' + query)), url: '/profile.pb.gz?' + query };
}

function drawEvents() {
  if (!run.waiting.events || isRead(parts.events)) return;
  run.waiting.events = 0;
  const shown = run.events
    .filter(e => e.kind !== 'process' || !/^(started|ready)$/.test(e.text))
    .slice(-60)
    .reverse();
  parts.events.replaceChildren(
    ...(shown.length
      ? shown.map(e =>
          h(
            'li',
            {},
            h('span', { class: 'num soft' }, clock(e.t)),
            h(
              'span',
              {},
              h('b', {}, e.name),
              ' ' + e.text,
              h('span', { class: 'soft' }, ' · ' + e.kind),
              e.detail && h('div', { class: 'soft small' }, e.detail),
            ),
          ),
        )
      : [h('li', { class: 'empty' }, 'Nothing happened yet.')]),
  );
}

// --- logs: new lines are added at the end ---
const severities = ['DEBUG', 'INFO', 'WARN', 'ERROR'],
  shownLogs = 200;
function fitting() {
  const text = parts.logText.value.toLowerCase(),
    service = parts.logService.value,
    least = severities.indexOf(parts.logSeverity.value);
  return l =>
    (!service || l.service === service) &&
    severities.indexOf(l.severity) >= least &&
    (!text || (l.body + ' ' + l.service + ' ' + JSON.stringify(l.attributes || {})).toLowerCase().includes(text));
}
function drawLogs() {
  if (!parts.logText) return; // they come a frame later
  const place = parts.logs,
    fresh = run.waiting.logs;
  if (fresh === null) {
    filterLogs();
    return;
  }
  run.waiting.logs = [];
  const lines = fresh.filter(fitting()).slice(-shownLogs);
  if (!lines.length) return;
  const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 30,
    empty = place.querySelector('.empty');
  if (empty) empty.remove();
  place.append(...lines.map(logLine));
  while (place.childElementCount > shownLogs) place.firstElementChild.remove();
  if (atEnd) place.scrollTop = place.scrollHeight;
}
// filterLogs shows all lines that fit, anew.
function filterLogs() {
  run.waiting.logs = [];
  const shown = run.logs.filter(fitting()).slice(-shownLogs);
  parts.logs.replaceChildren(
    ...(shown.length
      ? shown.map(logLine)
      : [h('p', { class: 'empty' }, run.logs.length ? 'No line fits the filter.' : 'No log line has arrived yet.')]),
  );
  parts.logs.scrollTop = parts.logs.scrollHeight;
}
const logLine = l =>
  h(
    'div',
    { class: 'logline' },
    h('span', { class: 'num' }, clock(l.t)),
    h('span', { class: 'sev ' + severityClass(l.severity) }, l.severity),
    h('span', { class: 'svc' }, l.service),
    h(
      'span',
      {},
      l.body,
      Object.entries(l.attributes || {}).map(([k, v]) =>
        h('span', { class: 'soft' }, ` ${k}=${typeof v === 'object' ? JSON.stringify(v) : v}`),
      ),
    ),
  );
