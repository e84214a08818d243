'use strict';
// The benchmark draws itself from the JSON in #data. Everything that comes from
// scenarios and systems goes through textContent or setAttribute, never through HTML.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const main = document.getElementById('main');
  const NS = 'http://www.w3.org/2000/svg';

  // --- making elements ---
  function fill(node, attrs, children) {
    for (const [k, v] of Object.entries(attrs || {})) {
      if (v === undefined || v === null || v === false) continue;
      if (k.startsWith('on')) node.addEventListener(k.slice(2), v);
      else node.setAttribute(k, v === true ? '' : v);
    }
    for (const c of children.flat(9)) if (c !== undefined && c !== null && c !== false) node.append(c);
    return node;
  }
  const h = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
  const s = (tag, attrs, ...children) => fill(document.createElementNS(NS, tag), attrs, children);
  const nothing = '–';
  const never = v => v === 'never';
  const known = v => typeof v === 'number';
  const nice = (n, digits) => Number(n.toPrecision(digits)).toLocaleString('en', { maximumFractionDigits: 6 });
  const seconds = v => never(v) ? 'never' : !known(v) ? nothing : v === 0 || v >= 1 ? nice(v, 3) + 's' : v >= 0.001 ? nice(v * 1000, 3) + 'ms' : nice(v * 1e6, 3) + 'µs';
  const percent = v => !known(v) ? nothing : (v === 0 || v === 1 ? v * 100 : v > .99 || v < .01 ? (v * 100).toFixed(2) : (v * 100).toFixed(1)) + '%';
  const plural = (n, noun) => n + ' ' + noun + (n === 1 ? '' : 's');

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

  // --- sections, and boxes that draw again when their width changes ---
  const nav = document.getElementById('nav');
  function section(id, title, intro, ...children) {
    nav.append(h('a', { href: '#' + id }, title));
    main.append(h('section', { 'aria-labelledby': id }, h('h2', { id }, title), intro && h('p', { class: 'soft lead' }, intro), ...children));
  }
  function draws(fn) {
    const box = h('div', {});
    let last = 0;
    new ResizeObserver(() => {
      const width = Math.floor(box.clientWidth);
      if (width > 0 && width !== last) { last = width; box.replaceChildren(fn(width)); }
    }).observe(box);
    return box;
  }
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
  const table = (label, head, rows, wide) => h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, h('table', { class: wide ? 'wide' : null },
    h('thead', {}, h('tr', {}, head.map(t => typeof t === 'string' ? h('th', { scope: 'col' }, t) : h('th', { scope: 'col', class: 'num' }, t[0])))), h('tbody', {}, rows)));

  // --- variants and their colours: the twin has that of its variant ---
  const plain = data.variants.filter(v => !v.twin);
  const colour = name => `var(--v${plain.findIndex(v => v.name === name.replace(/'$/, '')) % 8})`;
  const isTwin = name => name.endsWith("'");
  const keys = names => h('div', { class: 'legend key' }, names.map(n => h('span', { style: `color:${colour(n)}` }, h('i', { class: isTwin(n) ? 'twin' : null }), n)));

  // --- forest plots ---
  const verdictClass = { better: 'good', worse: 'bad', 'better?': 'slow', 'worse?': 'slow' };
  const saysColour = says => ({ good: 'var(--good)', bad: 'var(--bad)', slow: 'var(--slow)' })[verdictClass[says]] || 'var(--soft)';
  const whys = {
    better: 'a claim: at least 10 pairs, the interval holds no "no change", more than the A/A pair differs by, p at most 5% after Holm',
    worse: 'a claim: at least 10 pairs, the interval holds no "no change", more than the A/A pair differs by, p at most 5% after Holm',
    'better?': 'a hint only: too few pairs for a claim, or p above 5% after Holm', 'worse?': 'a hint only: too few pairs for a claim, or p above 5% after Holm',
    'no claim': 'the interval holds "no change", or the A/A pair differs by as much', 'too few': 'fewer than 5 pairs, of these runs or of the A/A pair',
  };
  const ratio = f => f.scale === 'ratio';
  const onScale = (f, v) => ratio(f) ? Math.log(v) : v;
  function unitText(f, v) {
    if (ratio(f)) return nice(Math.exp(v), 3) + 'x';
    if (f.unit === 'ratio') return nice(v * 100, 2) + (v === 0 ? '' : 'pp');
    if (f.unit === 'seconds') return v === 0 ? '0' : (v < 0 ? '-' : '') + seconds(Math.abs(v));
    return nice(v, 2);
  }
  function ticksOf(low, high, count) {
    const rough = (high - low) / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map(m => m * power).find(v => v >= rough), out = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) out.push(Math.abs(v) < step / 1e6 ? 0 : v);
    return out;
  }
  function factorTicks(low, high, count) {
    if (high - low < .7) return ticksOf(Math.exp(low), Math.exp(high), count).map(Math.log);
    for (const marks of [[1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 9], [1, 1.25, 1.5, 2, 3, 5, 7.5], [1, 2, 5], [1, 3], [1]]) {
      const out = [];
      for (let p = -6; p <= 6; p++) for (const m of marks) { const v = Math.log(m * Math.pow(10, p)); if (v >= low && v <= high) out.push(v); }
      if (out.length <= count) return out.length ? out : [0];
    }
    return [0];
  }
  const forestRows = f => (f.aa ? [f.aa] : []).concat(f.comparisons).filter(c => known(c.estimate));
  function forest(f) {
    const rows = forestRows(f);
    if (!rows.length) return h('p', { class: 'soft small' }, 'No pair of runs has this figure.');
    return draws(width => {
      const narrow = width < 420, wide = width >= 700, words = c => wide ? `${c.text} ${c.range}  ` : c.text + '  ', said = c => isTwin(c.variant) ? 'A/A' : c.says;
      const left = narrow ? 8 : Math.min(190, 24 + 6.6 * Math.max(...rows.map(c => c.variant.length))), right = narrow ? 8 : 20 + 6.6 * Math.max(...rows.map(c => words(c).length + said(c).length));
      const rowHeight = narrow ? 46 : 26, top = 8, inner = width - left - right, height = top + rows.length * rowHeight + 22;
      const ends = rows.flatMap(c => [c.low, c.high, c.estimate]).filter(known).map(v => onScale(f, v)).filter(Number.isFinite);
      const least = known(rows[0].least) ? Math.abs(onScale(f, rows[0].least)) : 0;
      let low = Math.min(0, -least, ...ends), high = Math.max(0, least, ...ends);
      if (high - low < 1e-9) { low = -.01; high = .01; }
      const margin = (high - low) * .06, x = v => left + inner * (v - low + margin) / (high - low + 2 * margin);
      const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `${f.group}, ${f.name}: change against ${data.reference}. ` + rows.map(c => `${c.variant}: ${c.text} ${c.range}, ${said(c)}`).join('; ') });
      const bottom = top + rows.length * rowHeight;
      if (least > 0) root.append(s('rect', { class: 'noise', x: x(-least), y: top, width: x(least) - x(-least), height: bottom - top }, s('title', {}, 'the A/A pair differs by up to this much')));
      for (const v of (ratio(f) ? factorTicks : ticksOf)(low, high, Math.max(2, Math.min(7, Math.floor(inner / 74))))) {
        root.append(s('line', { class: 'axis', x1: x(v), x2: x(v), y1: top, y2: bottom }), s('text', { x: x(v), y: bottom + 14, 'text-anchor': 'middle' }, unitText(f, v)));
      }
      root.append(s('line', { class: 'zero', x1: x(0), x2: x(0), y1: top, y2: bottom }));
      rows.forEach((c, i) => {
        const y = top + i * rowHeight + (narrow ? 32 : rowHeight / 2), ink = isTwin(c.variant) ? 'var(--soft)' : colour(c.variant);
        const text = [s('tspan', {}, narrow ? `${c.text} ${c.range}  ` : words(c)), s('tspan', { class: 'says', style: `fill:${saysColour(c.says)}` }, said(c))];
        if (narrow) root.append(s('text', { class: 'label', x: left, y: y - 14 }, c.variant + '  ', text));
        else root.append(s('text', { class: 'label', x: left - 10, y: y + 4, 'text-anchor': 'end' }, c.variant), s('text', { class: 'label', x: width - right + 12, y: y + 4 }, text));
        if (known(c.low)) root.append(s('line', { class: 'whisker', stroke: ink, x1: x(onScale(f, c.low)), x2: x(onScale(f, c.high)), y1: y, y2: y, 'stroke-dasharray': isTwin(c.variant) ? '4 3' : null }));
        root.append(s('circle', { cx: x(onScale(f, c.estimate)), cy: y, r: 5, fill: isTwin(c.variant) ? 'var(--card)' : ink, stroke: ink, 'stroke-width': 2 }),
          s('rect', { x: 0, y: top + i * rowHeight, width, height: rowHeight, fill: 'transparent', onmousemove: e => showTip(e, tipOf(f, c)), onmouseleave: hideTip }));
      });
      return root;
    });
  }
  function tipOf(f, c) {
    return [`${c.variant} against ${c.against}: ${c.text} ${c.range}`, `${plural(c.pairs, 'pair')}${c.excluded ? `, ${plural(c.excluded, 'block')} left out` : ''}${c.limited ? `, ${c.limited} with a time that never came` : ''}`,
      known(c.ahead) && `ahead in ${percent(c.ahead)} of the pairs`, known(c.p) && `p ${nice(c.p, 2)}${known(c.holm) && c.holm !== c.p ? `, after Holm ${nice(c.holm, 2)}` : ''}`,
      c.noise !== '-' && `the A/A pair reaches ${c.noise}`, isTwin(c.variant) ? 'nothing differs here but chance' : c.says + ': ' + whys[c.says]].filter(Boolean).join('\n');
  }
  const goal = f => f.better === 'more' ? 'more is better, to the right' : 'less is better, to the left';

  // --- charts over the run's time ---
  const windows = Object.fromEntries(data.windows.map(w => [w.name, w]));
  const end = windows.run.end / 1e9;
  function path(points, x, y) {
    let d = '', pen = false;
    for (const [t, v] of points) {
      if (!known(v)) { pen = false; continue; }
      d += (pen ? 'L' : 'M') + x(t).toFixed(1) + ' ' + y(v).toFixed(1);
      pen = true;
    }
    return d;
  }
  // band is the outline of a range, stretch by stretch.
  function band(low, high, x, y) {
    let d = '', up = [], down = [];
    const close = () => { if (up.length > 1) d += 'M' + up.concat(down.reverse()).join('L') + 'Z'; up = []; down = []; };
    low.forEach((v, t) => {
      if (!known(v) || !known(high[t])) return close();
      up.push(`${x(t + .5).toFixed(1)} ${y(high[t]).toFixed(1)}`);
      down.push(`${x(t + .5).toFixed(1)} ${y(v).toFixed(1)}`);
    });
    close();
    return d;
  }
  function overlay(load, shown) {
    const lines = data.variants.filter(v => shown.includes(v.name)).map(v => [v.name, v.curves.find(c => c.load === load)]).filter(p => p[1] && p[1].median.length);
    if (!lines.length) return h('p', { class: 'soft' }, 'No run counts.');
    return draws(width => {
      const left = 46, right = 8, top = 20, height = 270, plot = height - top - 22, inner = width - left - right;
      const x = t => left + inner * t / end, y = v => top + plot * (1 - v);
      const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `goodput of ${load} over time, by variant; the figures of each phase stand below, under All figures` });
      data.phases.forEach((p, i) => {
        const from = x(p.start / 1e9), to = x(p.end / 1e9);
        if (i % 2) root.append(s('rect', { class: 'band-phase', x: from, y: top, width: to - from, height: plot }));
        if (to - from > p.name.length * 7 + 6) root.append(s('text', { x: from + 3, y: top - 5 }, p.name));
      });
      if (windows.fault) root.append(s('rect', { class: 'band-fault', x: x(windows.fault.start / 1e9), y: top, width: x(windows.fault.end / 1e9) - x(windows.fault.start / 1e9), height: plot }));
      for (const v of [0, .25, .5, .75, 1]) root.append(s('line', { class: 'axis', x1: left, x2: left + inner, y1: y(v), y2: y(v) }), s('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, v * 100 + '%'));
      for (const t of ticksOf(0, end, width < 400 ? 4 : 9).filter(t => t <= end)) root.append(s('text', { x: x(t), y: top + plot + 15, 'text-anchor': x(t) > width - 16 ? 'end' : 'middle' }, t + 's'));
      for (const [name, c] of lines) root.append(s('path', { d: band(c.least, c.most, x, y), fill: colour(name), opacity: .16 }));
      for (const [name, c] of lines) root.append(s('path', { d: path(c.median.map((v, t) => [t + .5, v]), x, y), fill: 'none', stroke: colour(name), 'stroke-width': 2, 'stroke-linejoin': 'round', 'stroke-dasharray': isTwin(name) ? '5 4' : null }));
      const cross = s('line', { y1: top, y2: top + plot, stroke: 'var(--soft)', visibility: 'hidden' });
      root.append(cross, s('rect', { x: left, y: top, width: inner, height: plot, fill: 'transparent', onmousemove: e => {
        const box = root.getBoundingClientRect(), t = Math.floor(((e.clientX - box.left) * width / box.width - left) / inner * end);
        cross.setAttribute('x1', x(t + .5)); cross.setAttribute('x2', x(t + .5)); cross.setAttribute('visibility', 'visible');
        showTip(e, `second ${t}\n` + lines.map(([name, c]) => `${name}: ${percent(c.median[t])} (${percent(c.least[t])} to ${percent(c.most[t])})`).join('\n'));
      }, onmouseleave: () => { hideTip(); cross.setAttribute('visibility', 'hidden'); } }));
      return root;
    });
  }

  // --- latency, on a log axis ---
  function cdfs(load, window, shown) {
    const lines = data.variants.filter(v => shown.includes(v.name)).map(v => [v.name, v.cdfs.find(c => c.load === load && c.window === window)]).filter(p => p[1] && p[1].due);
    const times = lines.flatMap(([, c]) => c.points.map(p => p[0])),
      first = lines.map(([, c]) => (c.points.find(p => p[1] >= .005) || [])[0]).filter(known);
    if (!times.length) return h('p', { class: 'soft' }, 'Nothing was answered well.');
    const slo = data.loads.find(l => l.name === load).slo / 1e9;
    const low = Math.pow(10, Math.floor(Math.log10(Math.min(...(first.length ? first : times), slo || 9)))), high = Math.pow(10, Math.ceil(Math.log10(Math.max(...times, slo) * 1.0001)));
    return draws(width => {
      const left = 46, right = 8, top = 20, height = 270, plot = height - top - 22, inner = width - left - right, span = Math.log10(high / low);
      const x = v => left + inner * Math.log10(v / low) / span, y = v => top + plot * (1 - v);
      const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `latency of ${load}, by variant; percentiles stand below, under All figures` });
      for (const v of [0, .25, .5, .75, .9, .99]) root.append(s('line', { class: 'axis', x1: left, x2: left + inner, y1: y(v), y2: y(v) }), v !== .99 && s('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, v * 100 + '%') || '');
      root.append(s('line', { class: 'axis', x1: left, x2: left + inner, y1: y(1), y2: y(1) }), s('text', { x: left - 6, y: y(1) + 4, 'text-anchor': 'end' }, '100%'));
      for (let d = low; d <= high * 1.001; d *= 10) {
        root.append(s('line', { class: 'axis', x1: x(d), x2: x(d), y1: top, y2: top + plot }), s('text', { x: x(d), y: top + plot + 15, 'text-anchor': d >= high * .999 ? 'end' : 'middle' }, seconds(Number(d.toPrecision(3)))));
        for (let m = 2; m < 10 && d * m < high; m++) root.append(s('line', { class: 'axis', x1: x(d * m), x2: x(d * m), y1: top + plot - 4, y2: top + plot }));
      }
      if (slo > 0) root.append(s('line', { x1: x(slo), x2: x(slo), y1: top, y2: top + plot, stroke: 'var(--ink)', 'stroke-dasharray': '3 3', opacity: .6 }), s('text', { x: x(slo), y: top - 5, 'text-anchor': 'middle' }, 'slo ' + seconds(slo)));
      for (const [name, c] of lines) {
        let d = `M${x(low)} ${y(0)}`, last = 0;
        for (const [at, v] of c.points) { const t = Math.max(low, at); d += `L${x(t).toFixed(1)} ${y(last).toFixed(1)}L${x(t).toFixed(1)} ${y(v).toFixed(1)}`; last = v; }
        d += `L${x(high)} ${y(last).toFixed(1)}`;
        root.append(s('path', { d, fill: 'none', stroke: colour(name), 'stroke-width': 2, 'stroke-dasharray': isTwin(name) ? '5 4' : null }));
      }
      root.append(s('rect', { x: left, y: top, width: inner, height: plot, fill: 'transparent', onmousemove: e => {
        const box = root.getBoundingClientRect(), t = low * Math.pow(10, ((e.clientX - box.left) * width / box.width - left) / inner * span);
        const at = c => c.points.reduce((a, p) => p[0] <= t * 1.0001 ? p[1] : a, 0);
        showTip(e, `within ${seconds(t)}\n` + lines.map(([name, c]) => `${name}: ${percent(at(c))} of ${c.due.toLocaleString('en')}`).join('\n'));
      }, onmouseleave: hideTip }));
      return root;
    });
  }

  // --- the map of a sweep ---
  function heat(cells, of, text, tipText) {
    const axes = data.sweep.axes, down = axes[0].values, across = axes.length > 1 ? axes[1].values : [''];
    return draws(width => {
      const left = 24 + 7.2 * Math.max(...down.map(v => v.length)), top = 26, size = Math.min(110, (width - left - 8) / across.length), rowHeight = Math.min(46, Math.max(26, size * .6)), height = top + down.length * rowHeight + 42;
      const root = s('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': 'map of ' + axes.map(a => a.path).join(' and ') + ': ' + cells.filter(c => known(of(c))).map(c => c.values.join(', ') + ' ' + text(c)).join('; ') });
      root.append(s('text', { x: 0, y: 14 }, axes[0].path));
      down.forEach((value, i) => {
        const y = top + (down.length - 1 - i) * rowHeight;
        root.append(s('text', { class: 'label', x: left - 8, y: y + rowHeight / 2 + 4, 'text-anchor': 'end' }, value));
        across.forEach((_, j) => {
          const cell = cells[i * across.length + j], v = of(cell);
          root.append(s('rect', { x: left + j * size + 1, y: y + 1, width: size - 2, height: rowHeight - 2, rx: 3, fill: known(v) ? `color-mix(in oklab, var(--good) ${Math.round(v * 100)}%, var(--bad))` : 'var(--faint)', 'fill-opacity': known(v) ? .82 : 1,
            onmousemove: e => showTip(e, tipText(cell)), onmouseleave: hideTip }),
          size > 34 && s('text', { class: 'cell', x: left + (j + .5) * size, y: y + rowHeight / 2 + 4, 'text-anchor': 'middle', style: known(v) ? 'fill:#fff;pointer-events:none;paint-order:stroke;stroke:rgba(0,0,0,.45);stroke-width:2px' : 'pointer-events:none' }, text(cell)) || '');
        });
      });
      if (axes.length > 1) {
        const skip = Math.ceil(46 / size);
        across.forEach((value, j) => { if (j % skip === 0) root.append(s('text', { class: 'label', x: left + (j + .5) * size, y: top + down.length * rowHeight + 16, 'text-anchor': 'middle' }, value)); });
        root.append(s('text', { x: left + across.length * size, y: top + down.length * rowHeight + 34, 'text-anchor': 'end' }, axes[1].path));
      }
      return root;
    });
  }
  // medianOf names a figure: goodput.browse.fault is the goodput of browse in the phase fault.
  const medianOf = key => { const [what, load, phase] = key.split('.'); return phase ? `${what} of ${load}, ${phase}` : key; };
  const shareText = p => p.n ? `${p.k} of ${p.n}` : nothing;
  const rangeText = p => p.n ? `${Math.round(p.low * 100)} to ${Math.round(p.high * 100)}%` : nothing;
  function cellTip(cell) {
    return [data.sweep.axes.map((a, i) => `${a.path} ${cell.values[i]}`).join('\n'), `recovered: ${shareText(cell.recovered)}${cell.recovered.n ? ', 95 % interval ' + rangeText(cell.recovered) : ''}`,
      ...Object.entries(cell.medians).map(([k, v]) => `${medianOf(k)}: ${percent(v)}`), `${plural(cell.done - cell.void, 'run')} of ${cell.planned} count${cell.void ? `, ${cell.void} void` : ''}${cell.failed ? `, ${cell.failed} failed` : ''}`].join('\n');
  }

  // --- the page ---
  document.getElementById('theme').addEventListener('click', () => {
    const now = document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
    document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark';
  });
  const t = data.total, pending = t.planned - t.done - t.failed;
  const counted = [`${t.done - t.void} of ${t.planned} runs count`, t.void && `${t.void} void`, t.failed && `${t.failed} failed`, pending && `${pending} not yet run`].filter(Boolean).join(', ');
  main.append(h('div', {}, h('h1', {}, data.scenario + ' ', pending > 0 && h('span', { class: 'badge inconclusive' }, 'unfinished')), h('p', {}, data.about),
    h('p', { class: 'soft' }, [plural(plain.length, 'variant'), plural(data.options.repeats, 'repeat'), data.sweep && plural(data.sweep.cells.length / plain.length, 'cell'), data.options.aa && `A/A pair of ${data.options.aa}`, `seed ${data.options.seed}`].filter(Boolean).join(' · '), '. ', counted, '.'),
    data.sources.length > 0 && h('p', { class: 'soft small' }, 'Source: ' + data.sources.join('; ')),
    !data.sweep && data.options.repeats < 10 && h('p', { class: 'reason small' }, `${plural(data.options.repeats, 'repeat')} can give hints, not claims: a claim takes 10 pairs of runs.`)));

  const recovers = !data.sweep && data.variants.some(v => v.never_recovered.n > 0);
  section('variants', 'Variants', 'The first variant is what the others are compared with. A run that did not recover by its end may have been metastable: the fault is gone, the failure stays.',
    h('div', { class: 'card' }, table('variants', ['variant', 'policies', ['runs that count'], ['void'], ['failed'], recovers && ['never recovered'], recovers && ['95 % interval']].filter(Boolean), data.variants.map(v => h('tr', {},
      h('td', { class: 'who' }, h('span', { class: 'key', style: `color:${colour(v.name)}` }, h('i', { class: v.twin ? 'twin' : null })), v.name, v.twin && h('span', { class: 'soft small' }, ' the same again')),
      h('td', { class: 'chain' }, v.about && h('div', { class: 'soft small' }, v.twin ? '' : v.about), v.twin ? '' : v.policies.length ? v.policies.map(p => h('div', { class: 'mono' }, p)) : h('span', { class: 'soft' }, 'none')),
      h('td', { class: 'num' }, `${v.done - v.void} of ${v.planned}`), h('td', { class: 'num' + (v.void ? ' slow' : '') }, v.void), h('td', { class: 'num' + (v.failed ? ' bad' : '') }, v.failed),
      recovers && h('td', { class: 'num' + (v.never_recovered.k ? ' bad' : '') }, shareText(v.never_recovered)), recovers && h('td', { class: 'num' }, rangeText(v.never_recovered)))))));

  if (data.sweep) {
    const measures = [{ label: 'recovered', of: c => c.recovered.n ? c.recovered.k / c.recovered.n : null, text: c => c.recovered.n ? `${c.recovered.k}/${c.recovered.n}` : nothing }]
      .concat(Object.keys(data.sweep.cells[0].medians).map(k => ({ label: medianOf(k), of: c => c.medians[k], text: c => percent(c.medians[k]) })));
    section('map', 'Map', 'Where the system comes back by itself, and where it does not: the tipping boundary. Each cell stands on its runs alone; point at one for its interval. Green: all recovered, or all of the goodput; red: none. A dash: no run of the cell counts.',
      choice('figure', measures, m => h('div', { class: 'grid' }, plain.map(v => h('div', { class: 'card' }, h('h3', {}, v.name), heat(data.sweep.cells.filter(c => c.variant === v.name), m.of, m.text, cellTip))))));
  } else {
    const groups = [...new Set(data.figures.map(f => f.group))], headline = data.figures.filter(f => f.headline);
    section('effects', 'Effects', `Change of each figure against ${data.reference}, over pairs of runs with the same seed: estimate and 95 % interval. The grey band is how far the A/A pair reaches: two times the same variant. A change within it is no claim. Point at a row for p-values and pairs.`,
      choice('figures', [{ label: 'headlines', list: headline }].concat(groups.map(g => ({ label: g, list: data.figures.filter(f => f.group === g) }))), o => h('div', {}, [...new Set(o.list.map(f => f.group))].map(g => h('div', { style: 'margin-bottom:14px' }, h('h3', {}, g),
        h('div', { class: 'grid' }, o.list.filter(f => f.group === g).map(f => h('div', { class: 'card' }, h('h3', {}, f.name, h('span', { class: 'soft small', style: 'font-weight:400' }, ' · ' + goal(f))), forest(f)))))))));

    const names = data.variants.map(v => v.name);
    const loads = data.loads.map(l => ({ label: l.name, name: l.name }));
    section('recovery', 'Recovery', 'Goodput second by second, by when requests were due: median over the runs that count, and their range.',
      choice('load', loads, l => h('div', { class: 'card' }, h('h3', {}, l.name), keys(names), overlay(l.name, names))));
    section('latency', 'Latency', 'Share of all requests due that were answered well within a time, all runs together: counts are added, percentiles never averaged. A line that ends below 100 % says how many were never answered well; where it crosses the slo is the goodput.',
      choice('load', loads, l => choice('window', data.windows.map(w => ({ label: w.name, name: w.name })), w => h('div', { class: 'card' }, h('h3', {}, `${l.name}, ${w.name}`), keys(names), cdfs(l.name, w.name, names)), data.windows.findIndex(w => w.name === 'fault'))));

    section('figures', 'All figures', 'Median over the runs that count, and their range. In bench.csv stands each run.',
      groups.map(g => h('details', { open: g === groups[0] }, h('summary', {}, g), table('figures of ' + g, ['figure'].concat(names.map(n => [n])).concat(data.figures[0].comparisons.map(c => [`${c.variant}: change`])), data.figures.filter(f => f.group === g).map(f => h('tr', {}, h('td', {}, f.name),
        f.values.map(v => h('td', { class: 'num', title: v.n ? `${plural(v.n, 'run')}, from ${rangeOf(f, v)}` : 'not measured' }, v.text, v.never > 0 && v.median !== 'never' && h('div', { class: 'soft small' }, v.never + ' never'))),
        f.comparisons.map(c => h('td', { class: 'num' }, c.text + ' ' + c.range, h('div', { class: 'small ' + (verdictClass[c.says] || 'soft') }, c.says)))))  , true))));
  }
  function rangeOf(f, v) {
    const text = n => f.unit === 'seconds' ? seconds(n) : f.unit === 'ratio' ? percent(n) : known(n) ? nice(n, 3) : nothing;
    return `${text(v.least)} to ${text(v.most)}`;
  }

  const outcomeClass = { pass: 'good', fail: 'bad', inconclusive: 'slow' };
  section('runs', 'Runs', 'In the order in which they ran. A void run was not the experiment that was planned: it is shown, and counts for nothing.',
    h('div', { class: 'card' }, table('runs', [['run'], ['block'], 'variant', data.sweep && data.sweep.axes.map(a => a.path).join(', '), ['seed'], 'verdict', ...data.columns.map(c => [c]), 'record'].filter(Boolean), data.runs.map((r, i) => h('tr', {},
      h('td', { class: 'num' }, r.number), h('td', { class: 'num' }, r.warmup ? 'warm-up' : r.block),
      h('td', { class: 'who' }, h('span', { class: 'key', style: `color:${colour(r.variant)}` }, h('i', { class: isTwin(r.variant) ? 'twin' : null })), r.variant), data.sweep && h('td', {}, r.values.join(', ')), h('td', { class: 'num' }, r.seed),
      h('td', { class: 'why' }, r.state !== 'done' ? h('span', { class: r.state === 'failed' ? 'bad' : 'soft' }, r.state) : r.void.length ? h('span', { class: 'slow' }, 'void') : h('span', { class: outcomeClass[r.outcome] }, r.outcome),
        r.void.map(v => h('div', { class: 'soft small' }, v)), r.attempts.map(a => h('div', { class: 'soft small' }, 'earlier attempt: ' + a.why)),
        r.findings.length > 0 && h('details', {}, h('summary', { class: 'small' }, plural(r.findings.length, 'expectation')), r.findings.map(f => h('div', { class: 'small' }, h('span', { class: outcomeClass[f.outcome] }, { pass: '✓ ', fail: '✗ ', inconclusive: '? ' }[f.outcome]), h('span', { class: 'mono' }, f.that), f.in ? ' in ' + f.in : '', ': ' + f.got)))),
      data.headlines[i].map(v => h('td', { class: 'num' }, v)), h('td', {}, r.page ? h('a', { href: r.page }, 'report') : r.record ? h('span', { class: 'mono small' }, r.record) : h('span', { class: 'soft' }, r.state === 'done' ? 'not kept' : nothing)))), true)));

  section('method', 'How to read this', null, h('div', { class: 'card lead' },
    h('p', {}, 'The run is the unit, not the request. In each block every variant runs once, in an order drawn at random, with the same seed: the same arrivals, the same draws. So differences are taken within blocks, and what the machine does besides meets all variants alike.'),
    h('p', {}, 'Estimate: the median of the means of all pairs of differences (Hodges and Lehmann). Interval: bootstrap over pairs, expanded percentile (Hesterberg 2015). p: sign-flip permutation test, corrected after Holm over the variants that one figure is compared in. Shares of runs: Wilson’s interval.'),
    h('p', {}, 'A claim takes at least 10 pairs, an interval that holds no “no change”, an estimate beyond what the A/A pair reaches, and p at most 5 % after the correction. With many figures on one page, some will be extreme by chance: choose beforehand the one that decides.'),
    h('p', {}, 'A latency or a recovery that never came counts with the longest time that could have been seen. docs/benchmarking.md has the formulas and their sources.')));
  main.append(h('footer', {}, `Faultline ${data.version} · ${data.machine} · ${new Date(data.created).toUTCString()} · plan `, h('span', { class: 'mono' }, data.plan.slice(0, 12))));
})();
