// The live page: the connection, what is known of the run, and what is drawn of it when.

const keepRequests = 200,
  keepLogs = 600,
  keepEvents = 300;
let run = null; // what is known of the run, in the shape in which the report draws it
let parts = null; // the places that are drawn anew
let span = 120; // seconds shown of a run without an end
const given = JSON.parse(document.getElementById('state').textContent), // what was so when the page was asked for
  catalog = given.catalog;

// --- the connection ---
const connection = h('span', { class: 'state', role: 'status' }, 'connecting');
function connected(kind, text) {
  change(connection, { class: 'state ' + kind });
  say(connection, text);
}
function connect() {
  const source = new EventSource('/api/live');
  source.addEventListener('state', e => {
    connected('on', 'live');
    begin(JSON.parse(e.data));
  });
  source.addEventListener('tick', e => {
    connected('on', 'live');
    if (!run) return;
    take(JSON.parse(e.data), false);
    drawSoon();
  });
  source.addEventListener('over', () => {
    if (!run) return;
    run.over = true;
    drawSoon();
  });
  source.addEventListener('bye', e => {
    source.close();
    connected('', 'ended');
    main.prepend(h('p', { class: 'notice fine', role: 'status' }, JSON.parse(e.data).text));
    for (const b of main.querySelectorAll('button.act, button.danger, button[type=submit]')) b.disabled = true;
  });
  source.onerror = () => {
    connected('lost', 'connection lost; trying again');
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

// --- what is known ---
// begin takes in all of a run. When the same run comes again, after a lost connection, the page
// stays as it is, with what was being typed and read.
function begin(state) {
  if (state.server !== given.state.server) {
    location.reload(); // another lab answers at the same address: it takes another token
    return;
  }
  if (!state.run) {
    run = parts = null;
    main.replaceChildren(
      h('div', { class: 'status' }, connection),
      h(
        'p',
        { class: 'soft', role: 'status' },
        'Nothing runs yet: the system is starting. This page follows by itself.',
      ),
    );
    return;
  }
  if (run && parts && run.id === state.run.id) {
    take(state.tick, true);
    drawSoon();
    return;
  }
  run = {
    ...state.run,
    label: state.run.variant,
    now: 0,
    over: false,
    faults: [],
    events: [],
    requests: [],
    logs: [],
    policyNow: [],
    traces: {},
    alerts: [],
    profileAt: profileHere,
  };
  run.loads.forEach(l => {
    l.at = new Map();
    l.rate = 0;
  });
  take(state.tick, true);
  build();
  pieces = steps();
  nextFrame(drawPiece);
}
function take(tick, whole) {
  run.now = tick.t;
  run.over = tick.over;
  run.trouble = tick.trouble || '';
  for (const l of run.loads) {
    const t = tick.loads[l.name];
    if (!t) continue;
    l.rate = t.rate;
    t.bins.forEach(b => l.at.set(b.t, b));
  }
  run.servicesNow = tick.services || run.servicesNow || {};
  run.edgesNow = tick.edges || run.edgesNow || {};
  run.policyNow = tick.policies;
  run.faults = tick.faults;
  const add = (list, fresh, most) => (whole ? fresh : list.concat(fresh)).slice(-most),
    known = new Set(whole ? run.requests.map(r => r.due + r.trace) : []),
    requests = tick.requests.filter(r => !known.has(r.due + r.trace));
  run.requests = run.requests.concat(requests).slice(-keepRequests);
  run.events = add(run.events, tick.events, keepEvents);
  run.logs = add(run.logs, tick.logs, keepLogs);
  const waiting = run.waiting || { requests: 0, events: 0, logs: [] };
  run.waiting = {
    requests: waiting.requests + requests.length,
    events: waiting.events + (whole ? 1 : tick.events.length),
    logs: whole ? null : waiting.logs && waiting.logs.concat(tick.logs), // null: all of them anew
  };
}

// view is the run as charts over time want it: shifted so that what is shown begins at 0.
function view() {
  let from = 0,
    end = run.length;
  if (run.bench || end > 600) {
    end = Math.max(span, Math.ceil(run.now));
    from = end - span;
  }
  const clip = p => ({ ...p, start: Math.max(0, p.start - from), end: Math.min(end - from, p.end - from) }),
    inside = p => p.end > 0 && p.start < end - from;
  const happened = run.faults
    .filter(f => f.state !== 'planned' || !run.bench)
    .map(f => (f.active ? { ...f, end: run.bench ? Math.max(run.now, f.start + 0.5) : f.end } : f));
  const phases = run.bench ? [{ name: '', start: 0, end: end - from }] : run.phases.map(clip).filter(inside);
  return {
    label: run.variant,
    from,
    phases,
    faults: happened.map(clip).filter(inside),
    loads: [{ bins: [{ t: end - from - 1 }] }],
  };
}

// --- drawing, in pieces ---
// A tick is drawn over several frames, so that no frame takes long: what comes in the
// meantime is drawn with it.
let pieces = [];
function drawSoon() {
  if (!parts || document.hidden) return;
  const idle = pieces.length + parts.later.length === 0;
  pieces = steps();
  if (idle) nextFrame(drawPiece);
}
function drawPiece() {
  const piece = parts && (parts.later.shift() || pieces.shift());
  if (!piece) {
    pieces = [];
    return;
  }
  nextFrame(drawPiece); // first, so that a piece that fails does not stop the rest
  piece();
}
// nextFrame calls with the next frame, or soon where none comes: a window that is covered has none.
function nextFrame(fn) {
  const once = () => {
    if (fn) fn();
    fn = null;
  };
  requestAnimationFrame(once);
  setTimeout(once, 100);
}
const steps = () => [
  () => {
    drawStatus();
    drawFaults();
    drawRates();
    drawTopology();
  },
  drawLoads,
  () => {
    drawPolicies();
    drawRequests();
  },
  () => {
    drawEvents();
    drawLogs();
  },
];
document.addEventListener('visibilitychange', drawSoon);

// The first frame is the page's head, which waits for nothing; then what the page came with.
nextFrame(() =>
  setTimeout(() => {
    begin(given.state);
    connect();
  }),
);
