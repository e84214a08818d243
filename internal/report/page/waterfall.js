// One trace: its spans under each other, with the critical path, faults, and the logs
// in their places.

// hues of services, far apart for neighbours in the system's file.
const hueOf = (run, name) => {
  const i = run.services.findIndex(v => v.name === name);
  return i >= 0 ? (i * 137.5 + 200) % 360 : 30;
};

// elsewhere is a link that leaves the page.
const elsewhere = (address, ...text) =>
  h('a', { class: 'elsewhere', href: address, target: '_blank', rel: 'noopener noreferrer' }, ...text);
// inGrafana links a trace, where the run's telemetry is in a Grafana's Tempo as well.
const inGrafana = (run, id) =>
  run.grafana &&
  id && [' · ', elsewhere(run.grafana.trace.replace('TRACE_ID', encodeURIComponent(id)), 'open in Grafana')];

function waterfall(run, request) {
  const trace = run.traces[request.trace];
  if (!trace)
    return h(
      'p',
      { class: 'soft small' },
      request.trace
        ? [
            'The trace ',
            h('span', { class: 'mono' }, request.trace),
            ' is not on this page: none was kept, or the page has enough.',
            inGrafana(run, request.trace),
          ]
        : 'The request has no trace.',
    );
  const later = trace.spans.filter(v => v.later),
    now = trace.spans.filter(v => !v.later),
    has = new Set(later.map(v => v.id));
  const isLater = l => (l.span ? has.has(l.span) : l.at > trace.end);
  const from = Math.min(0, trace.client ? trace.client.due : 0),
    to = Math.max(
      trace.end,
      trace.client ? trace.client.done : 0,
      ...now.map(v => Math.min(v.start + v.ms, trace.end * 1.5)),
    );
  return h(
    'div',
    { class: 'trace' },
    spentLine(trace, request),
    fall(
      run,
      trace,
      now,
      trace.logs.filter(l => !isLater(l)),
      trace.client,
      { from, to },
      request,
    ),
    later.length > 0 && afterwards(run, trace, later, trace.logs.filter(isLater)),
    h(
      'p',
      { class: 'small soft' },
      'trace ',
      h('span', { class: 'mono' }, request.trace),
      inGrafana(run, request.trace),
      trace.dropped > 0 && ` · ${count(trace.dropped)} more spans left out`,
    ),
  );
}

// spentLine says where the time of the critical path went.
function spentLine(trace, request) {
  const all = trace.end;
  if (!trace.spent.length || !(all > 0)) return null;
  const journey =
    request.step && request.ms > all * 1.02 && ` of the journey’s ${ms(request.ms)}, in its step ${request.step}`;
  return h('p', { class: 'spent' }, h('b', {}, ms(all)), journey, ': ', spentParts(trace, 4));
}
// spentParts names the parts that took the most, the first in bold.
function spentParts(trace, most) {
  return trace.spent
    .slice(0, most)
    .map((p, i) => [
      i > 0 && ', ',
      h(i === 0 ? 'b' : 'span', {}, `${percentWhole(p.ms / trace.end)} ${arrow(p.what)}`),
    ]);
}
const percentWhole = v => (v > 0.99 && v < 1 ? '>99' : Math.round(v * 100)) + '%';

// afterwards is what went on after the answer, on an axis of its own.
function afterwards(run, trace, spans, logs) {
  const end = trace.end;
  const from = Math.min(...spans.map(v => v.start)),
    to = Math.max(...spans.map(v => v.start + v.ms));
  return h(
    'details',
    { class: 'plain' },
    h('summary', {}, `after the answer: ${counted(spans.length, 'span')}, from +${ms(from - end)} to +${ms(to - end)}`),
    fall(run, trace, spans, logs, null, { from, to }, null),
  );
}

function fall(run, trace, spans, logs, client, { from, to }, request) {
  const span = Math.max(0.001, to - from),
    at = t => ((100 * (t - from)) / span).toFixed(2) + '%',
    size = t => Math.max(0, (100 * t) / span).toFixed(2) + '%';
  const marks = ticks(span, 5).filter(t => t <= span),
    logsOf = new Map();
  const known = new Set(spans.map(v => v.id));
  for (const l of logs) {
    const key = known.has(l.span) ? l.span : '';
    logsOf.set(key, [...(logsOf.get(key) || []), l]);
  }
  const base = spans.length && spans[0].later ? from : 0;
  return h(
    'div',
    { class: 'fall' },
    h(
      'div',
      { class: 'line times', 'aria-hidden': 'true' },
      h('span', {}),
      h(
        'span',
        { class: 'lane' },
        marks.map(t =>
          h(
            'span',
            { class: 'tick' + (t > 0.93 * span ? ' last' : ''), style: `left:${at(t + from)}` },
            t === 0 && base === 0 && from < 0 ? 'due' : ms(t),
          ),
        ),
      ),
    ),
    h(
      'div',
      { class: 'rules', 'aria-hidden': 'true' },
      h('span', {}),
      h(
        'span',
        { class: 'lane' },
        marks.map(t => h('i', { style: `left:${at(t + from)}` })),
      ),
    ),
    client && clientRow(client, request, at, size),
    spans.map(v => [spanRow(run, trace, v, at, size), (logsOf.get(v.id) || []).map(l => logRow(l, at))]),
    (logsOf.get('') || []).map(l => logRow(l, at)),
  );
}

function clientRow(client, request, at, size) {
  const late = client.sent - client.due;
  return h(
    'div',
    { class: 'line' },
    h('span', { class: 'what' }, h('b', {}, 'load'), ' ' + [request.load, request.step].filter(Boolean).join(' · ')),
    h(
      'span',
      { class: 'lane', title: `due ${ms(-client.due)} before the first span, sent ${ms(late)} later` },
      late > 0 && h('span', { class: 'fill wait', style: `left:${at(client.due)};width:${size(late)};--hue:0` }),
      h('span', { class: 'fill outline', style: `left:${at(client.sent)};width:${size(client.done - client.sent)}` }),
      took(client.done - client.due, client.due, client.done, at),
    ),
  );
}

// took writes a duration beside its bar: right of it, or left of it where the bar ends late.
function took(duration, from, to, at) {
  const end = parseFloat(at(to)),
    begin = parseFloat(at(from)),
    text = ms(duration);
  if (end < 88) return h('span', { class: 'took', style: `left:${end}%` }, text);
  if (begin > 12) return h('span', { class: 'took', style: `right:${100 - begin}%` }, text);
  return h('span', { class: 'took inside', style: `right:${Math.max(0, 100 - end)}%` }, text);
}

function spanRow(run, trace, v, at, size) {
  const more = h('div', { class: 'attrs', hidden: true });
  const bars = [
    h('span', { class: 'fill', style: `left:${at(v.start)};width:${size(v.ms)}` }),
    v.wait > 0 && h('span', { class: 'fill wait', style: `left:${at(v.start)};width:${size(v.wait)}` }),
    (v.critical || []).map(([a, b]) =>
      h('span', { class: 'fill critical', style: `left:${at(a)};width:${size(b - a)}` }),
    ),
  ];
  const said = [
    v.service + ' ' + v.name,
    ms(v.ms),
    v.error && 'error',
    v.fault && 'fault ' + v.fault,
    v.wait >= 1 && 'waited ' + ms(v.wait),
  ]
    .filter(Boolean)
    .join(', ');
  const row = h(
    'button',
    {
      type: 'button',
      class: 'line span' + (v.error ? ' err' : '') + (v.fault ? ' hurt' : ''),
      style: `--hue:${hueOf(run, v.service)}`,
      'aria-expanded': 'false',
      'aria-label': said,
      title: said,
      onclick: () => {
        if (!more.childNodes.length) more.append(...spanDetails(run, trace, v));
        more.hidden = !more.hidden;
        row.setAttribute('aria-expanded', String(!more.hidden));
      },
    },
    h(
      'span',
      { class: 'what', style: `padding-left:${Math.min(v.depth, 14) * 9}px` },
      v.error && h('span', { class: 'bad' }, '✗ '),
      v.fault && '⚡︎ ',
      h('b', {}, v.service),
      ' ',
      h('span', { class: v.kind === 'client' ? 'soft' : '' }, spanName(v)),
    ),
    h('span', { class: 'lane' }, bars, took(v.ms, v.start, v.start + v.ms, at)),
  );
  return [row, more];
}
// spanName leaves a package's name out: shop.orders.v1.Orders/PlaceOrder is Orders/PlaceOrder.
const spanName = v =>
  (v.kind === 'client' || v.kind === 'producer' ? '→ ' : '') + v.name.replace(/^[\w.]+\.(\w+\/\w+)$/, '$1');

function spanDetails(run, trace, v) {
  const pair = (k, a) =>
    h('div', {}, h('span', { class: 'soft' }, k + ' '), typeof a === 'object' ? JSON.stringify(a) : String(a));
  return [
    h(
      'div',
      {},
      [v.name, v.kind, v.instance, ms(v.ms), v.wait > 0 && `waited ${ms(v.wait)} for a worker`]
        .filter(Boolean)
        .join(' · '),
    ),
    profileLink(run, trace, v),
    v.message && h('div', { class: 'bad' }, v.message),
    v.fault && h('div', { class: 'bad' }, 'under the fault ' + v.fault),
    ...Object.entries(v.attributes || {}).map(([k, a]) => pair(k, a)),
    ...(v.events || []).map(e =>
      pair(
        `+${ms(Math.max(0, e.at - v.start))} ${e.name}`,
        Object.entries(e.attributes || {})
          .map(([k, a]) => `${k}=${a}`)
          .join(' '),
      ),
    ),
  ].filter(Boolean);
}

const severityClass = text => (text === 'ERROR' ? 'bad' : text === 'WARN' ? 'slow' : 'soft');
function logRow(l, at) {
  const text = [
    l.body,
    ...Object.entries(l.attributes || {}).map(([k, v]) => `${k}=${typeof v === 'object' ? JSON.stringify(v) : v}`),
  ].join(' ');
  const more = h('div', { class: 'attrs', hidden: true }),
    late = parseFloat(at(l.at)) > 55;
  const row = h(
    'button',
    {
      type: 'button',
      class: 'line log',
      'aria-expanded': 'false',
      title: text,
      onclick: () => {
        if (!more.childNodes.length) more.append(text);
        more.hidden = !more.hidden;
        row.setAttribute('aria-expanded', String(!more.hidden));
      },
    },
    h('span', { class: 'what' }, h('span', { class: severityClass(l.severity) }, l.severity), ' ', l.service),
    h(
      'span',
      { class: 'lane' },
      h('span', { class: 'dot ' + severityClass(l.severity), style: `left:${at(Math.max(0, l.at))}` }),
      h(
        'span',
        {
          class: 'body' + (late ? ' left' : ''),
          style: late ? `right:calc(${100 - parseFloat(at(l.at))}% + 8px)` : `left:calc(${at(l.at)} + 8px)`,
        },
        text,
      ),
    ),
  );
  return [row, more];
}

// requestSummary is the line of a request that can be opened: when it was due, what became of it, how long it took.
function requestSummary(r, ...cause) {
  return h(
    'summary',
    {},
    h(
      'span',
      { class: 'row' },
      h('span', { class: 'num' }, clock(r.due)),
      h('span', { class: 'cause' }, ...cause),
      h('span', { class: 'num' }, ms(r.ms)),
    ),
  );
}
