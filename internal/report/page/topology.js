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
const edgeName = e => e.caller + '->' + e.callee;

// topology draws the services and edges of a run with the figures of a phase. Its update
// shows others in the same picture: only what is different changes, and nothing moves. figures
// is set to write rate and p99 on every edge while there is room; pick is told of the service
// or the edge that was clicked. To draw many services takes the time of three frames: plan works
// out where everything goes, prepare draws it, and fit shows it; held keeps it from being shown before.
function topology(run, phase, { figures = false, pick = null } = {}) {
  let shown = { run, phase },
    picture = null,
    planned = null;
  const draw = width => {
    if (!planned || planned.asked !== width) planned = planOf(run, width);
    picture = topologyOf(run, planned, { figures, pick });
    picture.update(shown.run, shown.phase);
    picture.asked = width;
  };
  const box = draws(220, width => {
    if (!picture || picture.asked !== width) draw(width);
    picture.asked = null; // it is shown once: when it is asked for again, something has changed
    box.style.minHeight = 'auto'; // from here on it has the height of what is drawn
    return h(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'topology of ' + run.label },
      picture.root,
    );
  });
  const room = () => Math.floor(box.clientWidth);
  box.plan = () => {
    planned = planOf(run, room());
  };
  box.prepare = () => draw(room());
  box.update = (run, phase) => {
    shown = { run, phase };
    if (picture) picture.update(run, phase);
  };
  return box;
}

const titleOf = svc => (svc.replicas > 1 ? `${svc.name} ×${svc.replicas}` : svc.name);
const letter = 7.2; // the width of a service's letters, about

// nodeSize is wide enough for the names, as far as all layers fit beside each other.
function nodeSize(run, width, depth, least) {
  const longest = Math.max(...run.services.map(v => titleOf(v).length + 1), 8) * letter + 18,
    wanted = Math.min(168, Math.max(96, longest));
  return width < 640
    ? Math.min(wanted, 124)
    : Math.max(96, Math.min(wanted, (width - 4 - (depth - 1) * least) / depth));
}

// planOf says where the nodes and edges of a run go on so much width.
function planOf(run, width) {
  const names = [loadName, ...run.services.map(v => v.name)],
    edges = run.edges.map(e => ({ from: e.caller, to: e.callee, data: e })),
    ranked = ranks(names, edges, loadName),
    vertical = width < 640,
    depth = Math.max(1, ...Object.values(ranked.rank)) + 1,
    few = edges.length <= crowded,
    least = vertical ? 52 : few ? 44 : 73;
  const plan = layOut(names, edges, ranked, {
    width,
    vertical,
    nodeWidth: nodeSize(run, width, depth, least),
    nodeHeight: 42,
    gap: vertical ? 12 : 18,
    least,
  });
  return { ...plan, asked: width, names, edges, few };
}

function topologyOf(run, plan, { figures, pick }) {
  const { names, edges, few } = plan;
  const root = s('svg', {
    class: 'topology' + (few ? '' : ' crowded'),
    viewBox: `0 0 ${plan.width.toFixed(1)} ${plan.height.toFixed(1)}`,
    width: plan.width.toFixed(1),
    height: plan.height.toFixed(1),
    role: 'group',
  });
  const levels = [0, 1, 2].map(() => s('g', {})), // what is worse lies above
    labels = s('g', {}),
    links = plan.lines.map(line => drawLink(line, pick)),
    nodes = names.map(n => drawNode(run, n, plan.boxes[n], pick)),
    placed = new Map();
  root.append(...levels, ...nodes.map(n => n.group), labels);
  focusOn(root, edges);
  oneStop(
    root,
    nodes.map(n => n.group),
    (from, key) => nearest(names, plan.boxes, from.dataset.name, key),
  );
  let written = '';
  const update = (run, phase) => {
    change(root, { 'aria-label': `Who calls whom in ${run.label}, with the figures of ${phase}. Arrow keys lead from one to the next.` });
    const known = new Map(run.edges.map(e => [edgeName(e), e])),
      services = new Map(run.services.map(v => [v.name, v])),
      texts = [];
    for (const link of links) {
      const level = showLink(link, run, known.get(link.name), phase, few);
      if (link.group.parentNode !== levels[level]) levels[level].append(link.group);
      const text = edgeLabel(link.now, link.faults),
        calm = figures && few && !text.length && link.now.rate > 0;
      if (calm) text.push(rate(link.now.rate), ms(link.now.p99));
      if (text.length)
        texts.push({ link, lines: text, calm, weight: (calm ? -1 : 0) + level * 10 + (link.now.errors || 0) });
    }
    for (const node of nodes) showNode(node, run, services.get(node.name), phase);
    const key = JSON.stringify(texts.map(t => [t.link.name, t.lines]));
    if (key === written) return;
    written = key;
    labels.replaceChildren(...placeLabels(texts, plan, placed));
  };
  return { root, update };
}

// nearest is the index of the node that an arrow key leads to: one on that side, rather ahead than aside.
function nearest(names, boxes, from, key) {
  const side = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key],
    here = boxes[from];
  let best = -1,
    least = Infinity;
  names.forEach((name, i) => {
    const dx = boxes[name].x - here.x,
      dy = boxes[name].y - here.y,
      ahead = dx * side[0] + dy * side[1],
      far = ahead + 3 * Math.abs(dx * side[1] + dy * side[0]);
    if (ahead > 1 && far < least) [best, least] = [i, far];
  });
  return best;
}

function drawLink(line, pick) {
  const e = line.edge.data,
    d = curve(line),
    last = line.curves[line.back ? 0 : line.curves.length - 1],
    tipAt = line.back ? last.from : last.to,
    turn = (line.vertical ? 90 : 0) + (line.back ? 180 : 0);
  const link = { name: edgeName(e), line, now: {}, faults: [], exact: true };
  link.edge = s('path', { class: 'edge', d });
  link.group = s(
    'g',
    { 'data-from': e.caller, 'data-to': e.callee, 'aria-hidden': 'true' }, // the table below has the edges
    link.edge,
    s('path', {
      class: 'arrowhead',
      d: 'M0 0l-7 -3.4v6.8z',
      transform: `translate(${tipAt.x.toFixed(1)} ${tipAt.y.toFixed(1)}) rotate(${turn})`,
    }),
    s('path', {
      class: 'reach' + (pick ? ' pick' : ''),
      d,
      onclick: pick && (() => pick({ edge: link.name })),
      onmousemove: ev => showTip(ev.clientX, ev.clientY, edgeText({ ...e, exact: link.exact }, link.now)),
      onmouseleave: hideTip,
    }),
  );
  return link;
}

// showLink gives an edge its figures, and says how bad it is: 2 where a fault acts on it.
function showLink(link, run, e, phase, few) {
  link.now = (e && e.phases[phase]) || {};
  link.exact = e ? e.exact !== false : true;
  link.faults = run.faults.filter(v => v.edges.includes(link.name) && inPhase(run, v, phase));
  const level = link.faults.length ? 2 : link.now.errors > hot ? 1 : 0;
  change(link.group, {
    class:
      'link' +
      (level ? ['', ' hit', ' faulted'][level] : link.now.rate > 0 ? '' : ' idle') +
      (link.group.classList.contains('near') ? ' near' : ''),
  });
  change(link.edge, { 'stroke-width': lineWidth(link.now.rate, !few).toFixed(1) });
  return level;
}

function drawNode(run, name, box, pick) {
  const svc = run.services.find(v => v.name === name),
    x = svc ? 9 : 16,
    node = { name, svc, width: box.w };
  node.title = s('text', { x, y: 17 });
  node.meta = s('text', { class: 'meta', x, y: 30 });
  node.gauge = svc && s('rect', { class: 'gauge', x: 9, y: 34, width: 0, height: 3, rx: 1.5 });
  const picked = pick && svc ? () => pick({ service: name }) : null;
  node.group = s(
    'g',
    {
      class: 'node',
      transform: `translate(${box.x.toFixed(1)} ${box.y.toFixed(1)})`,
      'data-name': name,
      role: picked ? 'button' : 'img',
      onclick: picked,
      onkeydown: picked && (e => (e.key === 'Enter' || e.key === ' ') && (e.preventDefault(), picked())),
    },
    s('rect', { class: 'box', width: box.w.toFixed(1), height: box.h, rx: svc ? 7 : box.h / 2 }),
    node.title,
    node.meta,
    svc && s('rect', { class: 'gauge', x: 9, y: 34, width: (box.w - 18).toFixed(1), height: 3, rx: 1.5 }),
    node.gauge,
  );
  return node;
}

function showNode(node, run, svc, phase) {
  const busy = svc && svc.phases[phase],
    hurt = run.faults.some(f => f.services.includes(node.name) && inPhase(run, f, phase)),
    gone = svc && svc.down > 0;
  const title = svc ? titleOf(svc) : node.name,
    meta = svc ? serviceMeta(svc, busy, gone) : sentBy(run, node.name, phase),
    text = [title, svc && svc.about, meta, hurt && 'a fault acts on it'].filter(Boolean).join('\n');
  change(node.group, {
    class:
      'node' +
      (hurt ? ' hurt' : '') +
      (gone ? ' gone' : '') +
      (node.svc ? '' : ' source') +
      (node.group.classList.contains('near') ? ' near' : ''),
    'aria-label': text.replace(/\n/g, ', '),
  });
  say(node.title, short((hurt ? '⚡︎ ' : '') + title, Math.floor((node.width - 14) / letter)));
  say(node.meta, meta);
  if (node.gauge)
    change(node.gauge, {
      class: 'gauge ' + (busy > 0.9 ? 'bad' : busy > 0.6 ? 'slow' : 'good'),
      width: busy > 0 ? ((node.width - 18) * Math.min(1, busy)).toFixed(1) : 0,
    });
}
const serviceMeta = (svc, busy, gone) =>
  gone
    ? svc.replicas > 1
      ? `${svc.down} of ${svc.replicas} down`
      : 'down'
    : missing(busy)
      ? svc.protocol
      : percent(busy) + ' busy';
function sentBy(run, name, phase) {
  const sent = run.edges
    .filter(e => e.caller === name)
    .map(e => (e.phases[phase] || {}).rate)
    .filter(v => v > 0)
    .reduce((a, b) => a + b, 0);
  return sent ? rate(sent) + ' sent' : 'sends';
}

// placeLabels puts labels where they hide nothing, the worst first; where there is no
// place, the table below has the figures. A label that has found its place keeps it.
function placeLabels(labels, plan, placed) {
  const taken = Object.values(plan.boxes).map(b => ({ x: b.x - 2, y: b.y - 2, w: b.w + 4, h: b.h + 4 })),
    out = [];
  const byWeight = labels.sort((a, b) => b.weight - a.weight);
  for (const l of byWeight.filter((l, i) => l.calm || i < 24)) {
    const w = Math.max(...l.lines.map(t => t.length), l.calm ? 7 : 0) * 6.1 + 6,
      height = l.lines.length * 13,
      was = placed.get(l.link.name);
    const fits = was && was.w === w && was.h === height && !taken.some(o => overlap(o, was)),
      box = fits ? was : labelPlace(l.link.line, w, height, taken, plan);
    if (!box) continue;
    placed.set(l.link.name, box);
    taken.push(box);
    out.push(
      s(
        'text',
        {
          class: 'edge-label' + (l.calm ? '' : l.link.faults.length ? ' fault-label' : ' hit-label'),
          'text-anchor': 'middle',
        },
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
    for (const g of root.querySelectorAll('[data-from]'))
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
