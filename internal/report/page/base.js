// Elements, numbers, the tip, sections and choices.
//
// Everything that comes from the system under test goes through textContent or
// setAttribute, never through HTML.
const data = JSON.parse(document.getElementById('data').textContent);
const main = document.getElementById('main');

function fill(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(9))
    if (child !== undefined && child !== null && child !== false && child !== '') node.append(child);
  return node;
}
const h = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
const s = (tag, attrs, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attrs, children);

// --- numbers, written as package figure writes them ---
const nothing = '–';
const missing = v => v === undefined || v === null || Number.isNaN(v);
const trimZeros = text => (text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text);
function significant(v) {
  if (v === 0) return '0';
  return trimZeros(v.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(v))))));
}
function grouped(v) {
  const [whole, fraction] = significant(v).split('.');
  return whole.replace(/\B(?=(\d{3})+$)/g, ',') + (fraction ? '.' + fraction : '');
}
function percent(v) {
  if (missing(v)) return nothing;
  let p = Math.round(v * 1e4) / 100;
  if (v < 1 && p >= 100) p = 99.99; // one failure in a million is not none
  if (v > 0 && p <= 0) return '<0.01%';
  return trimZeros(p.toFixed(2)) + '%';
}
function ms(v) {
  if (missing(v)) return nothing;
  const abs = Math.abs(v),
    rounded = n => Number(n.toPrecision(3));
  if (v === 0) return '0s';
  if (abs >= 120e3)
    return Math.floor(v / 60e3) + 'm' + (Math.round(v / 1e3) % 60 ? (Math.round(v / 1e3) % 60) + 's' : '');
  if (rounded(abs / 1e3) >= 1) return significant(v / 1e3) + 's';
  if (rounded(abs) >= 1) return significant(v) + 'ms';
  return significant(v * 1e3) + 'µs';
}
const rate = v => (missing(v) ? nothing : grouped(v) + '/s');
const times = v => (missing(v) ? nothing : significant(v) + 'x');
const count = n => n.toLocaleString('en-US');
const clock = t => (t < 0 ? '−' : '') + Math.abs(t).toFixed(1) + 's';
const seconds = t => trimZeros(t.toFixed(1)) + 's';
const counted = (n, noun) => count(n) + ' ' + noun + (n === 1 ? '' : 's');
const short = (text, columns) =>
  text.replace(/\ufe0e/g, '').length > columns ? text.slice(0, Math.max(1, columns - 1)) + '…' : text;
const arrow = edge => edge.replace(/ ?-> ?/g, ' → ');

// --- verdicts and shares in colour, and in more than colour ---
const outcomeMark = { pass: '✓', fail: '✗', inconclusive: '?' },
  outcomeClass = { pass: 'good', fail: 'bad', inconclusive: 'slow' };
const badge = outcome =>
  h(
    'span',
    { class: 'badge ' + outcome },
    h('span', { 'aria-hidden': 'true' }, outcomeMark[outcome] || '?'),
    ' ' + outcome,
  );
const shareClass = v => (missing(v) ? '' : v >= 0.99 ? 'good' : v < 0.5 ? 'bad' : 'slow');

// --- the tip that follows the pointer, and that screen readers read out ---
const tip = h('div', { class: 'tip', hidden: true, role: 'status' });
document.body.append(tip);
function showTip(x, y, text) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = Math.max(4, y + 14 + box.height > innerHeight ? y - box.height - 10 : y + 14) + 'px';
}
const hideTip = () => {
  tip.hidden = true;
};
addEventListener('keydown', e => {
  if (e.key === 'Escape') hideTip();
});
addEventListener('scroll', hideTip, { passive: true });

// --- the parts of the page ---
const nav = document.getElementById('nav');
function section(id, name, title, intro, ...children) {
  nav.append(h('a', { href: '#' + id }, name));
  main.append(
    h(
      'section',
      { 'aria-labelledby': id },
      h('h2', { id }, title),
      intro && h('p', { class: 'intro' }, intro),
      ...children,
    ),
  );
}
const card = (run, ...children) =>
  h('article', { class: 'card', 'aria-label': run.label }, data.runs.length > 1 && h('h3', {}, run.label), ...children);
const cards = draw =>
  h(
    'div',
    { class: 'grid' },
    data.runs.map(run => card(run, draw(run))),
  );
const scroll = (label, ...children) =>
  h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, ...children);
const legend = items =>
  h(
    'ul',
    { class: 'legend' },
    items.map(([kind, color, text]) =>
      h('li', {}, h('i', { class: kind, style: color && '--c:' + color, 'aria-hidden': 'true' }), text),
    ),
  );

// table(head, rows): head is texts; those that begin with # head numbers. A cell is
// a text, an element, or a td or th of its own.
function table(label, head, rows, attrs) {
  const numbers = head.map(t => t.startsWith('#'));
  const cell = (c, i) => (c && c.tagName && /^T[DH]$/.test(c.tagName) ? c : h('td', { class: numbers[i] && 'num' }, c));
  return scroll(
    label,
    h(
      'table',
      attrs || {},
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          head.map((t, i) => h('th', { scope: 'col', class: numbers[i] && 'num' }, t.replace(/^#/, ''))),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map(row => (row.tagName ? row : h('tr', {}, row.map(cell)))),
      ),
    ),
  );
}

// draws(height, fn) is a box that draws again when its width changes, and when its
// redraw is called; while it is held, it does not. It has its height from the start, so that nothing jumps.
function draws(height, fn) {
  const box = h('div', { class: 'drawn', style: height && `min-height:${height}px` });
  let last = 0;
  const draw = () => {
    if (last > 0) box.replaceChildren(fn(last));
  };
  box.redraw = draw;
  box.fit = () => {
    const width = Math.floor(box.clientWidth);
    if (width > 0 && width !== last && !box.held) {
      last = width;
      draw();
    }
  };
  new ResizeObserver(box.fit).observe(box);
  return box;
}

// change sets what is different, so that what stays the same costs no layout.
function change(node, attrs) {
  for (const [name, value] of Object.entries(attrs))
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// oneStop makes a group of elements one stop of the tab key: the arrow keys lead from one to the next, by go, which gives
// the index of the next one or -1.
function oneStop(group, items, go) {
  const stop = items.find(e => e.contains(document.activeElement)) || items[0];
  for (const e of items) e.setAttribute('tabindex', e === stop ? 0 : -1);
  const move = e => {
    for (const other of items) if (other.tabIndex === 0) other.setAttribute('tabindex', -1);
    e.setAttribute('tabindex', 0);
  };
  fill(
    group,
    {
      onfocusin: e => items.includes(e.target) && move(e.target),
      onkeydown: e => {
        if (!items.includes(e.target) || !/^Arrow/.test(e.key)) return;
        const next = items[go(e.target, e.key)];
        e.preventDefault();
        if (next) next.focus();
      },
    },
    [],
  );
}

// choice(label, options, start, pick) is a row of buttons; one is chosen.
function choice(label, options, start, pick) {
  const bar = h('div', { class: 'tools', role: 'group', 'aria-label': label });
  const buttons = options.map((o, i) => h('button', { type: 'button', onclick: () => choose(i) }, o.label));
  const choose = i => {
    buttons.forEach((b, j) => b.setAttribute('aria-pressed', String(i === j)));
    pick(options[i], i);
  };
  bar.append(...buttons);
  choose(Math.max(0, start));
  return bar;
}
