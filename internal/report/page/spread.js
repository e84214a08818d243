// Which services filled up, and when: a row each, callers above whom they call.

// closure gives the names that reach one of start along the edges, turned around or not.
function closure(run, start, back) {
  const out = new Set(start);
  for (let grown = true; grown;) {
    grown = false;
    for (const e of run.edges) {
      const [from, to] = back ? [e.callee, e.caller] : [e.caller, e.callee];
      if (out.has(from) && !out.has(to)) {
        out.add(to);
        grown = true;
      }
    }
  }
  return out;
}

// rowsOf orders the services: first those on a way from the entry to a fault, so
// that the climb reads as one block.
function rowsOf(run) {
  const hurt = closure(
      run,
      run.faults.flatMap(f => f.edges.flatMap(e => e.split('->')).concat(f.services)),
      true,
    ),
    called = closure(run, [run.entry], false);
  const depth = ranks(
    run.services.map(v => v.name),
    run.edges.map(e => ({ from: e.caller, to: e.callee })),
    run.entry,
  ).rank;
  const way = v => hurt.has(v.name) && called.has(v.name);
  return run.services
    .filter(v => v.busy.length > 0)
    .map(v => ({ ...v, way: way(v) }))
    .sort((a, b) => way(b) - way(a) || depth[a.name] - depth[b.name]);
}

const shownRows = 14;
function spreadCard(run) {
  const rows = rowsOf(run),
    loud = v => v.way || v.shed.length > 0 || v.busy.some(p => p[1] >= 0.5);
  const few = rows.length > shownRows ? rows.filter(loud).slice(0, 40) : rows,
    box = h('div', {}, heat(run, few));
  const more =
    few.length < rows.length &&
    h(
      'button',
      {
        type: 'button',
        onclick: () => {
          box.replaceChildren(heat(run, rows));
          more.remove();
        },
      },
      `show the ${rows.length - few.length} services that stayed quiet`,
    );
  return [
    run.spread.text && h('p', { class: 'caption' }, spreadText(run)),
    rows.length ? box : h('p', { class: 'soft' }, 'No service recorded how busy it was.'),
    more,
  ];
}
// spreadText is the caption with the names in bold.
function spreadText(run) {
  if (!run.spread.steps.length) return run.spread.text;
  const first = run.faults.reduce((a, f) => (f.start < a.start ? f : a), run.faults[0]);
  return [
    `After ${first.id} began, services filled up: `,
    run.spread.steps.map((v, i) => [i > 0 && ', ', h('b', {}, v.service), ' +' + seconds(v.at - first.start)]),
    '.',
  ];
}

function heat(run, rows) {
  const rowHeight = 22,
    top = 20,
    breakerGap = 18,
    height = top + (rows.length + run.breakers.length) * rowHeight + (run.breakers.length ? breakerGap : 0) + 22;
  return draws(height, width => {
    const left = Math.min(168, Math.max(96, width * 0.24)),
      right = 8,
      inner = width - left - right,
      end = runEnd(run),
      x = t => left + (inner * t) / end;
    const root = s('svg', {
      viewBox: `0 0 ${width} ${height}`,
      height,
      role: 'img',
      'aria-label': 'How busy each service was over time. ' + run.spread.text,
    });
    const label = (y, text) =>
      s(
        'text',
        { class: 'row-label', x: left - 8, y: y + 15, 'text-anchor': 'end' },
        short(text, Math.floor((left - 10) / 7.3)),
        s('title', {}, text),
      );
    rows.forEach((svc, i) =>
      root.append(
        ...heatRow(run, svc, top + i * rowHeight, rowHeight - 4, { x, left, inner, end, width, root }),
        label(top + i * rowHeight, svc.name),
      ),
    );
    run.breakers.forEach((b, i) => {
      const y = top + breakerGap + (rows.length + i) * rowHeight;
      if (i === 0) root.append(s('text', { x: left, y: y - 3 }, 'circuit breakers'));
      root.append(label(y, arrow(b.edge)), ...breakerRow(run, b, y, rowHeight - 4, { x, left, inner, end }));
    });
    root.append(...bands(run, x, top, height - top - 22, true), ...timeAxis(run, x, height - 22, width));
    return root;
  });
}

function heatRow(run, svc, y, height, { x, left, inner, end, width, root }) {
  const shed = new Map(svc.shed.map(p => [p[0], p[1]])),
    queue = new Map(svc.queue.map(p => [p[0], p[1]])),
    out = [s('rect', { class: 'heat-row', x: left, y: y + 2, width: inner, height })];
  svc.busy.forEach(([t, busy], j) => {
    if (t < 0 || t >= end) return;
    const next = svc.busy[j + 1] ? svc.busy[j + 1][0] : t + 1,
      w = Math.max(0.5, x(Math.min(next, t + 5, end)) - x(t) + 0.4).toFixed(1),
      waiting = queue.get(t) || 0;
    if (busy > 0.005)
      out.push(
        s('rect', {
          x: x(t).toFixed(1),
          y: y + 2,
          width: w,
          height,
          fill: 'var(--heat)',
          'fill-opacity': (0.08 + Math.min(1, busy) * 0.77).toFixed(2),
        }),
      );
    if (waiting > 0) {
      const tall = Math.max(1, height * Math.min(1, waiting / (svc.queue_limit || waiting)));
      out.push(
        s('rect', {
          class: 'heat-queue',
          x: x(t).toFixed(1),
          y: (y + 2 + height - tall).toFixed(1),
          width: w,
          height: tall.toFixed(1),
        }),
      );
    }
    if (shed.get(t) > 0) out.push(s('rect', { class: 'heat-shed', x: x(t).toFixed(1), y: y + 2, width: w, height: 3 }));
  });
  out.push(
    s('rect', {
      x: left,
      y: y,
      width: inner,
      height: height + 4,
      fill: 'transparent',
      onmouseleave: hideTip,
      onmousemove: e => {
        const box = root.getBoundingClientRect(),
          t = ((((e.clientX - box.left) * width) / box.width - left) / inner) * end;
        const p = svc.busy.reduce((a, q) => (q[0] <= t ? q : a), svc.busy[0]);
        showTip(
          e.clientX,
          e.clientY,
          `${svc.name} at ${clock(p[0])}\n${percent(p[1])} of ${svc.workers || '?'} workers busy\n${count(queue.get(p[0]) || 0)} of ${svc.queue_limit} places in the queue taken` +
            (shed.get(p[0]) ? `\n${rate(shed.get(p[0]))} turned away` : ''),
        );
      },
    }),
  );
  return out;
}

const breakerStates = ['closed', 'half open', 'open'];
function breakerRow(run, breaker, y, height, { x, left, inner, end }) {
  const out = [
    s('line', { class: 'axis', x1: left, x2: left + inner, y1: y + 2 + height / 2, y2: y + 2 + height / 2 }),
  ];
  breaker.states.forEach(([t, state], i) => {
    const until = Math.min(end, breaker.states[i + 1] ? breaker.states[i + 1][0] : reached(run)),
      from = Math.max(0, t);
    if (state > 0 && until > from)
      out.push(
        s(
          'rect',
          {
            class: state >= 2 ? 'breaker-open' : 'breaker-half',
            x: x(from),
            y: y + 5,
            width: Math.max(1, x(until) - x(from)),
            height: height - 6,
          },
          s('title', {}, `${breakerStates[state] || state} from ${clock(from)} to ${clock(until)}`),
        ),
      );
  });
  return out;
}
