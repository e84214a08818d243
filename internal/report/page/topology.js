// The topology with its figures in one phase, and the same figures as a table.

const hot = 0.01; // a share of errors or rejections that is worth a label
const loadName = 'load';

function edgeText(e, f) {
  const about = e.exact ? '' : '≈';
  return (
    `${e.caller} → ${e.callee}\n` +
    (f.why
      ? f.why
      : `${rate(f.rate)}, ${percent(f.errors)} errors, ${percent(f.rejected)} rejected\np50 ${about}${ms(f.p50)}, p99 ${about}${ms(f.p99)}\n${times(f.amplification)} attempts for each call`)
  );
}
// edgeLabel is what the picture says of an edge without being asked: only what is wrong.
function edgeLabel(f, faults) {
  const lines = faults.map(v => '⚡︎ ' + short(v.id, 18));
  if (f.errors > hot) lines.push(percent(f.errors) + ' errors');
  if (f.amplification > 1.2) lines.push(times(f.amplification) + ' attempts');
  return lines;
}
const crowded = 60; // edges from which on lines are thin
const lineWidth = (v, many) => Math.min(6, 1 + Math.log10(1 + (v || 0)) * 1.5) * (many ? 0.5 : 1);

function topology(run, phase) {
  const names = [loadName, ...run.services.map(v => v.name)],
    edges = run.edges.map(e => ({ from: e.caller, to: e.callee, data: e }));
  return draws(220, width => {
    const vertical = width < 640,
      depth = Math.max(1, ...Object.values(ranks(names, edges, loadName).rank)) + 1;
    const nodeWidth = vertical ? 108 : Math.max(106, Math.min(136, (width - (depth - 1) * 84) / depth)),
      nodeHeight = 42;
    const plan = layOut(names, edges, loadName, {
      width,
      vertical,
      nodeWidth,
      nodeHeight,
      gap: vertical ? 12 : 18,
      least: vertical ? 52 : depth > 6 ? 46 : 72,
    });
    const root = s('svg', {
      class: 'topology' + (edges.length > crowded ? ' crowded' : ''),
      viewBox: `0 0 ${plan.width} ${plan.height}`,
      width: plan.width,
      height: plan.height,
      role: 'group',
      'aria-label': `Who calls whom in ${run.label}, with the figures of ${phase}`,
    });
    const labels = [],
      lines = plan.lines.map(line => edgeGroup(run, phase, line, labels));
    root.append(
      ...lines.sort((a, b) => a.weight - b.weight).map(l => l.group),
      ...names.map(n => nodeGroup(run, phase, n, plan.boxes[n])),
      ...placeLabels(labels, plan),
    );
    focusOn(root, edges);
    return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'topology of ' + run.label }, root);
  });
}

function edgeGroup(run, phase, line, labels) {
  const e = line.edge.data,
    f = e.phases[phase] || {},
    faults = run.faults.filter(v => v.edges.includes(e.caller + '->' + e.callee) && inPhase(run, v, phase));
  const lines = edgeLabel(f, faults),
    d = curve(line),
    last = line.curves[line.back ? 0 : line.curves.length - 1],
    tipAt = line.back ? last.from : last.to;
  const state = faults.length ? ' faulted' : f.errors > hot ? ' hit' : f.rate > 0 ? '' : ' idle',
    turn = (line.vertical ? 90 : 0) + (line.back ? 180 : 0);
  if (lines.length)
    labels.push({ line, lines, fault: faults.length > 0, weight: (faults.length ? 10 : 0) + (f.errors || 0) });
  return {
    weight: faults.length ? 2 : f.errors > hot ? 1 : 0,
    group: s(
      'g',
      { class: 'link' + state, 'data-from': e.caller, 'data-to': e.callee },
      s('path', { class: 'edge', d, 'stroke-width': lineWidth(f.rate, run.edges.length > crowded).toFixed(1) }),
      s('path', {
        class: 'arrowhead',
        d: 'M0 0l-7 -3.4v6.8z',
        transform: `translate(${tipAt.x.toFixed(1)} ${tipAt.y.toFixed(1)}) rotate(${turn})`,
      }),
      s('path', {
        class: 'reach',
        d,
        onmousemove: ev => showTip(ev.clientX, ev.clientY, edgeText(e, f)),
        onmouseleave: hideTip,
      }),
    ),
  };
}

function nodeGroup(run, phase, name, box) {
  const svc = run.services.find(v => v.name === name),
    busy = svc && svc.phases[phase],
    hurt = run.faults.some(f => f.services.includes(name) && inPhase(run, f, phase));
  const sent = run.edges
    .filter(e => e.caller === name && svc === undefined)
    .map(e => (e.phases[phase] || {}).rate)
    .filter(v => v > 0)
    .reduce((a, b) => a + b, 0);
  const meta =
      svc === undefined
        ? sent
          ? rate(sent) + ' sent'
          : 'sends'
        : missing(busy)
          ? svc.protocol
          : percent(busy) + ' busy',
    level = busy > 0.9 ? 'bad' : busy > 0.6 ? 'slow' : 'good';
  const title = svc && svc.replicas > 1 ? `${name} ×${svc.replicas}` : name,
    text = [title, svc && svc.about, meta, hurt && 'a fault acts on it'].filter(Boolean).join('\n');
  return s(
    'g',
    {
      class: 'node' + (hurt ? ' hurt' : '') + (svc ? '' : ' source'),
      transform: `translate(${box.x.toFixed(1)} ${box.y.toFixed(1)})`,
      'data-name': name,
      tabindex: 0,
      role: 'img',
      'aria-label': text.replace(/\n/g, ', '),
    },
    s('rect', { class: 'box', width: box.w.toFixed(1), height: box.h, rx: svc ? 7 : box.h / 2 }),
    s('text', { x: svc ? 9 : 16, y: 17 }, short((hurt ? '⚡︎ ' : '') + title, Math.floor((box.w - 14) / 7.2))),
    s('text', { class: 'meta', x: svc ? 9 : 16, y: 30 }, meta),
    svc && [
      s('rect', { class: 'gauge', x: 9, y: 34, width: (box.w - 18).toFixed(1), height: 3, rx: 1.5 }),
      busy > 0 &&
        s('rect', {
          class: 'gauge ' + level,
          x: 9,
          y: 34,
          width: ((box.w - 18) * Math.min(1, busy)).toFixed(1),
          height: 3,
          rx: 1.5,
        }),
    ],
  );
}

// placeLabels puts labels where they hide nothing, the worst first; where there is no
// place, the table below has the figures.
function placeLabels(labels, plan) {
  const taken = Object.values(plan.boxes).map(b => ({ x: b.x - 2, y: b.y - 2, w: b.w + 4, h: b.h + 4 })),
    out = [];
  for (const l of labels.sort((a, b) => b.weight - a.weight).slice(0, 24)) {
    const w = Math.max(...l.lines.map(t => t.length)) * 6.1 + 6,
      box = labelPlace(l.line, w, l.lines.length * 13, taken, plan);
    if (!box) continue;
    taken.push(box);
    out.push(
      s(
        'text',
        { class: 'edge-label' + (l.fault ? ' fault-label' : ' hit-label'), 'text-anchor': 'middle' },
        l.lines.map((t, i) => s('tspan', { x: (box.x + w / 2).toFixed(1), y: (box.y + 10 + i * 13).toFixed(1) }, t)),
      ),
    );
  }
  return out;
}

// focusOn lets a node that the pointer or the keyboard is on stand out with its edges.
function focusOn(root, edges) {
  const show = name => {
    const near = new Set(
      name ? [name, ...edges.filter(e => e.from === name || e.to === name).flatMap(e => [e.from, e.to])] : [],
    );
    root.classList.toggle('focused', Boolean(name));
    for (const g of root.querySelectorAll('.node')) g.classList.toggle('near', near.has(g.dataset.name));
    for (const g of root.querySelectorAll('.link'))
      g.classList.toggle('near', g.dataset.from === name || g.dataset.to === name);
  };
  for (const g of root.querySelectorAll('.node')) {
    const on = () => show(g.dataset.name),
      off = () => {
        show('');
        hideTip();
      };
    fill(
      g,
      {
        onmouseenter: on,
        onfocus: on,
        onmouseleave: off,
        onblur: off,
        onmousemove: e => showTip(e.clientX, e.clientY, g.getAttribute('aria-label').replace(/, /g, '\n')),
      },
      [],
    );
  }
}

function edgeTable(run, phase) {
  const called = run.edges.filter(e => {
      const f = e.phases[phase] || {};
      return f.rate > 0 || f.why;
    }),
    quiet = run.edges.length - called.length;
  const rows = called.map(e => {
    const f = e.phases[phase] || {},
      about = e.exact ? '' : '≈',
      acting = run.faults.filter(v => e.faults.includes(v.id) && inPhase(run, v, phase));
    const name = h(
      'td',
      {},
      h('span', { class: 'mono' }, e.caller + ' → ' + e.callee),
      acting.map(v => h('span', { class: 'bad' }, ' ⚡︎ ' + v.id)),
      f.why && h('div', { class: 'soft small' }, f.why),
    );
    const figure = (v, text, bad) => h('td', { class: 'num' + (bad ? ' ' + bad : '') }, missing(v) ? nothing : text(v));
    return h(
      'tr',
      {},
      name,
      figure(f.rate, rate),
      figure(f.errors, percent, f.errors > hot && 'bad'),
      figure(f.rejected, percent, f.rejected > hot && 'slow'),
      figure(f.p50, v => about + ms(v)),
      figure(f.p99, v => about + ms(v)),
      figure(f.amplification, times, f.amplification > 1.2 && 'bad'),
    );
  });
  return [
    table(
      `edges of ${run.label} in ${phase}`,
      ['edge', '#calls', '#errors', '#rejected', '#p50', '#p99', '#attempts a call'],
      rows,
      { class: 'edges' },
    ),
    quiet > 0 && h('p', { class: 'soft small' }, `${counted(quiet, 'edge')} without a call in this phase.`),
  ];
}

// topologies draws all runs in the phase that is chosen for all of them.
function topologies() {
  const names = [...new Set(data.runs.flatMap(run => run.phases.map(p => p.name)))],
    box = h('div', { class: 'stack' });
  const start = names.findIndex(n => data.runs.some(run => run.phases.some(p => p.name === n && p.fault)));
  const bar = choice(
    'phase',
    names.map(n => ({ label: n, name: n })),
    start,
    o => box.replaceChildren(...data.runs.map(run => card(run, topology(run, o.name), edgeTable(run, o.name)))),
  );
  return [bar, box];
}
