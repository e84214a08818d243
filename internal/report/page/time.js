// Scales, axes and charts over the run's time.

const runEnd = run => (run.phases.length ? run.phases[run.phases.length - 1].end : 1);
// reached is how far the run came: less than its plan where it was cut short.
const reached = run =>
  run.loads.length === 0
    ? runEnd(run)
    : Math.max(0, ...run.loads.map(l => (l.bins.length ? l.bins[l.bins.length - 1].t + 1 : 0)));
const inPhase = (run, fault, name) =>
  run.phases.some(p => p.name === name && fault.start < p.end && fault.end > p.start);
const phaseAt = (run, t) => (run.phases.find(p => t >= p.start && t < p.end) || {}).name || '';

// ticks are round numbers from 0 to at least max, about so many.
function ticks(max, about) {
  if (!(max > 0)) return [0, 1];
  const power = Math.pow(10, Math.floor(Math.log10(max / about)));
  const step = [1, 2, 5, 10].map(m => m * power).find(v => v >= (max / about) * 0.999);
  const out = [];
  for (let i = 0; i * step < max + step * 0.999; i++) out.push(Number((i * step).toPrecision(9)));
  return out;
}

// bands draws phases and faults behind a chart.
function bands(run, x, top, height, bare) {
  const out = [];
  run.phases.forEach((p, i) => {
    if (i % 2 === 1 && !bare)
      out.push(
        s('rect', { class: 'band-phase', x: x(p.start), y: top, width: Math.max(0, x(p.end) - x(p.start)), height }),
      );
    const name = (p.fault ? '⚡︎ ' : '') + p.name;
    if (x(p.end) - x(p.start) > name.length * 6.8 + 8)
      out.push(s('text', { class: p.fault ? 'fault-label' : 'phase-label', x: x(p.start) + 3, y: top - 5 }, name));
  });
  for (const f of run.faults) {
    if (!bare)
      out.push(
        s('rect', { class: 'band-fault', x: x(f.start), y: top, width: Math.max(1, x(f.end) - x(f.start)), height }),
      );
    for (const t of [f.start, f.end])
      out.push(s('line', { class: 'fault-line', x1: x(t), x2: x(t), y1: top - (bare ? 3 : 0), y2: top + height }));
  }
  const end = reached(run);
  if (end < runEnd(run) - 1)
    out.push(
      s('rect', { class: 'band-cut', x: x(end), y: top, width: x(runEnd(run)) - x(end), height }),
      x(runEnd(run)) - x(end) > 70 && s('text', { x: x(end) + 6, y: top + 14 }, 'cut short'),
    );
  return out.filter(Boolean);
}
function timeAxis(run, x, y, width) {
  const end = runEnd(run),
    from = run.from || 0; // a part of a run may be drawn, which begins later
  const text = t => (end >= 300 ? significant((t + from) / 60) + 'm' : t + from + 's');
  const marks = end >= 300 ? ticks(end / 60, width < 420 ? 4 : 8).map(v => v * 60) : ticks(end, width < 420 ? 4 : 8);
  return marks
    .filter(t => t <= end * 1.001)
    .map(t =>
      s(
        'text',
        { x: x(t), y: y + 14, 'text-anchor': t === 0 ? 'start' : x(t) > width - 16 ? 'end' : 'middle' },
        text(t),
      ),
    );
}
const yAxis = (marks, y, left, inner, text) =>
  marks.map(v => [
    s('line', { class: 'axis', x1: left, x2: left + inner, y1: y(v), y2: y(v) }),
    s('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, text(v)),
  ]);

// chart is a chart over the run's time. draw gets the scales and returns what is
// drawn; read gives the values at a time, for the pointer and the arrow keys. run may be
// a function that gives the run as it is now: redraw draws it anew where it stands, and leaves
// alone what the pointer and the keyboard are at.
function chart(run, { height, left, label, draw, read }) {
  const now = typeof run === 'function' ? run : () => run;
  let drawn = null;
  const box = draws(height, width => {
    drawn = chartAt(now, { width, height, left, label, draw, read });
    return drawn.root;
  });
  box.redraw = () => {
    if (drawn) drawn.again();
  };
  return box;
}

function chartAt(now, { width, height, left, label, draw, read }) {
  const top = 20,
    right = 8,
    inner = width - left - right,
    plot = height - top - 20;
  const x = t => left + (inner * t) / runEnd(now());
  const content = s('g', {}),
    cross = s('line', { class: 'cross', y1: top, y2: top + plot, visibility: 'hidden' });
  let at = -1;
  const show = (t, clientX, clientY) => {
    at = Math.max(0, Math.min(runEnd(now()) - 0.001, t));
    cross.setAttribute('x1', x(at));
    cross.setAttribute('x2', x(at));
    cross.setAttribute('visibility', 'visible');
    const box = root.getBoundingClientRect();
    showTip(
      clientX === undefined ? box.left + (x(at) * box.width) / width : clientX,
      clientY === undefined ? box.top + top : clientY,
      read(at),
    );
  };
  const hide = () => {
    hideTip();
    cross.setAttribute('visibility', 'hidden');
  };
  const root = s('svg', {
    class: 'chart',
    viewBox: `0 0 ${width} ${height}`,
    height,
    role: 'img',
    'aria-label': label + '. Arrow keys read the values.',
    tabindex: 0,
    onblur: hide,
    onkeydown: e => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[e.key];
      if (!step) return;
      e.preventDefault();
      show(at < 0 ? 0 : at + step * Math.max(1, runEnd(now()) / 300));
    },
  });
  const again = () =>
    content.replaceChildren(
      ...bands(now(), x, top, plot),
      ...[draw({ x, top, plot, left, inner, end: runEnd(now()) })].flat(9).filter(Boolean),
      ...timeAxis(now(), x, top + plot, width),
    );
  again();
  root.append(
    content,
    cross,
    s('rect', {
      x: left,
      y: top,
      width: inner,
      height: plot,
      fill: 'transparent',
      onmouseleave: hide,
      onmousemove: e => {
        const box = root.getBoundingClientRect();
        show(((((e.clientX - box.left) * width) / box.width - left) / inner) * runEnd(now()), e.clientX, e.clientY);
      },
    }),
  );
  return { root, again };
}

// boxes are rectangles of one kind as one element: hundreds of bars cost no more than one.
const boxes = (attrs, list) =>
  list.length > 0 &&
  s('path', {
    ...attrs,
    d: list
      .map(b => `M${b.x.toFixed(1)} ${b.y.toFixed(1)}h${b.w.toFixed(1)}v${b.h.toFixed(1)}h-${b.w.toFixed(1)}z`)
      .join(''),
  });

// outcomeBars stacks what became of the journeys of each second.
function outcomeBars(bins, { x, y, width }) {
  const kinds = ['good', 'slow', 'failed'],
    bars = { good: [], slow: [], failed: [] };
  for (const b of bins) {
    let base = 0;
    for (const kind of b ? kinds : []) {
      if (b[kind] > 0) bars[kind].push({ x: x(b), y: y(base + b[kind]), w: width, h: y(base) - y(base + b[kind]) });
      base += b[kind];
    }
  }
  return kinds.map(kind => boxes({ class: 'bar-' + kind }, bars[kind]));
}

// path draws lines through points; where one is missing, the line breaks, and a
// point on its own is a dot.
function path(points, x, y) {
  let d = '',
    pen = false;
  for (const [t, v] of points) {
    if (missing(v)) {
      pen = false;
      continue;
    }
    d += pen ? `L${x(t).toFixed(1)} ${y(v).toFixed(1)}` : `M${x(t).toFixed(1)} ${y(v).toFixed(1)}h0`;
    pen = true;
  }
  return d;
}
