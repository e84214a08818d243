'use strict';
// The report draws itself from the JSON in #data. Everything that comes from the
// system under test goes through textContent or setAttribute, never through HTML.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const main = document.getElementById('main');
  const NS = 'http://www.w3.org/2000/svg';

  // --- making elements ---
  function fill(node, attrs, children) {
    for (const [k, v] of Object.entries(attrs || {})) {
      if (v === undefined || v === null || v === false) continue;
      if (k === 'class') node.setAttribute('class', v);
      else if (k.startsWith('on')) node.addEventListener(k.slice(2), v);
      else node.setAttribute(k, v === true ? '' : v);
    }
    for (const c of children.flat(9)) if (c !== undefined && c !== null && c !== false) node.append(c);
    return node;
  }
  const h = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
  const s = (tag, attrs, ...children) => fill(document.createElementNS(NS, tag), attrs, children);

  // --- writing numbers ---
  const nothing = '–';
  const trim = (n, digits) => Number(n.toPrecision(digits)).toLocaleString('en', { maximumFractionDigits: 6 });
  function ms(v) {
    if (v === null || v === undefined || Number.isNaN(v)) return nothing;
    if (v >= 1000) return trim(v / 1000, 3) + ' s';
    return (v >= 10 ? Math.round(v) : trim(v, 2)) + ' ms';
  }
  function percent(v) {
    if (v === null || v === undefined) return nothing;
    const p = v * 100;
    return (p === 0 || p === 100 ? p : p > 99 || p < 1 ? p.toFixed(2) : p.toFixed(1)) + ' %';
  }
  const rate = v => v === null || v === undefined ? nothing : (v >= 100 ? Math.round(v) : trim(v, 3)) + '/s';
  const times = v => v === null || v === undefined ? nothing : v.toFixed(2) + '×';
  const clock = t => (t < 0 ? '−' : '') + Math.abs(t).toFixed(1) + ' s';

  // --- the tip that follows the pointer ---
  const tip = h('div', { class: 'tip', hidden: true, role: 'status' });
  document.body.append(tip);
  function showTip(event, text) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + 'px';
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 8)) + 'px';
  }
  const hideTip = () => { tip.hidden = true; };

  // --- sections ---
  const nav = document.getElementById('nav');
  function section(id, title, intro, ...children) {
    nav.append(h('a', { href: '#' + id }, title));
    main.append(h('section', {}, h('h2', { id }, title), intro && h('p', { class: 'soft' }, intro), ...children));
  }
  const badge = outcome => h('span', { class: 'badge ' + outcome }, outcome);

  // draws(fn) is a box that draws again when its width changes.
  function draws(fn) {
    const box = h('div', {});
    let last = 0;
    new ResizeObserver(() => {
      const width = Math.floor(box.clientWidth);
      if (width > 0 && width !== last) { last = width; box.replaceChildren(fn(width)); }
    }).observe(box);
    return box;
  }
  // choice(labels, draw) is a row of buttons above what the chosen one draws.
  function choice(label, options, draw, start) {
    const box = h('div', {}), bar = h('div', { class: 'tools', role: 'group', 'aria-label': label });
    const pick = i => {
      [...bar.querySelectorAll('button')].forEach((b, j) => b.setAttribute('aria-pressed', i === j));
      box.replaceChildren(draw(options[i]));
    };
    options.forEach((o, i) => bar.append(h('button', { type: 'button', onclick: () => pick(i) }, o.label)));
    pick(Math.max(0, start || 0));
    return h('div', {}, options.length > 1 && bar, box);
  }

  // --- scales and axes ---
  function niceTicks(max, count) {
    if (!(max > 0)) return [0, 1];
    const rough = max / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map(m => m * power).find(v => v >= rough);
    const ticks = [];
    for (let v = 0; v <= max + step * 0.999; v += step) ticks.push(v);
    return ticks;
  }
  function bands(run, x, top, height, labels, bare) {
    const out = [];
    run.phases.forEach((p, i) => {
      if (i % 2 === 1) out.push(s('rect', { class: 'band-phase', x: x(p.start), y: top, width: Math.max(0, x(p.end) - x(p.start)), height }));
      if (labels && x(p.end) - x(p.start) > p.name.length * 7 + 6) out.push(s('text', { x: x(p.start) + 3, y: top - 4 }, p.name));
    });
    run.faults.forEach(f => {
      if (!bare) out.push(s('rect', { class: 'band-fault', x: x(f.start), y: top, width: Math.max(1, x(f.end) - x(f.start)), height },
        s('title', {}, f.id + ': ' + f.kind + ' ' + f.target)));
      for (const edge of bare ? [f.start, f.end] : [f.start]) out.push(s('line', { x1: x(edge), x2: x(edge), y1: top - (bare ? 4 : 0), y2: top + height, stroke: 'var(--fault-line)', 'stroke-width': bare ? 1.5 : 1 }));
    });
    return out;
  }
  function timeAxis(run, x, y, width) {
    const end = runEnd(run), out = [];
    for (const t of niceTicks(end, width < 360 ? 4 : 8)) if (t <= end) out.push(s('text', { x: x(t), y: y + 14, 'text-anchor': 'middle' }, t + ' s'));
    return out;
  }
  const runEnd = run => run.phases.length ? run.phases[run.phases.length - 1].end : 1;

  // frame sets up a chart over the run's time: bands, axes, and a pointer that reads the values.
  function frame(run, width, height, left, draw, read, label) {
    const top = 18, right = 8, inner = width - left - right, plot = height - top - 20;
    const x = t => left + inner * t / runEnd(run);
    const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': label }, bands(run, x, top, plot, true));
    root.append(...draw({ x, top, plot, left, inner }).flat(9).filter(Boolean), ...timeAxis(run, x, top + plot, width));
    const cross = s('line', { y1: top, y2: top + plot, stroke: 'var(--soft)', 'stroke-width': 1, visibility: 'hidden' });
    root.append(cross, s('rect', {
      x: left, y: top, width: inner, height: plot, fill: 'transparent',
      onmousemove: e => {
        const box = root.getBoundingClientRect();
        const t = ((e.clientX - box.left) * width / box.width - left) / inner * runEnd(run);
        cross.setAttribute('x1', x(t)); cross.setAttribute('x2', x(t)); cross.setAttribute('visibility', 'visible');
        showTip(e, read(t));
      },
      onmouseleave: () => { hideTip(); cross.setAttribute('visibility', 'hidden'); },
    }));
    return root;
  }
  function path(points, x, y) {
    let d = '', pen = false;
    for (const [t, v] of points) {
      if (v === null || v === undefined) { pen = false; continue; }
      d += (pen ? 'L' : 'M') + x(t).toFixed(1) + ' ' + y(v).toFixed(1);
      pen = true;
    }
    return d;
  }
  const yAxis = (ticks, y, left, inner, text) => ticks.map(v => [
    s('line', { class: 'axis', x1: left, x2: left + inner, y1: y(v), y2: y(v) }), s('text', { x: left - 5, y: y(v) + 4, 'text-anchor': 'end' }, text(v))]);

  // --- charts of a load ---
  function goodputChart(run, load, top) {
    return draws(width => frame(run, width, 190, 38, ({ x, top: y0, plot, left, inner }) => {
      const max = top || 1, y = v => y0 + plot - plot * Math.min(v, max) / max, step = Math.max(1, inner / runEnd(run));
      const out = [yAxis(niceTicks(max, 4).filter(v => v <= max), y, left, inner, v => trim(v, 3))];
      for (const b of load.bins) {
        let base = 0;
        for (const [value, color] of [[b.good, 'var(--good)'], [b.slow, 'var(--slow)'], [b.failed, 'var(--bad)']]) {
          if (value > 0) out.push(s('rect', { x: x(b.t), y: y(base + value), width: Math.max(.5, step - (step > 4 ? 1 : 0)), height: y(base) - y(base + value), fill: color }));
          base += value;
        }
      }
      return out;
    }, t => {
      const b = load.bins[Math.floor(t)];
      return b ? `${clock(b.t)}\n${b.offered} due: ${b.good} good, ${b.slow} slow, ${b.failed} failed` : clock(t);
    }, `goodput of ${load.name} in ${run.variant}`));
  }
  function latencyChart(run, load, low, high) {
    return draws(width => frame(run, width, 170, 46, ({ x, top: y0, plot, left, inner }) => {
      const span = Math.log10(high / low), y = v => y0 + plot - plot * Math.log10(Math.min(Math.max(v, low), high) / low) / span;
      const ticks = [];
      for (let v = low; v <= high * 1.001; v *= 10) ticks.push(v);
      const line = (key, color, w) => s('path', { d: path(load.bins.map(b => [b.t + .5, b[key] > 0 ? b[key] : null]), x, y), fill: 'none', stroke: color, 'stroke-width': w, 'stroke-linejoin': 'round' });
      return [yAxis(ticks, y, left, inner, ms), load.slo > 0 && load.slo <= high && [
        s('line', { x1: left, x2: left + inner, y1: y(load.slo), y2: y(load.slo), stroke: 'var(--ink)', 'stroke-dasharray': '3 3', opacity: .6 }),
        s('text', { x: left + inner, y: y(load.slo) - 3, 'text-anchor': 'end' }, 'slo ' + ms(load.slo))],
      line('p99', 'var(--bad)', 1.6), line('p50', 'var(--blue)', 1.6)];
    }, t => {
      const b = load.bins[Math.floor(t)];
      return b ? `due at ${clock(b.t)}\np50 ${ms(b.p50)}\np99 ${ms(b.p99)}` : clock(t);
    }, `latency of ${load.name} in ${run.variant}`));
  }
  const legend = items => h('div', { class: 'legend' }, items.map(([color, text]) => h('span', {}, h('i', { style: 'background:' + color }), text)));

  // --- saturation, hop by hop ---
  // Services on a way from the entry to a fault come first, so that the climb reads as one block.
  function byWayToFault(run) {
    const hurt = new Set(run.faults.flatMap(f => (f.edges || []).flatMap(e => e.split('->')).concat(f.services || [])));
    for (let grown = true; grown;) {
      grown = false;
      run.edges.forEach(e => { if (hurt.has(e.callee) && !hurt.has(e.caller)) { hurt.add(e.caller); grown = true; } });
    }
    const reached = new Set([run.entry]);
    for (let grown = true; grown;) {
      grown = false;
      run.edges.forEach(e => { if (reached.has(e.caller) && !reached.has(e.callee)) { reached.add(e.callee); grown = true; } });
    }
    const depth = {};
    layers(run).forEach((names, i) => names.forEach(n => { depth[n] = i; }));
    const rank = v => (hurt.has(v.name) && reached.has(v.name) ? 0 : 100) + depth[v.name];
    return run.services.filter(v => v.busy && v.busy.length).sort((a, b) => rank(a) - rank(b));
  }
  function heat(run) {
    return draws(width => {
      const left = Math.min(150, Math.max(92, width * .2)), right = 8, top = 18, rowHeight = 22, rows = byWayToFault(run);
      const inner = width - left - right, height = top + rows.length * rowHeight + 22, x = t => left + inner * t / runEnd(run);
      const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `busy workers and queues of each service in ${run.variant}` });
      rows.forEach((svc, i) => {
        const y = top + i * rowHeight;
        root.append(s('text', { x: left - 8, y: y + 15, 'text-anchor': 'end', style: 'fill:var(--ink);font-size:12px' }, svc.name));
        svc.busy.forEach(([t, busy], j) => {
          const queue = svc.queue && svc.queue[j] ? svc.queue[j][1] : 0, cell = inner / runEnd(run) + .6;
          if (t < 0 || t > runEnd(run)) return;
          root.append(s('rect', { x: x(t), y: y + 2, width: Math.min(cell, left + inner - x(t)), height: rowHeight - 4, fill: `rgba(var(--heat), ${(Math.min(1, busy) * .8).toFixed(2)})` }));
          if (queue > 0) root.append(s('rect', { x: x(t), y: y + rowHeight - 2 - (rowHeight - 4) * Math.min(1, queue), width: Math.min(cell, left + inner - x(t)), height: (rowHeight - 4) * Math.min(1, queue), fill: 'var(--ink)', opacity: .55 }));
        });
        root.append(s('rect', { x: left, y: y + 2, width: inner, height: rowHeight - 4, fill: 'transparent', stroke: 'var(--line)',
          onmousemove: e => {
            const box = root.getBoundingClientRect(), t = ((e.clientX - box.left) * width / box.width - left) / inner * runEnd(run);
            const near = svc.busy.reduce((a, p, j) => Math.abs(p[0] - t) < Math.abs(svc.busy[a][0] - t) ? j : a, 0);
            const q = svc.queue && svc.queue[near] ? svc.queue[near][1] : 0;
            showTip(e, `${svc.name} at ${clock(svc.busy[near][0])}\n${percent(svc.busy[near][1])} of ${svc.workers || '?'} workers busy\nqueue ${percent(q)} of ${svc.queue_limit || 0}`);
          }, onmouseleave: hideTip }));
      });
      root.append(...bands(run, x, top, rows.length * rowHeight, true, true), ...timeAxis(run, x, top + rows.length * rowHeight, width));
      return root;
    });
  }

  // --- topology ---
  function layers(run) {
    const depth = {}, names = run.services.map(v => v.name), edges = run.edges;
    names.forEach(n => { depth[n] = 0; });
    for (let pass = 0; pass < names.length; pass++) {
      let moved = false;
      edges.forEach(e => {
        if (depth[e.caller] === undefined || depth[e.callee] === undefined) return;
        if (depth[e.callee] < depth[e.caller] + 1 && depth[e.caller] + 1 < names.length) { depth[e.callee] = depth[e.caller] + 1; moved = true; }
      });
      if (!moved) break;
    }
    // Callers that nobody calls stand just before what they call, not at the entry.
    names.forEach(n => {
      if (n === run.entry || edges.some(e => e.callee === n && depth[e.caller] !== undefined)) return;
      const below = edges.filter(e => e.caller === n && depth[e.callee] !== undefined).map(e => depth[e.callee]);
      if (below.length) depth[n] = Math.max(0, Math.min(...below) - 1);
    });
    const out = [];
    names.forEach(n => { (out[depth[n]] = out[depth[n]] || []).push(n); });
    return out.filter(Boolean);
  }
  function topology(run, phase) {
    return draws(width => {
      const across = layers(run), wide = width >= 640, nodeW = 122, nodeH = 44, most = Math.max(...across.map(l => l.length));
      const height = wide ? Math.max(200, most * 74) : across.length * 92 + 10, total = wide ? width : Math.max(width, most * (nodeW + 12));
      const at = {};
      across.forEach((names, i) => names.forEach((n, j) => {
        const main = wide ? 4 + (total - nodeW - 8) * i / Math.max(1, across.length - 1) : 8 + i * 92;
        const side = wide ? height * (j + .5) / names.length - nodeH / 2 : total * (j + .5) / names.length - nodeW / 2;
        at[n] = wide ? { x: main, y: side } : { x: side, y: main };
      }));
      const root = s('svg', { viewBox: `0 0 ${total} ${height}`, height: wide ? height : height, style: wide ? '' : `width:${total}px`, role: 'img', 'aria-label': `topology in ${phase}` });
      const labels = [];
      run.edges.forEach(e => {
        const a = at[e.caller], b = at[e.callee];
        if (!a || !b) return;
        const figures = e.phases[phase] || {}, p = wide ? { x1: a.x + nodeW, y1: a.y + nodeH / 2, x2: b.x, y2: b.y + nodeH / 2 } : { x1: a.x + nodeW / 2, y1: a.y + nodeH, x2: b.x + nodeW / 2, y2: b.y };
        const bend = wide ? Math.max(24, Math.abs(p.x2 - p.x1) * .45) : 30;
        const d = wide ? `M${p.x1} ${p.y1}C${p.x1 + bend} ${p.y1} ${p.x2 - bend} ${p.y2} ${p.x2} ${p.y2}` : `M${p.x1} ${p.y1}C${p.x1} ${p.y1 + bend} ${p.x2} ${p.y2 - bend} ${p.x2} ${p.y2}`;
        const faults = run.faults.filter(f => (f.edges || []).includes(e.caller + '->' + e.callee));
        const faulted = faults.length > 0 && faults.some(f => inPhase(run, f, phase));
        root.append(s('path', { d, class: 'edge' + (faulted ? ' faulted' : figures.errors > .01 ? ' hit' : ''), 'stroke-width': Math.min(6, 1 + Math.log10(1 + (figures.rate || 0)) * 1.6) }, s('title', {}, edgeText(e, figures))));
        if (faulted || figures.errors > .01) labels.push(s('text', { class: 'edge-label' + (faulted ? ' fault-label' : ''), x: (p.x1 + p.x2) / 2, y: (p.y1 + p.y2) / 2 - 6, 'text-anchor': 'middle' },
          faulted ? '⚡ ' + faults.map(f => f.id).join(', ') : percent(figures.errors) + ' errors'));
      });
      run.services.forEach(v => {
        const p = at[v.name], busy = (v.phases[phase] || {}).busy, hurt = run.faults.some(f => (f.services || []).includes(v.name) && inPhase(run, f, phase));
        root.append(s('g', { class: 'node', transform: `translate(${p.x} ${p.y})` }, s('title', {}, v.name + (v.about ? ': ' + v.about : '')),
          s('rect', { width: nodeW, height: nodeH, rx: 7, style: hurt ? 'stroke:var(--fault-line);stroke-dasharray:5 3;stroke-width:2' : '' }),
          s('text', { x: 9, y: 17 }, (hurt ? '⚡ ' : '') + v.name + (v.replicas > 1 ? ' ×' + v.replicas : '')),
          s('text', { class: 'meta', x: 9, y: 31 }, busy === undefined || busy === null ? v.protocol : percent(busy) + ' busy'),
          s('rect', { x: 9, y: 36, width: nodeW - 18, height: 3, rx: 1.5, style: 'fill:var(--faint);stroke:none' }),
          s('rect', { x: 9, y: 36, width: (nodeW - 18) * Math.min(1, busy || 0), height: 3, rx: 1.5, style: `stroke:none;fill:${busy > .9 ? 'var(--bad)' : busy > .6 ? 'var(--slow)' : 'var(--good)'}` })));
      });
      root.append(...labels);
      return h('div', { class: 'scroll' }, root);
    });
  }
  const inPhase = (run, f, name) => { const p = run.phases.find(v => v.name === name); return !!p && f.start < p.end && f.end > p.start; };
  const edgeText = (e, f) => `${e.caller} → ${e.callee}\n${rate(f.rate)}, ${percent(f.errors)} errors\np50 ${ms(f.p50)}, p99 ${ms(f.p99)}\n${times(f.amplification)} attempts a call`;

  function edgeTable(run, phase) {
    const cells = e => {
      const f = e.phases[phase] || {};
      return h('tr', {}, h('td', { class: 'mono' }, e.caller + ' → ' + e.callee, (e.faults || []).map(id => h('span', { class: 'bad' }, ' ⚡ ' + id))),
        h('td', { class: 'num' }, rate(f.rate)), h('td', { class: 'num' + (f.errors > .01 ? ' bad' : '') }, percent(f.errors)), h('td', { class: 'num' + (f.rejected > .01 ? ' slow' : '') }, percent(f.rejected)),
        h('td', { class: 'num' }, ms(f.p50)), h('td', { class: 'num' }, ms(f.p99)), h('td', { class: 'num' + (f.amplification > 1.2 ? ' bad' : '') }, times(f.amplification)));
    };
    return h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, 'edge'), ['calls', 'errors', 'rejected', 'p50', 'p99', 'attempts a call'].map(t => h('th', { class: 'num' }, t)))), h('tbody', {}, run.edges.map(cells))));
  }

  // --- requests and their traces ---
  const hue = name => { let n = 0; for (const c of name) n = (n * 31 + c.codePointAt(0)) % 360; return `hsl(${n} 45% 52%)`; };
  function waterfall(run, id) {
    const trace = run.traces[id];
    if (!trace) return h('p', { class: 'soft small' }, 'No trace with this id was kept: ', h('span', { class: 'mono' }, id || 'none'));
    const known = new Set(trace.spans.map(v => v.id)), kids = {};
    trace.spans.forEach(v => { const parent = known.has(v.parent) ? v.parent : ''; (kids[parent] = kids[parent] || []).push(v); });
    const begin = Math.min(...trace.spans.map(v => v.start)), end = Math.max(...trace.spans.map(v => v.start + v.ms)), span = Math.max(.001, end - begin), rows = [];
    const walk = (parent, depth) => (kids[parent] || []).sort((a, b) => a.start - b.start).forEach(v => { rows.push([v, depth]); if (depth < 40) walk(v.id, depth + 1); });
    walk('', 0);
    const faultOf = v => run.faults.find(f => (f.edges || []).includes((v.attributes || {}).edge) && begin + 0 < 1e15 && trace.at + (v.start + v.ms) / 1000 >= f.start && trace.at + v.start / 1000 <= f.end);
    const list = h('div', { class: 'fall' }, rows.map(([v, depth]) => {
      const fault = v.kind === 'client' && faultOf(v), start = 100 * (v.start - begin) / span, size = 100 * v.ms / span, right = start + size > 70;
      const more = h('div', { class: 'attrs', hidden: true });
      const row = h('button', { type: 'button', class: 'span' + (v.error ? ' err' : '') + (fault ? ' hurt' : ''), 'aria-expanded': false, title: `${v.service} ${v.name}`,
        onclick: () => {
          if (!more.childNodes.length) more.append(`${v.kind} · ${v.instance || v.service} · ${ms(v.ms)}${v.message ? ' · ' + v.message : ''}`, ...Object.entries(v.attributes || {}).map(([k, a]) => h('div', {}, k + ' = ' + a)), ...(v.events || []).map(e => h('div', {}, `+${ms(e.at - v.start)} ${e.name} ${JSON.stringify(e.attributes || {})}`)));
          more.hidden = !more.hidden; row.setAttribute('aria-expanded', !more.hidden);
        } },
      h('span', { class: 'what', style: `padding-left:${Math.min(depth, 14) * 10}px` }, v.error ? '✗ ' : '', fault ? '⚡ ' : '', h('b', {}, v.service), ' ' + v.name),
      h('span', { class: 'lane' }, h('span', { class: 'fill', style: `left:${start}%;width:${size}%;background:${hue(v.service)}` }), h('span', { class: 'took', style: right ? `right:${100 - start}%;padding-right:5px` : `left:${start + size}%;padding-left:5px` }, ms(v.ms))));
      return [row, more];
    }));
    const logs = (trace.logs || []).map(l => h('div', { class: 'log' }, h('span', {}, ms(l.at)), h('span', { class: 'sev ' + (l.severity === 'ERROR' ? 'bad' : l.severity === 'WARN' ? 'slow' : 'soft') }, l.severity), h('span', { class: 'svc' }, l.service), h('span', {}, l.body, Object.entries(l.attributes || {}).map(([k, v]) => h('span', { class: 'soft' }, ` ${k}=${v}`)))));
    return h('div', {}, h('p', { class: 'small soft' }, 'trace ', h('span', { class: 'mono' }, id), trace.dropped ? ` · ${trace.dropped} more spans left out` : ''), list, logs.length > 0 && h('div', { 'aria-label': 'logs of this trace' }, logs));
  }
  function requests(run, list, empty) {
    if (!list.length) return h('p', { class: 'soft' }, empty);
    return h('div', {}, list.map(r => {
      const box = h('div', {});
      const line = h('span', { class: 'row' }, h('span', { class: 'num' }, clock(r.due)), h('span', { class: 'where' }, r.load, r.step ? ' · ' + r.step : ''), h('span', { class: r.ok ? 'soft' : 'bad' }, r.ok ? 'ok, ' + r.status : r.error || 'status ' + r.status, r.faults ? h('span', { class: 'soft' }, '  ⚡ ' + r.faults) : ''), h('span', { class: 'num' }, ms(r.ms)));
      return h('details', { ontoggle: e => { if (e.target.open && !box.childNodes.length) box.append(waterfall(run, r.trace)); } }, h('summary', {}, line), box);
    }));
  }

  // --- the page ---
  const outcomeMark = { pass: '✓', fail: '✗', inconclusive: '?' }, outcomeClass = { pass: 'good', fail: 'bad', inconclusive: 'slow' };
  main.append(h('div', {}, h('h1', {}, data.scenario + ' ', badge(data.outcome)), h('p', {}, data.about),
    data.sources.length > 0 && h('p', { class: 'soft small' }, 'Source: ' + data.sources.join('; '))));
  document.getElementById('theme').addEventListener('click', () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue('--bg').trim() === '#14181b';
    document.documentElement.dataset.theme = dark ? 'light' : 'dark';
  });

  section('verdict', 'Verdict', data.runs.length > 1 ? 'What each variant was expected to show, and what was measured.' : 'What was expected, and what was measured.',
    h('div', { class: 'grid' }, data.runs.map(run => h('div', { class: 'card' }, h('h3', {}, run.variant + ' ', badge(run.outcome)), run.about && h('p', { class: 'soft' }, run.about),
      run.reasons.map(r => h('p', { class: 'reason small' }, r)),
      h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, h('tr', {}, h('th', {}), h('th', {}, 'expected'), h('th', {}, 'in'), h('th', { class: 'num' }, 'measured'))), h('tbody', {}, run.findings.map(f => h('tr', {},
        h('td', { class: 'mark ' + outcomeClass[f.outcome], 'aria-label': f.outcome }, outcomeMark[f.outcome]), h('td', { class: 'that' }, f.that, f.why && f.outcome !== 'pass' && h('div', { class: 'soft small' }, f.why)),
        h('td', { class: 'soft' }, f.in || 'run'), h('td', { class: 'num' }, f.value)))))),
      run.policies.length > 0 && h('details', {}, h('summary', { class: 'small' }, 'policies of this variant'), run.policies.map(p => h('div', { class: 'mono small' }, h('b', {}, p.on), ' ' + p.chain)))))));

  if (data.runs.some(run => run.services.some(v => v.busy && v.busy.length))) section('saturation', 'How the failure spread',
    'Each row is a service: first those on the way to the fault, callers above those they call. Red: share of its workers that were busy. Dark bars: how full its queue was. The red lines are where the fault begins and ends.',
    h('div', { class: 'grid' }, data.runs.map(run => h('div', { class: 'card' }, h('h3', {}, run.variant), heat(run)))));

  const loadNames = [...new Set(data.runs.flatMap(run => run.loads.map(l => l.name)))];
  section('load', 'Load', 'Every request is counted in the second in which it was due, and its latency counts from then.', loadNames.map(name => {
    const all = data.runs.map(run => [run, run.loads.find(l => l.name === name)]).filter(p => p[1]);
    const top = Math.max(1, ...all.flatMap(([, l]) => l.bins.map(b => b.offered)));
    const values = all.flatMap(([, l]) => l.bins.flatMap(b => [b.p50, b.p99])).filter(v => v > 0).concat(all.map(([, l]) => l.slo).filter(v => v > 0));
    const low = Math.pow(10, Math.floor(Math.log10(Math.min(...values, 10)))), high = Math.max(low * 10, Math.pow(10, Math.ceil(Math.log10(Math.max(...values, 10)))));
    return h('div', { style: 'margin-bottom:16px' }, h('h3', {}, name, h('span', { class: 'soft' }, ' · ' + all[0][1].about)), legend([['var(--good)', 'good: within ' + ms(all[0][1].slo)], ['var(--slow)', 'slow'], ['var(--bad)', 'failed'], ['var(--blue)', 'p50'], ['var(--bad)', 'p99']]),
      h('div', { class: 'grid' }, all.map(([run, l]) => h('div', { class: 'card' }, h('h3', {}, run.variant), goodputChart(run, l, top), latencyChart(run, l, low, high),
        h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, 'phase'), ['due', 'goodput', 'success', 'p50', 'p99', 'max'].map(t => h('th', { class: 'num' }, t)))), h('tbody', {}, l.phases.map(p => h('tr', {}, h('td', {}, p.name), h('td', { class: 'num' }, p.offered.toLocaleString('en')), h('td', { class: 'num ' + (p.goodput >= .99 ? 'good' : p.goodput < .5 ? 'bad' : 'slow') }, percent(p.goodput)), h('td', { class: 'num' }, percent(p.success)), h('td', { class: 'num' }, ms(p.p50)), h('td', { class: 'num' }, ms(p.p99)), h('td', { class: 'num' }, ms(p.max)))))))))));
  }));

  section('topology', 'Topology', 'Calls flow one way. Line width: calls a second. Dashed: the edge that the fault acts on. The bar in each service: busy workers.',
    data.runs.map(run => h('div', { class: 'card', style: 'margin-bottom:14px' }, h('h3', {}, run.variant), choice('phase', run.phases.map(p => ({ label: p.name, name: p.name })), o => h('div', {}, topology(run, o.name), h('details', {}, h('summary', {}, 'edges in numbers'), edgeTable(run, o.name))), run.phases.findIndex(p => run.faults.some(f => inPhase(run, f, p.name)))))));

  section('requests', 'Requests', 'The slowest and the failed ones, each with its trace and the logs of that trace. Open one; click a span for its attributes.',
    data.runs.map(run => h('div', { class: 'card', style: 'margin-bottom:14px' }, h('h3', {}, run.variant), choice('requests', [{ label: `failed (${run.failed.length} of ${run.failed_total.toLocaleString('en')})`, list: run.failed, empty: 'No request failed.' }, { label: `slowest (${run.slow.length})`, list: run.slow, empty: 'No request was recorded.' }], o => requests(run, o.list, o.empty), run.failed.length ? 0 : 1))));

  section('events', 'Events', 'What happened, in order. Times count from the start of the load.', h('div', { class: 'grid' }, data.runs.map(run => h('div', { class: 'card' }, h('h3', {}, run.variant),
    h('div', { class: 'scroll' }, h('table', {}, h('tbody', {}, run.events.map(e => h('tr', {}, h('td', { class: 'num' }, clock(e.t)), h('td', { class: 'soft' }, e.kind), h('td', {}, e.name), h('td', {}, e.text, e.detail && h('div', { class: 'soft small' }, e.detail)))))))))));

  section('lab', 'The lab itself', 'A lab that was short of breath measures itself. These figures say how far to trust the rest.', h('div', { class: 'grid' }, data.runs.map(run => h('div', { class: 'card' }, h('h3', {}, run.variant),
    h('div', { class: 'scroll' }, h('table', {}, h('tbody', {}, run.facts.map(f => h('tr', {}, h('td', {}, f.name), h('td', { class: 'num' }, f.value)))))),
    run.processes.length > 0 && h('details', {}, h('summary', { class: 'small' }, 'processes'), h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, 'process'), h('th', { class: 'num' }, 'cores'), h('th', { class: 'num' }, 'memory'))), h('tbody', {}, run.processes.map(p => h('tr', {}, h('td', {}, p.name), h('td', { class: 'num' }, p.cores.toFixed(3)), h('td', { class: 'num' }, Math.round(p.mb) + ' MB'))))))))));

  main.append(h('footer', {}, `Faultline ${data.version} · ${data.machine} · ${data.started} · `, data.runs.map(run => h('span', { class: 'mono' }, run.id + ' '))));
})();
