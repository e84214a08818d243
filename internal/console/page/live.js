// The live page: what the server sends once a second, drawn, and what one can do to the run.
const token = document.querySelector('meta[name=faultline-token]').content;
const remembered = () => { try { return localStorage.getItem('faultline-theme'); } catch { return null; } };
if (remembered()) document.documentElement.dataset.theme = remembered();
document.getElementById('theme').addEventListener('click', () => {
  const theme = document.documentElement.dataset, dark = theme.theme ? theme.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  theme.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('faultline-theme', theme.theme); } catch { /* then it is not remembered */ }
});

const keepRequests = 200, keepLogs = 600, keepEvents = 300;
let run = null; // what is known of the run, in the shape in which the report draws it
let catalog = [];
let parts = null; // the places that are drawn anew
let span = 120; // seconds shown of a run without an end

// --- asking the server ---
async function ask(path, body) {
  const options = body === undefined ? {} : { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Faultline-Token': token }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw { error: 'the lab does not answer' };
  }
  const text = await response.text();
  let answer;
  try { answer = JSON.parse(text); } catch { answer = { error: text || response.statusText }; }
  if (!response.ok) throw answer;
  return answer;
}

// --- the connection ---
const connection = h('span', { class: 'state', role: 'status' }, 'connecting');
function connected(kind, text) {
  connection.setAttribute('class', 'state ' + kind);
  if (connection.textContent !== text) connection.textContent = text;
}
function connect() {
  const source = new EventSource('/api/live');
  source.addEventListener('state', e => { connected('on', 'live'); begin(JSON.parse(e.data)); });
  source.addEventListener('tick', e => { connected('on', 'live'); if (run) { take(JSON.parse(e.data), false); drawAll(); } });
  source.addEventListener('over', () => { if (run) { run.over = true; drawAll(); } });
  source.addEventListener('bye', e => {
    source.close();
    connected('', 'ended');
    main.prepend(h('p', { class: 'notice fine', role: 'status' }, JSON.parse(e.data).text));
    for (const b of main.querySelectorAll('button.act, button.danger')) b.disabled = true;
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) { connected('lost', 'connection lost; trying again'); setTimeout(connect, 2000); } else connected('lost', 'connection lost; trying again');
  };
}

// --- what is known ---
function begin(state) {
  run = null;
  if (!state.run) {
    main.replaceChildren(h('div', { class: 'status' }, connection), h('p', { class: 'soft', role: 'status' }, 'Nothing runs yet: the system is starting. This page follows by itself.'));
    parts = null;
    return;
  }
  run = { ...state.run, label: state.run.variant, now: 0, over: false, faults: [], events: [], requests: [], logs: [], policyNow: [], traces: {}, alerts: [], pinned: new Set() };
  run.loads.forEach(l => { l.at = new Map(); l.rate = 0; });
  take(state.tick, true);
  build();
  drawAll();
}
function take(tick, whole) {
  run.now = tick.t; run.over = tick.over; run.trouble = tick.trouble || '';
  for (const l of run.loads) {
    const t = tick.loads[l.name];
    if (!t) continue;
    l.rate = t.rate;
    t.bins.forEach(b => l.at.set(b.t, b));
  }
  run.servicesNow = tick.services || run.servicesNow || {}; run.edgesNow = tick.edges || run.edgesNow || {};
  run.policyNow = tick.policies; run.faults = tick.faults;
  const add = (list, fresh, most) => (whole ? fresh : list.concat(fresh)).slice(-most);
  run.requests = add(run.requests, tick.requests, keepRequests);
  run.events = add(run.events, tick.events, keepEvents);
  run.logs = add(run.logs, tick.logs, keepLogs);
  run.newRequests = whole || tick.requests.length > 0; run.newLogs = whole || tick.logs.length > 0; run.newEvents = whole || tick.events.length > 0;
}

// view is the run as charts over time want it: shifted so that what is shown begins at 0.
function view() {
  let from = 0, end = run.length;
  if (run.bench || end > 600) { end = Math.max(span, Math.ceil(run.now)); from = end - span; }
  const clip = p => ({ ...p, start: Math.max(0, p.start - from), end: Math.min(end - from, p.end - from) });
  const happened = run.faults.filter(f => f.state !== 'planned' || !run.bench).map(f => f.active ? { ...f, end: run.bench ? Math.max(run.now, f.start + .5) : f.end } : f);
  const phases = run.bench ? [{ name: '', start: 0, end: end - from }] : run.phases.map(clip).filter(p => p.end > 0 && p.start < end - from);
  return { label: run.variant, from, phases, faults: happened.map(clip).filter(f => f.end > 0 && f.start < end - from), loads: [{ bins: [{ t: end - from - 1 }] }] };
}

// --- drawing what changes ---
// fresh puts something new in a place, unless somebody reads there right now.
function fresh(place, draw) {
  if (place.contains(document.activeElement) && place.matches(':has(:focus-visible)') || (!tip.hidden && place.matches(':hover'))) return;
  place.replaceChildren(...[draw()].flat(9).filter(Boolean));
}
function drawAll() {
  if (!parts || document.hidden) return;
  drawStatus();
  fresh(parts.topology, drawTopology);
  fresh(parts.loads, () => run.loads.map(drawLoad));
  drawFaults();
  drawRates();
  fresh(parts.policies, drawPolicies);
  if (run.newRequests) drawRequests();
  if (run.newEvents) fresh(parts.events, drawEvents);
  if (run.newLogs) drawLogs();
}
document.addEventListener('visibilitychange', () => { if (run && parts) { run.newRequests = run.newEvents = run.newLogs = true; drawAll(); } });

const minutes = t => t >= 60 ? Math.floor(t / 60) + 'm ' + Math.floor(t % 60) + 's' : t.toFixed(0) + 's';
function drawStatus() {
  const phase = run.phases.find(p => run.now >= p.start && run.now < p.end);
  parts.time.textContent = minutes(Math.max(0, run.now)) + (run.bench ? '' : ' of ' + minutes(run.length));
  parts.phase.textContent = run.over ? 'coming to its end' : run.bench ? 'bench: until you stop it' : phase ? `${phase.name}, ${minutes(phase.end - run.now)} left` : '';
  parts.trouble.hidden = !run.trouble;
  parts.trouble.textContent = run.trouble;
  for (const b of parts.controls) b.disabled = run.over;
}

// drawTopology draws with the report's code: one phase, which is now.
function drawTopology() {
  const active = run.faults.filter(f => f.active).map(f => ({ ...f, start: 0, end: 1 }));
  const snapshot = {
    label: 'this run', entry: run.entry, phases: [{ name: 'now', start: 0, end: 1 }], faults: active,
    services: run.services.map(v => ({ ...v, phases: { now: (run.servicesNow[v.name] || {}).busy } })),
    edges: run.edges.map(e => ({ ...e, faults: active.filter(f => f.edges.includes(e.caller + '->' + e.callee)).map(f => f.id), phases: { now: run.edgesNow[e.caller + '->' + e.callee] || {} } })),
  };
  const down = run.services.filter(v => { const n = run.servicesNow[v.name]; return n && n.up !== null && n.up < v.replicas; });
  return [topology(snapshot, 'now'), down.length > 0 && h('p', { class: 'bad small' }, 'not answering: ' + down.map(v => `${v.name} (${v.replicas - run.servicesNow[v.name].up} of ${v.replicas})`).join(', ')),
    h('details', { class: 'plain', open: parts.edgesOpen, ontoggle: e => { parts.edgesOpen = e.target.open; } }, h('summary', {}, 'edges in numbers'), edgeNow(snapshot))];
}
function edgeNow(snapshot) {
  const rows = snapshot.edges.map(e => {
    const f = e.phases.now, figure = (v, text, bad) => h('td', { class: 'num' + (bad ? ' bad' : '') }, missing(v) ? nothing : text(v));
    return h('tr', {}, h('td', {}, h('span', { class: 'mono' }, e.caller + ' → ' + e.callee), e.faults.map(id => h('span', { class: 'bad' }, ' ⚡︎ ' + id))),
      figure(f.rate, rate), figure(f.errors, percent, f.errors > hot), figure(f.p99, ms), figure(f.amplification, times, f.amplification > 1.2));
  });
  return table('edges over the last 5 seconds', ['edge', '#calls', '#errors', '#p99', '#attempts a call'], rows);
}

function drawLoad(l) {
  const v = view(), end = runEnd(v), bins = [];
  for (let t = 0; t < end; t++) bins.push(l.at.get(Math.floor(v.from) + t) || null);
  const done = bins.filter(Boolean), top = Math.max(1, ...done.map(b => b.offered)), last = bins.slice(0, Math.max(0, Math.floor(run.now - v.from))).filter(Boolean).slice(-5);
  const offered = last.reduce((a, b) => a + b.offered, 0), good = last.reduce((a, b) => a + b.good, 0), share = offered ? good / offered : null;
  const when = t => clock(Math.floor(t) + v.from) + (phaseAt(v, t) ? ' ' + phaseAt(v, t) : '');
  return h('article', { class: 'card', 'aria-label': 'load ' + l.name },
    h('h3', {}, l.name, h('span', { class: 'soft' }, ` · ${l.about} · `), h('span', { class: shareClass(share) }, percent(share) + ' good'), h('span', { class: 'soft' }, ' over 5 s')),
    chart(v, {
      height: 150, left: 46, label: `${l.name}: what became of the journeys, second by second`,
      draw: ({ x, top: y0, plot, left, inner }) => {
        const marks = ticks(top, 3), most = marks[marks.length - 1], y = n => y0 + plot - plot * n / most, out = [yAxis(marks, y, left, inner, String)], step = inner / end;
        bins.forEach((b, t) => {
          let base = 0;
          for (const kind of b ? ['good', 'slow', 'failed'] : []) {
            if (b[kind] > 0) out.push(s('rect', { class: 'bar-' + kind, x: x(t).toFixed(1), y: y(base + b[kind]).toFixed(1), width: Math.max(.6, step - (step > 4 ? 1 : 0)).toFixed(1), height: (y(base) - y(base + b[kind])).toFixed(1) }));
            base += b[kind];
          }
        });
        return out;
      },
      read: t => { const b = bins[Math.floor(t)]; return b ? `${when(t)}\n${b.offered} due: ${b.good} good, ${b.slow} slow, ${b.failed} failed` : when(t); },
    }),
    chart(v, {
      height: 170, left: 46, label: `${l.name}: how long the journeys took, second by second`,
      draw: ({ x, top: y0, plot, left, inner }) => latencyMap(l, bins, { x, y0, plot, left, inner, step: inner / end }),
      read: t => { const b = bins[Math.floor(t)]; return b ? `due at ${when(t)}\np50 ${ms(b.p50)}\np99 ${ms(b.p99)}` : when(t); },
    }));
}
// latencyMap is a row for each range of latency: the darker, the more journeys took that long; over it p99 and the slo.
function latencyMap(l, bins, { x, y0, plot, left, inner, step }) {
  const bounds = run.buckets, used = bins.filter(Boolean).flatMap(b => b.heat.map((n, i) => n > 0 ? i : -1)).filter(i => i >= 0);
  const sloRow = bounds.findIndex(v => v >= l.slo), low = Math.max(0, Math.min(...used, sloRow < 0 ? 99 : sloRow) - 1), high = Math.min(bounds.length, Math.max(low + 4, ...used, sloRow) + 1);
  const rows = high - low + 1, size = plot / rows, y = i => y0 + plot - (i - low + 1) * size;
  // where a latency lies between the bounds of its row
  const place = v => { const i = bounds.findIndex(b => b >= v), row = i < 0 ? bounds.length : i, from = row === 0 ? 0 : bounds[row - 1], to = i < 0 ? v : bounds[row]; return y(row) + size * (1 - (to > from ? (v - from) / (to - from) : 0)); };
  const out = [];
  for (let i = low; i <= high; i += Math.max(1, Math.ceil(rows / 6))) if (i < bounds.length) out.push(s('text', { x: left - 6, y: y(i) + 4, 'text-anchor': 'end' }, ms(bounds[i])));
  bins.forEach((b, t) => {
    if (!b) return;
    const most = Math.max(1, b.offered);
    b.heat.forEach((n, i) => { if (n > 0 && i >= low && i <= high) out.push(s('rect', { class: 'heatcell', x: x(t).toFixed(1), y: y(i).toFixed(1), width: (step + .3).toFixed(1), height: (size + .3).toFixed(1), fill: 'var(--blue)', opacity: (.15 + .75 * Math.sqrt(n / most)).toFixed(2) })); });
  });
  if (l.slo > 0 && sloRow >= 0) out.push(s('line', { class: 'slo', x1: left, x2: left + inner, y1: place(l.slo), y2: place(l.slo) }), s('text', { class: 'slo-label', x: left + inner - 2, y: place(l.slo) - 4, 'text-anchor': 'end' }, 'slo ' + ms(l.slo)));
  out.push(s('path', { class: 'line-p99', d: path(bins.map((b, t) => [t + .5, b ? b.p99 : null]), x, place) }));
  return out;
}

function drawPolicies() {
  if (!run.policies.length) return h('p', { class: 'empty' }, 'This run has no policies: nothing limits what a failure can do.');
  const now = new Map(run.policyNow.map(p => [p.on + ' ' + p.policy, p]));
  const rows = run.policies.map(p => {
    const n = now.get(p.on + ' ' + p.policy) || {}, breaker = p.policy === 'circuit_breaker';
    const state = missing(n.state) ? nothing : breaker ? ['closed', 'half open', 'open'][Math.round(n.state)] || String(n.state) : significant(n.state), bad = breaker && n.state >= 2;
    return h('tr', { class: bad && 'open' }, h('td', { class: 'mono' }, arrow(p.on)), h('td', { title: p.about }, p.policy.replace(/_/g, ' ')), h('td', { class: bad ? 'bad' : breaker && n.state >= 1 ? 'slow' : '' }, state), h('td', { class: 'num' + (n.rejected > 0 ? ' slow' : '') }, missing(n.rejected) ? nothing : rate(n.rejected)));
  });
  return table('policies now', ['on', 'policy', 'state or limit', '#refused'], rows);
}

// --- requests, events, logs ---
function drawRequests() {
  const shown = run.requests.slice().reverse(), open = parts.requests.querySelector('details[open]');
  if (open && !parts.moreRequests.hidden) return;
  if (open) { parts.moreRequests.hidden = false; return; } // what is being read stays where it is
  parts.moreRequests.hidden = true;
  parts.requests.replaceChildren(...(shown.length ? shown.map(liveRequest) : [h('p', { class: 'empty' }, 'No request failed or was slower than its slo so far.')]));
}
function liveRequest(r) {
  const box = h('div', {}, h('p', { class: 'soft small', role: 'status' }, 'Asking for the trace…'));
  const load = async () => {
    if (!r.trace) { box.replaceChildren(h('p', { class: 'soft small' }, 'The request has no trace.')); return; }
    try {
      run.traces[r.trace] = await ask('/api/trace/' + encodeURIComponent(r.trace));
      box.replaceChildren(waterfall(run, r));
    } catch (e) {
      box.replaceChildren(h('p', { class: 'soft small' }, e.error + ' ', h('button', { type: 'button', onclick: load }, 'ask again')));
    }
  };
  return h('details', { class: 'request', ontoggle: e => { if (e.target.open && !r.asked) { r.asked = true; load(); } if (!e.target.open) r.asked = false; } },
    h('summary', {}, h('span', { class: 'row' }, h('span', { class: 'num' }, clock(r.due)), h('span', { class: 'cause' }, h('b', {}, r.load + ' '), r.ok ? h('span', { class: 'slow' }, 'slow') : h('span', { class: 'bad' }, r.error || 'status ' + r.status)), h('span', { class: 'num' }, ms(r.ms)))), box);
}
function drawEvents() {
  const shown = run.events.filter(e => e.kind !== 'process' || !/^(started|ready)$/.test(e.text)).slice(-60).reverse();
  if (!shown.length) return h('p', { class: 'empty' }, 'Nothing happened yet.');
  return h('ol', { class: 'events', tabindex: 0, 'aria-label': 'events, the latest first' }, shown.map(e => h('li', {}, h('span', { class: 'num soft' }, clock(e.t)), h('span', {}, h('b', {}, e.name), ' ' + e.text, h('span', { class: 'soft' }, ' · ' + e.kind), e.detail && h('div', { class: 'soft small' }, e.detail)))));
}
const severities = ['DEBUG', 'INFO', 'WARN', 'ERROR'];
function drawLogs() {
  const text = parts.logText.value.toLowerCase(), service = parts.logService.value, least = severities.indexOf(parts.logSeverity.value);
  const fits = l => (!service || l.service === service) && severities.indexOf(l.severity) >= least && (!text || (l.body + ' ' + l.service + ' ' + JSON.stringify(l.attributes || {})).toLowerCase().includes(text));
  const shown = run.logs.filter(fits).slice(-200), atEnd = parts.logs.scrollTop + parts.logs.clientHeight >= parts.logs.scrollHeight - 30;
  parts.logs.replaceChildren(...(shown.length ? shown.map(logLine) : [h('p', { class: 'empty' }, run.logs.length ? 'No line fits the filter.' : 'No log line has arrived yet.')]));
  if (atEnd) parts.logs.scrollTop = parts.logs.scrollHeight;
}
const logLine = l => h('div', { class: 'logline' }, h('span', { class: 'num' }, clock(l.t)), h('span', { class: 'sev ' + severityClass(l.severity) }, l.severity), h('span', { class: 'svc' }, l.service), h('span', {}, l.body, Object.entries(l.attributes || {}).map(([k, v]) => h('span', { class: 'soft' }, ` ${k}=${typeof v === 'object' ? JSON.stringify(v) : v}`))));

// --- acting ---
function told(place, e) {
  place.replaceChildren(h('p', { class: 'wrong', role: 'alert' }, e.error || String(e)));
}
async function acting(button, place, work) {
  const label = button.textContent;
  button.disabled = true;
  place.replaceChildren();
  try { await work(); } catch (e) { told(place, e); }
  button.disabled = Boolean(run && run.over);
  button.textContent = label;
}

function drawFaults() {
  const active = run.faults.filter(f => f.active), key = JSON.stringify([active.map(f => [f.id, f.state]), run.over]);
  if (key === parts.faultsKey) return;
  parts.faultsKey = key;
  const note = h('div', { class: 'kept' });
  parts.faults.replaceChildren(...(active.length ? [h('ul', { class: 'active', 'aria-label': 'faults that act now' }, active.map(f => {
    const planned = f.load && !f.who;
    const button = h('button', { type: 'button', class: 'danger', 'aria-label': 'clear ' + f.id, disabled: planned || run.over, onclick: () => acting(button, note, () => ask('/api/recover', { id: f.id })) }, 'clear');
    return h('li', { 'data-fault': f.id }, h('span', {}, '⚡︎ ', h('b', {}, f.id), ` ${f.kind} on ${arrow(f.target)}`, h('span', { class: 'soft' }, ' · ' + f.state + (f.who ? ' · by hand' : ' · planned'))), button);
  })), active.length > 1 && (() => { const all = h('button', { type: 'button', class: 'danger', disabled: run.over, onclick: () => acting(all, note, () => ask('/api/clear', {})) }, 'clear all'); return all; })(), note] : [h('p', { class: 'empty' }, 'No fault acts now.')]).filter(Boolean));
}

function faultForm() {
  const kind = h('select', { id: 'kind', onchange: () => fields() });
  for (const family of [...new Set(catalog.map(k => k.family))]) kind.append(h('optgroup', { label: family }, catalog.filter(k => k.family === family).map(k => h('option', { value: k.name }, k.name.replace(/_/g, ' ')))));
  const box = h('div', { class: 'form' }), note = h('div', { class: 'kept', 'aria-live': 'polite' }), about = h('p', { class: 'about' });
  const edges = run.edges.map(e => e.caller + '->' + e.callee), services = run.services.map(v => v.name), loads = run.loads.filter(l => l.open).map(l => l.name);
  const options = (list, empty) => [empty !== undefined && h('option', { value: '' }, empty), list.map(v => h('option', { value: v }, v.replace('->', ' → ')))];
  let inputs = {};
  const fields = () => {
    const k = catalog.find(c => c.name === kind.value);
    inputs = {};
    about.textContent = k.about;
    about.title = k.cannot;
    const shown = k.params.filter(p => !['edges', 'services'].includes(p.name));
    box.replaceChildren(...shown.map(p => {
      const list = p.name === 'edge' ? edges : p.name === 'service' ? services : p.name === 'load' ? loads : p.allowed;
      const needed = p.required || ['edge', 'service'].includes(p.name);
      const input = list ? h('select', {}, options(list, needed || p.default !== null ? undefined : 'not set')) : p.type === 'boolean' ? h('input', { type: 'checkbox' })
        : h('input', { type: 'text', autocomplete: 'off', placeholder: p.name === 'replica' ? 'every replica' : p.name === 'groups' ? 'gateway, orders | payments, bank' : p.default !== null ? String(p.default) : example(p) });
      if (list && p.default !== null) input.value = p.default;
      const wrong = h('span', { class: 'wrong', id: 'wrong-' + p.name });
      input.setAttribute('name', p.name);
      input.setAttribute('aria-describedby', wrong.id);
      inputs[p.name] = { p, input, wrong };
      return h('label', {}, p.name.replace(/_/g, ' ') + (needed ? '' : ' (optional)'), input, h('span', { class: 'about' }, p.about), wrong);
    }));
  };
  const button = h('button', { class: 'act', type: 'submit' }, 'inject');
  const form = h('form', { class: 'form', 'aria-label': 'inject a fault', onsubmit: e => {
    e.preventDefault();
    for (const f of Object.values(inputs)) { f.wrong.textContent = ''; f.input.removeAttribute('aria-invalid'); }
    acting(button, note, async () => {
      button.textContent = 'injecting…';
      try {
        const { id } = await ask('/api/inject', { kind: kind.value, params: valuesOf(inputs) });
        note.replaceChildren(h('p', { class: 'small soft', role: 'status' }, `${id} stands; whether it is felt shows below Events.`));
      } catch (e) {
        for (const [name, text] of Object.entries(e.fields || {})) if (inputs[name]) { inputs[name].wrong.textContent = text; inputs[name].input.setAttribute('aria-invalid', 'true'); }
        throw e;
      }
    });
  } }, h('label', {}, 'kind of fault', kind), about, box, button, note);
  fields();
  parts.controls.push(button);
  return form;
}
const example = p => ({ duration: 'such as 300ms or 2s', size: 'such as 64KB', rate: 'such as 120/s', ratio: 'such as 10%', integer: 'a whole number', number: 'a number' }[p.type] || '');
function valuesOf(inputs) {
  const out = {};
  for (const [name, { p, input }] of Object.entries(inputs)) {
    const text = p.type === 'boolean' ? input.checked : input.value.trim();
    if (text === '' || text === false) continue;
    if (name === 'groups') out[name] = text.split('|').map(g => g.split(',').map(v => v.trim()).filter(Boolean));
    else if ((p.type === 'integer' || p.type === 'number') && !Number.isNaN(Number(text))) out[name] = Number(text);
    else out[name] = text;
  }
  return out;
}

function rateForms() {
  const open = run.loads.filter(l => l.open);
  parts.rates = new Map();
  if (!open.length) return h('p', { class: 'empty' }, 'No load has a rate: users wait for their answers.');
  return h('div', { class: 'rates' }, open.map(l => {
    const input = h('input', { type: 'number', min: 0, step: 'any', value: l.rate, name: 'rate-' + l.name }), note = h('div', { class: 'kept', 'aria-live': 'polite' }), now = h('span', { class: 'soft' });
    const button = h('button', { type: 'submit' }, 'set');
    parts.rates.set(l.name, now);
    parts.controls.push(button);
    return h('form', { 'aria-label': 'rate of ' + l.name, onsubmit: e => { e.preventDefault(); acting(button, note, () => ask('/api/rate', { load: l.name, rate: Number(input.value) })); } },
      h('div', { class: 'pair form' }, h('label', {}, h('span', {}, h('b', {}, l.name), ' arrivals a second, now ', now), input), button), note);
  }));
}
function drawRates() { for (const l of run.loads) if (parts.rates && parts.rates.has(l.name)) parts.rates.get(l.name).textContent = rate(l.rate); }

function saveForm() {
  const name = h('input', { type: 'text', name: 'scenario-name', placeholder: 'my-failure', autocomplete: 'off', required: true }), note = h('div', { 'aria-live': 'polite' });
  const send = (button, keep) => acting(button, note, async () => {
    const got = await ask('/api/save', { name: name.value.trim() || (keep ? '' : 'preview'), about: '', keep });
    note.replaceChildren(h('p', { class: 'small', role: 'status' }, got.file ? ['Saved as ', h('b', { class: 'mono' }, got.file), '. Replay it with ', h('span', { class: 'mono' }, 'faultline run ' + got.file)] : 'It can be run like this:'), h('pre', { class: 'file', tabindex: 0, 'aria-label': 'the scenario file' }, got.text));
  });
  const save = h('button', { class: 'act', type: 'submit' }, 'save'), look = h('button', { type: 'button', onclick: () => send(look, false) }, 'look');
  return h('form', { class: 'form', 'aria-label': 'save as scenario', onsubmit: e => { e.preventDefault(); send(save, true); } }, h('p', { class: 'about' }, 'What was done so far, as a scenario that does it again at the same times.'), h('div', { class: 'pair' }, h('label', {}, 'name', name), save, look), note);
}
function abortButton() {
  const note = h('span', {});
  let armed = 0;
  const button = h('button', { type: 'button', class: 'danger', id: 'abort', onclick: () => {
    if (!armed) { armed = setTimeout(() => { armed = 0; button.textContent = 'abort'; }, 4000); button.textContent = 'abort: really?'; return; }
    clearTimeout(armed);
    armed = 0;
    acting(button, note, () => ask('/api/abort', {}));
    button.textContent = 'abort';
  } }, 'abort');
  parts.controls.push(button);
  return [button, note];
}

// --- the page ---
const part = (id, title, ...children) => h('section', { class: 'card', 'aria-labelledby': id }, h('h3', { id }, title), ...children);
function build() {
  const box = () => h('div', {});
  parts = { controls: [], topology: box(), loads: h('div', { class: 'stackup' }), faults: box(), policies: box(), requests: h('div', { class: 'requests' }), events: box(), logs: h('div', { class: 'logs', tabindex: 0, role: 'log', 'aria-label': 'log lines' }),
    time: h('span', { class: 'time' }), phase: h('span', { class: 'soft' }), trouble: h('p', { class: 'notice small', hidden: true }), edgesOpen: false, faultsKey: '' };
  parts.moreRequests = h('button', { type: 'button', hidden: true, onclick: () => { for (const d of parts.requests.querySelectorAll('details[open]')) d.open = false; parts.moreRequests.hidden = true; drawRequests(); } }, 'there are newer ones: show them');
  parts.logText = h('input', { type: 'search', placeholder: 'filter', oninput: drawLogs, name: 'log-text' });
  parts.logService = h('select', { onchange: drawLogs }, h('option', { value: '' }, 'every service'), run.services.map(v => h('option', { value: v.name }, v.name)));
  parts.logSeverity = h('select', { onchange: drawLogs }, severities.map(v => h('option', { value: v }, v)));
  const zoom = (run.bench || run.length > 600) && choice('how much is shown', [{ label: '2 minutes', span: 120 }, { label: '5 minutes', span: 300 }, { label: '15 minutes', span: 900 }], [120, 300, 900].indexOf(span), o => { span = o.span; if (parts && parts.built) drawAll(); });
  document.title = `${run.scenario}, ${run.variant}: Faultline`;
  main.replaceChildren(
    h('h1', {}, run.scenario, run.variant !== 'default' && h('span', { class: 'soft' }, ' · ' + run.variant)), run.about && h('p', { class: 'soft' }, run.about),
    h('div', { class: 'status' }, connection, parts.time, parts.phase, abortButton()), parts.trouble,
    h('div', { class: 'bench' },
      h('div', { class: 'stackup' }, part('h-topology', 'Topology', parts.topology), zoom, parts.loads, part('h-requests', 'Failed and slow requests', parts.moreRequests, parts.requests)),
      h('div', { class: 'stackup' }, part('h-faults', 'Faults that act now', parts.faults), part('h-inject', 'Break it', faultForm()), part('h-load', 'Load', rateForms()), part('h-save', 'Save as scenario', saveForm()), part('h-policies', 'Policies', parts.policies), part('h-events', 'Events', parts.events))),
    part('h-logs', 'Logs', h('div', { class: 'filters form' }, h('label', {}, 'text', parts.logText), h('label', {}, 'service', parts.logService), h('label', {}, 'at least', parts.logSeverity)), parts.logs),
    h('footer', {}, 'Faultline ' + data.version + ' · run ', h('span', { class: 'mono' }, run.id)));
  main.querySelector('.bench').previousElementSibling.after(h('ul', { class: 'legend' }, [['var(--good)', 'good'], ['var(--slow)', 'slow'], ['var(--bad)', 'failed'], ['var(--blue)', 'how many took so long']].map(([c, t]) => h('li', {}, h('i', { style: '--c:' + c }), t))));
  parts.built = true;
}

(async () => {
  try { catalog = await ask('/api/catalog'); } catch { /* the connection says so below */ }
  main.replaceChildren(h('div', { class: 'status' }, connection), h('p', { class: 'soft' }, 'Asking for the run…'));
  connect();
})();
