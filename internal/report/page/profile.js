// What a service spent its processor time on around a span: a table of functions and
// a flame graph, and the same as a file for go tool pprof.

// profileLink offers the profile of a span's service at its time: one of the page, or, where
// the run goes on, one that is asked for.
function profileLink(run, trace, v) {
  const kept = run.profiles && run.profiles[v.profile];
  if (!kept && !(run.profileAt && run.services.some(s => s.name === v.service))) return null;
  const place = h('div', {}),
    label = `CPU profile of ${v.service} around then`;
  const button = h(
    'button',
    {
      type: 'button',
      class: 'profile-link',
      'aria-expanded': 'false',
      onclick: async () => {
        if (place.childNodes.length) {
          place.replaceChildren();
          button.setAttribute('aria-expanded', 'false');
          return;
        }
        button.setAttribute('aria-expanded', 'true');
        place.replaceChildren(h('p', { class: 'soft', role: 'status' }, 'Asking for the profile…'));
        try {
          place.replaceChildren(profileView(kept || (await run.profileAt(trace, v))));
        } catch (e) {
          place.replaceChildren(h('p', { class: 'soft', role: 'status' }, e.error || String(e)));
        }
      },
    },
    label,
  );
  return h('div', { class: 'profile' }, button, place);
}

// plainName leaves the path of a package out: github.com/a/b/c.(*T).F is c.(*T).F.
const plainName = name => name.replace(/^.*\/(?=[^/]*\.)/, '');

function profileView(p) {
  const where = p.instance || p.service,
    when = `${clock(p.from)} to ${clock(p.to)}`;
  if (!(p.seconds > 0))
    return h(
      'p',
      { class: 'soft' },
      `${where} used no processor time from ${when}: it was idle, or waited for others.`,
    );
  return h(
    'div',
    { class: 'profile-view' },
    h(
      'p',
      {},
      h('b', {}, `${significant(p.seconds * 1000)}ms`),
      ` of processor time of ${where} from ${when} `,
      h('span', { class: 'soft' }, '(all requests of that time, not this one alone) '),
      downloadOf(p),
    ),
    h('div', { class: 'tall', tabindex: 0, role: 'region', 'aria-label': 'flame graph of ' + where }, flame(p)),
    table(
      'functions of ' + where + ' by own time',
      ['function', '#own', '#with callees'],
      p.top.map(f => [
        h('td', { class: 'mono', title: p.names[f.n] }, plainName(p.names[f.n])),
        percent(f.own / p.seconds),
        percent(f.total / p.seconds),
      ]),
    ),
  );
}

function downloadOf(p) {
  const name = `${(p.instance || p.service).replace(/[^\w.-]/g, '_')}-cpu-${Math.round(p.from)}s.pb.gz`;
  if (p.url) return h('a', { href: p.url, download: name }, 'pprof file');
  if (p.pprof) return h('a', { href: 'data:application/octet-stream;base64,' + p.pprof, download: name }, 'pprof file');
  return h('span', { class: 'soft' }, `The pprof file is in the record, below profiles/${p.service}/.`);
}

// flame is the graph: what calls stands above what it calls, as wide as the time it took. A click
// makes a frame as wide as the graph.
function flame(p) {
  const rowHeight = 18,
    deepest = Math.max(...p.flame.map(f => f.d)) + 1,
    box = h('div', {
      class: 'flame',
      role: 'img',
      'aria-label': 'Flame graph. The table below has the functions that took the most.',
    });
  const draw = root => {
    box.style.height = deepest * rowHeight + 'px';
    const inside = f => f.x + f.w > root.x + 1e-6 && f.x < root.x + root.w - 1e-6;
    box.replaceChildren(
      ...p.flame.filter(inside).map(f => {
        const left = Math.max(0, (f.x - root.x) / root.w),
          width = Math.min(1, (f.x + f.w - root.x) / root.w) - left,
          text = `${plainName(p.names[f.n])}\n${percent(f.w)}, ${ms(f.w * p.seconds * 1000)}`;
        return h(
          'span',
          {
            class: 'frame',
            style: `left:${(left * 100).toFixed(2)}%;width:${(width * 100).toFixed(2)}%;top:${f.d * rowHeight}px;--hue:${frameHue(p.names[f.n])}`,
            onclick: () => draw(root.x === f.x && root.w === f.w ? { x: 0, w: 1 } : f),
            onmousemove: e => showTip(e.clientX, e.clientY, text),
            onmouseleave: hideTip,
          },
          plainName(p.names[f.n]),
        );
      }),
    );
  };
  draw({ x: 0, w: 1 });
  return box;
}
// frameHue is one colour for each package.
function frameHue(name) {
  let sum = 0;
  for (const c of name.replace(/\.[^/]*$/, '')) sum = (sum * 31 + c.charCodeAt(0)) % 360;
  return sum;
}
