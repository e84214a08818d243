// Where the nodes and edges of the topology go: nodes in layers, so that calls flow
// one way; layers ordered so that few edges cross; nodes near those they talk to.
// Edges that pass a layer do so between its nodes, never behind them, and those to the
// same callee share one lane.

// distances gives how many calls away from a node each other one is.
function distances(next, from) {
  const out = new Map([[from, 0]]);
  for (const n of out.keys()) for (const m of next[n]) if (!out.has(m)) out.set(m, out.get(n) + 1);
  return out;
}

// ranks gives each node its layer: one more than its deepest caller's. Of the edges of a
// cycle, those that lead back towards the top are turned around. Callers that nobody
// calls stand just before whom they call.
function ranks(names, edges, top) {
  const next = {},
    rank = {},
    waits = {},
    turned = new Set(),
    called = new Set(),
    key = (a, b) => a + '\n' + b;
  names.forEach(n => {
    next[n] = [];
    rank[n] = 0;
    waits[n] = 0;
  });
  edges.forEach(e => {
    if (next[e.from] && next[e.to] && e.from !== e.to) next[e.from].push(e.to);
  });
  const reach = new Map(names.map(n => [n, distances(next, n)])),
    place = new Map(names.map((n, i) => [n, i]));
  const depth = n => (next[top] && reach.get(top).has(n) ? reach.get(top).get(n) : names.length);
  for (const a of names)
    for (const b of next[a])
      if (reach.get(b).has(a) && (depth(a) - depth(b) || place.get(a) - place.get(b)) > 0) turned.add(key(a, b));
  const ahead = {};
  names.forEach(n => {
    ahead[n] = [];
  });
  for (const a of names)
    for (const b of next[a]) {
      const [from, to] = turned.has(key(a, b)) ? [b, a] : [a, b];
      ahead[from].push(to);
      waits[to]++;
      called.add(b);
    }
  const ready = names.filter(n => waits[n] === 0);
  for (const n of ready)
    for (const m of ahead[n]) {
      rank[m] = Math.max(rank[m], rank[n] + 1);
      if (--waits[m] === 0) ready.push(m);
    }
  for (const n of names)
    if (n !== top && !called.has(n) && ahead[n].length)
      rank[n] = Math.max(0, Math.min(...ahead[n].map(m => rank[m])) - 1);
  return { rank, turned };
}

// layered makes items of nodes and of the lanes that edges pass through layers in.
function layered(names, edges, { rank, turned }) {
  const items = new Map(),
    layers = [],
    routes = [],
    links = new Map();
  const add = (id, layer, node) => {
    if (!items.has(id)) {
      items.set(id, { id, layer, node, up: [], down: [], pos: 0 });
      (layers[layer] = layers[layer] || []).push(items.get(id));
    }
    return items.get(id);
  };
  names.forEach(n => add(n, rank[n], true));
  const link = (a, b) => {
    if (!links.has(a.id + '\n' + b.id)) {
      links.set(a.id + '\n' + b.id, true);
      a.down.push(b);
      b.up.push(a);
    }
  };
  edges.forEach(e => {
    if (!items.has(e.from) || !items.has(e.to) || e.from === e.to) return;
    const back = rank[e.from] > rank[e.to] || turned.has(e.from + '\n' + e.to),
      [a, b] = back ? [e.to, e.from] : [e.from, e.to],
      stops = [items.get(a)];
    for (let r = rank[a] + 1; r < rank[b]; r++) stops.push(add(`${b}\n${r}`, r, false));
    stops.push(items.get(b));
    for (let i = 0; i + 1 < stops.length; i++) link(stops[i], stops[i + 1]);
    routes.push({ edge: e, stops, back });
  });
  return { layers: layers.filter(Boolean).map(l => l.slice()), routes };
}

// --- the order within layers ---
const index = layer =>
  layer.forEach((item, i) => {
    item.at = i;
  });
// crossings goes through the edges below a layer from left to right, and counts of each how many before it, from
// other items, end further to the right.
function crossings(layer) {
  const ended = [];
  let n = 0;
  for (const item of layer) {
    for (const d of item.down) for (let at = d.at + 1; at < ended.length; at++) n += ended[at] || 0;
    for (const d of item.down) ended[d.at] = (ended[d.at] || 0) + 1;
  }
  return n;
}
const allCrossings = layers => layers.reduce((sum, l) => sum + crossings(l), 0);
const average = list => list.reduce((a, b) => a + b, 0) / list.length;

function uncross(layers) {
  layers.forEach(index);
  let best = layers.map(l => l.slice()),
    least = allCrossings(layers);
  for (let sweep = 0; sweep < 16 && least > 0; sweep++) {
    const down = sweep % 2 === 0,
      order = down ? layers.slice(1) : layers.slice(0, -1).reverse();
    for (const layer of order) {
      for (const item of layer) {
        const near = down ? item.up : item.down;
        item.want = near.length ? average(near.map(v => v.at)) : item.at;
      }
      layer.sort((a, b) => a.want - b.want || a.at - b.at);
      index(layer);
    }
    exchange(layers);
    const now = allCrossings(layers);
    if (now < least) {
      least = now;
      best = layers.map(l => l.slice());
    }
  }
  layers.forEach((l, i) => {
    l.splice(0, l.length, ...best[i]);
    index(l);
  });
}
// exchange swaps neighbours where fewer edges cross then. Only those of the two can cross otherwise, so
// only they are counted.
function exchange(layers) {
  for (const layer of layers)
    for (let i = 0; i + 1 < layer.length; i++) {
      const [a, b] = [layer[i], layer[i + 1]];
      if (inverted(a, b) <= inverted(b, a)) continue;
      [layer[i], layer[i + 1]] = [b, a];
      b.at = i;
      a.at = i + 1;
    }
}
// inverted counts the edges of a and b that cross while a stands before b.
function inverted(a, b) {
  let n = 0;
  for (const v of a.up) for (const w of b.up) if (v.at > w.at) n++;
  for (const v of a.down) for (const w of b.down) if (v.at > w.at) n++;
  return n;
}

// --- the places within layers ---
// settle moves items as little as possible from where they want to be, so that they
// keep their order and their distances: isotonic regression by pooling neighbours.
function settle(layer, room) {
  let offset = 0;
  const blocks = [];
  layer.forEach((item, i) => {
    if (i > 0) offset += room(layer[i - 1], item);
    item.offset = offset;
    let block = { sum: (item.want - offset) * item.weight, weight: item.weight, items: [item] };
    while (
      blocks.length &&
      blocks[blocks.length - 1].sum / blocks[blocks.length - 1].weight > block.sum / block.weight
    ) {
      const last = blocks.pop();
      block = { sum: last.sum + block.sum, weight: last.weight + block.weight, items: last.items.concat(block.items) };
    }
    blocks.push(block);
  });
  for (const b of blocks) for (const item of b.items) item.pos = b.sum / b.weight + item.offset;
}

function place(layers, size, gap) {
  const room = (a, b) => ((a.node ? size : 4) + (b.node ? size : 4)) / 2 + (a.node && b.node ? gap : gap * 0.6);
  for (const layer of layers) {
    layer.forEach(item => {
      item.weight = item.node ? 1 : 2;
      item.want = 0;
    });
    settle(layer, room);
  }
  for (let pass = 0; pass < 12; pass++) {
    const down = pass % 2 === 0;
    for (const layer of down ? layers : layers.slice().reverse()) {
      for (const item of layer) {
        const near = pass > 8 ? item.up.concat(item.down) : down ? item.up : item.down;
        item.want = near.length ? average(near.map(v => v.pos)) : item.pos;
      }
      settle(layer, room);
    }
  }
  const least = Math.min(...layers.flat().map(i => i.pos - (i.node ? size : 4) / 2)),
    most = Math.max(...layers.flat().map(i => i.pos + (i.node ? size : 4) / 2));
  layers.flat().forEach(i => {
    i.pos -= least;
  });
  return most - least;
}

// layOut gives nodes their boxes and edges their curves, by their ranks. Across is along the layers:
// left to right, or with vertical top to bottom.
function layOut(names, edges, ranked, { width, vertical, nodeWidth, nodeHeight, gap, least }) {
  const { layers, routes } = layered(names, edges, ranked);
  uncross(layers);
  const [along, across] = vertical ? [nodeHeight, nodeWidth] : [nodeWidth, nodeHeight],
    extent = place(layers, across, gap);
  const step = vertical
    ? along + least
    : layers.length < 2
      ? 0
      : Math.max(along + least, (width - 4 - along) / (layers.length - 1));
  const start = layer => 2 + layer * step,
    pad = vertical ? Math.max(2, (width - extent) / 2) : 2;
  const spot = (a, c) => (vertical ? { x: c + pad, y: a } : { x: a, y: c + pad }),
    boxes = {},
    numbers = new Map(layers.flatMap((l, i) => l.map(item => [item.id, i])));
  layers
    .flat()
    .filter(i => i.node)
    .forEach(i => {
      const p = spot(start(numbers.get(i.id)), i.pos - across / 2);
      boxes[i.id] = { x: p.x, y: p.y, w: nodeWidth, h: nodeHeight };
    });
  // Edges leave and enter side by side, in the order of where they come from or go to.
  const port = (item, other, side) => {
    if (!item.node) return 0;
    const list = item[side].slice().sort((a, b) => a.pos - b.pos),
      i = list.indexOf(other),
      each = Math.min(7, (across - 12) / Math.max(1, list.length));
    return (i - (list.length - 1) / 2) * each;
  };
  const lines = routes.map(({ edge, stops, back }) => {
    const curves = [];
    stops.slice(0, -1).forEach((a, i) => {
      const b = stops[i + 1],
        from = spot(start(numbers.get(a.id)) + along, a.pos + port(a, b, 'down')),
        to = spot(start(numbers.get(b.id)), b.pos + port(b, a, 'up'));
      curves.push({ from, to });
    });
    return { edge, back, curves, vertical };
  });
  const total = {
    width: vertical ? Math.max(width, extent + 4) : Math.max(width, start(layers.length - 1) + along + 2),
    height: vertical ? start(layers.length - 1) + along + 2 : extent + 4,
  };
  return { boxes, lines, width: total.width, height: total.height };
}

// curve is the path of a line: a bend between two layers, straight through the ones
// that it passes.
function curve(line) {
  let d = '';
  line.curves.forEach(({ from, to }, i) => {
    d += (i === 0 ? 'M' : 'L') + `${from.x.toFixed(1)} ${from.y.toFixed(1)}`;
    const half = line.vertical ? (to.y - from.y) * 0.5 : (to.x - from.x) * 0.5;
    d += line.vertical
      ? `C${from.x.toFixed(1)} ${(from.y + half).toFixed(1)} ${to.x.toFixed(1)} ${(to.y - half).toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`
      : `C${(from.x + half).toFixed(1)} ${from.y.toFixed(1)} ${(to.x - half).toFixed(1)} ${to.y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
  });
  return d;
}
// along is the point of a curve's bend at share t.
function along({ from, to }, vertical, t) {
  const u = 1 - t,
    half = vertical ? (to.y - from.y) * 0.5 : (to.x - from.x) * 0.5;
  const [c1, c2] = vertical
    ? [
        { x: from.x, y: from.y + half },
        { x: to.x, y: to.y - half },
      ]
    : [
        { x: from.x + half, y: from.y },
        { x: to.x - half, y: to.y },
      ];
  const at = k => u * u * u * from[k] + 3 * u * u * t * c1[k] + 3 * u * t * t * c2[k] + t * t * t * to[k];
  return { x: at('x'), y: at('y') };
}
const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// labelPlace finds a place on the line where a label hides neither node nor label.
function labelPlace(line, w, hgt, taken, bounds) {
  for (const t of [0.5, 0.36, 0.64, 0.25, 0.75]) {
    for (const c of line.curves.slice().reverse()) {
      const p = along(c, line.vertical, t);
      for (const dy of [-hgt / 2 - 4, hgt / 2 + 4, 0]) {
        const box = { x: p.x - w / 2, y: p.y + dy - hgt / 2, w, h: hgt };
        if (
          box.x < 0 ||
          box.y < 0 ||
          box.x + w > bounds.width ||
          box.y + hgt > bounds.height ||
          taken.some(o => overlap(o, box))
        )
          continue;
        return box;
      }
    }
  }
  return null;
}
