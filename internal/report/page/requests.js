// Failed requests by kind, and the slowest of each load.

function requestRow(run, r, lead) {
  const box = h('div', {});
  const what = r.ok
    ? slowText(run, r)
    : h(
        'span',
        {},
        r.cause ? arrow(r.cause) : h('span', { class: 'soft' }, r.trace ? 'its trace shows no cause' : 'no trace'),
      );
  return h(
    'details',
    {
      class: 'request',
      ontoggle: e => {
        if (e.target.open && !box.childNodes.length) box.append(waterfall(run, r));
      },
    },
    requestSummary(
      r,
      lead && h('b', {}, lead + ' '),
      what,
      r.faults && h('span', { class: 'soft' }, ' ⚡︎ ' + r.faults.replace(/,/g, ', ')),
    ),
    box,
  );
}

// slowText says where the time of a slow request went, as far as its trace tells.
function slowText(run, r) {
  const trace = run.traces[r.trace],
    step = r.step && r.step + ': ';
  return trace && trace.spent.length
    ? h('span', {}, step, spentParts(trace, 3))
    : h('span', { class: 'soft' }, step, 'ok, ' + r.status);
}

function failureKind(run, k) {
  const when = k.n === 1 ? 'at ' + clock(k.first) : clock(k.first) + ' to ' + clock(k.last);
  const causes =
    k.causes.length > 0 &&
    h(
      'p',
      { class: 'small causes' },
      k.looked < k.n ? `Of ${k.looked} whose traces were looked at: ` : 'Their traces say: ',
      k.causes.slice(0, 5).map((c, i) => [i > 0 && ', ', h('b', {}, count(c.n)), ' ' + arrow(c.name)]),
      k.causes.length > 5 && `, and ${k.causes.length - 5} other causes`,
    );
  return h(
    'div',
    { class: 'kind' },
    h(
      'h4',
      {},
      h('span', { class: 'num' }, count(k.n)),
      ' ',
      h('span', { class: 'bad' }, k.error),
      ' ',
      h('span', {}, [k.load, k.step].filter(Boolean).join(' · ')),
      h('span', { class: 'soft' }, ' ' + when),
    ),
    causes,
    k.requests.map(r => requestRow(run, r)),
  );
}

function requestsCard(run) {
  const box = h('div', {}),
    options = [
      {
        label: `failed (${count(run.failed)})`,
        draw: () =>
          run.failures.length
            ? run.failures.map(k => failureKind(run, k))
            : h('p', { class: 'soft' }, 'No request failed.'),
      },
      ...run.slow.map(l => ({
        label: 'slowest of ' + l.load,
        draw: () =>
          l.requests.length ? l.requests.map(r => requestRow(run, r)) : h('p', { class: 'soft' }, 'None ended well.'),
      })),
    ];
  return [
    choice('which requests of ' + run.label, options, run.failures.length ? 0 : Math.min(1, options.length - 1), o =>
      box.replaceChildren(...[o.draw()].flat()),
    ),
    box,
  ];
}
