// What one can do to the run, and the page itself.

function told(place, e) {
  place.replaceChildren(h('p', { class: 'wrong', role: 'alert' }, e.error || String(e)));
}
// acting does what a button is for, once at a time. The button is not disabled meanwhile, for then the keyboard would lose it.
async function acting(button, place, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  const label = button.textContent;
  button.setAttribute('aria-disabled', 'true');
  place.replaceChildren();
  try {
    await work();
  } catch (e) {
    told(place, e);
  }
  button.removeAttribute('aria-disabled');
  button.disabled = Boolean(run && run.over);
  button.textContent = label;
}

// --- faults that act now ---
function drawFaults() {
  const active = run.faults.filter(f => f.active),
    key = JSON.stringify([active.map(f => [f.id, f.state]), run.over]);
  if (key === parts.faultsKey) return;
  parts.faultsKey = key;
  const note = h('div', {}),
    all = h(
      'button',
      {
        type: 'button',
        class: 'danger',
        disabled: run.over,
        onclick: () => acting(all, note, () => ask('/api/clear', {})),
      },
      'clear all',
    );
  const within = parts.faults.contains(document.activeElement),
    focused = within && document.activeElement.closest('[data-fault]');
  parts.faults.replaceChildren(
    ...(active.length
      ? [
          h(
            'ul',
            { class: 'active', 'aria-label': 'faults that act now' },
            active.map(f => activeFault(f, note)),
          ),
          active.length > 1 && all,
          note,
        ].filter(Boolean)
      : [h('p', { class: 'empty' }, 'No fault acts now.')]),
  );
  if (within) {
    // the keyboard stays where it was, though the list is new
    const again =
      focused && parts.faults.querySelector(`[data-fault="${CSS.escape(focused.dataset.fault)}"] button:enabled`);
    (again || parts.faults).focus();
  }
}
function activeFault(f, note) {
  const planned = f.load && !f.who;
  const button = h(
    'button',
    {
      type: 'button',
      class: 'danger',
      'aria-label': 'clear ' + f.id,
      disabled: planned || run.over,
      title: planned && 'this is part of the planned load',
      onclick: () => acting(button, note, () => ask('/api/recover', { id: f.id })),
    },
    'clear',
  );
  return h(
    'li',
    { 'data-fault': f.id },
    h(
      'span',
      {},
      '⚡︎ ',
      h('b', {}, f.id),
      ` ${f.kind.replace(/_/g, ' ')} on ${arrow(f.target)}`,
      h('span', { class: 'soft' }, ' · ' + f.state + (f.who ? ' · by hand' : ' · planned')),
    ),
    button,
  );
}

// --- the form, made from the catalog ---
// refused lists why edges cannot take a kind of fault: those with one reason together.
function refused(k) {
  const why = new Map();
  for (const e of k.family === 'request' ? run.edges : [])
    if (e.no_requests) why.set(e.no_requests, [...(why.get(e.no_requests) || []), edgeName(e)]);
  return why;
}
const takes = (k, e) => k.family !== 'request' || !e.no_requests;
// whyNot says it: with all their names where they are few.
function whyNot(k) {
  return [...refused(k)].map(([why, edges]) =>
    h(
      'p',
      { class: 'about refused' },
      'Not offered: ',
      edges.length > 6 ? counted(edges.length, 'edge') : edges.map(arrow).join(', '),
      '. ' + why,
    ),
  );
}

const example = p =>
  ({
    duration: 'such as 300ms or 2s',
    size: 'such as 64KB',
    rate: 'such as 120/s',
    ratio: 'such as 10%',
    integer: 'a whole number',
    number: 'a number',
  })[p.type] || '';
const placeholders = { replica: 'every replica', groups: 'gateway, orders | payments, bank' };

function faultField(k, p) {
  const choices = {
    edge: run.edges.filter(e => takes(k, e)).map(edgeName),
    service: run.services.map(v => v.name),
    load: run.loads.filter(l => l.open).map(l => l.name),
  };
  const list = choices[p.name] || p.allowed,
    needed = p.required || ['edge', 'service'].includes(p.name),
    wrong = h('span', { class: 'wrong', id: 'wrong-' + p.name }),
    about = h('span', { class: 'about', id: 'about-' + p.name }, p.about);
  const input = list
    ? h(
        'select',
        {},
        !needed && p.default === null && h('option', { value: '' }, 'not set'),
        list.map(v => h('option', { value: v }, arrow(v))),
      )
    : p.type === 'boolean'
      ? h('input', { type: 'checkbox' })
      : h('input', {
          type: 'text',
          autocomplete: 'off',
          placeholder: placeholders[p.name] || (p.default !== null ? String(p.default) : example(p)),
        });
  if (list && p.default !== null) input.value = p.default;
  change(input, { name: p.name, 'aria-describedby': about.id + ' ' + wrong.id });
  const label = h('label', {}, p.name.replace(/_/g, ' ') + (needed ? '' : ' (optional)'), input, about, wrong);
  return { p, input, wrong, label };
}

function faultForm() {
  const kind = h('select', { id: 'kind', onchange: () => fields() }),
    box = h('div', { class: 'form' }),
    note = h('div', { class: 'kept', 'aria-live': 'polite' }),
    about = h('p', { class: 'about' }),
    button = h('button', { class: 'act', type: 'submit' }, 'inject');
  for (const family of [...new Set(catalog.map(k => k.family))])
    kind.append(
      h(
        'optgroup',
        { label: family },
        catalog.filter(k => k.family === family).map(k => h('option', { value: k.name }, k.name.replace(/_/g, ' '))),
      ),
    );
  let inputs = {};
  const fields = () => {
    const k = catalog.find(c => c.name === kind.value),
      shown = k.params.filter(p => !['edges', 'services'].includes(p.name)).map(p => faultField(k, p));
    inputs = Object.fromEntries(shown.map(f => [f.p.name, f]));
    about.textContent = k.about;
    about.title = k.cannot;
    box.replaceChildren(...shown.flatMap(f => (f.p.name === 'edge' ? [f.label, ...whyNot(k)] : [f.label])));
  };
  const form = h(
    'form',
    {
      class: 'form',
      'aria-label': 'inject a fault',
      onsubmit: e => {
        e.preventDefault();
        inject(button, note, kind.value, inputs);
      },
    },
    h('label', {}, 'kind of fault', kind),
    about,
    box,
    button,
    note,
  );
  fields();
  // pick chooses what was clicked in the topology, with a kind of fault that can act on it.
  parts.pick = picked => {
    const [name, value] = Object.entries(picked)[0],
      fits = k =>
        k.params.some(p => p.name === name) &&
        (name !== 'edge' || run.edges.some(e => edgeName(e) === value && takes(k, e)));
    if (!fits(catalog.find(c => c.name === kind.value))) {
      kind.value = catalog.find(fits).name;
      fields();
    }
    inputs[name].input.value = value;
    inputs[name].input.focus();
  };
  parts.controls.push(button);
  return form;
}

function inject(button, note, kind, inputs) {
  for (const f of Object.values(inputs)) {
    f.wrong.textContent = '';
    f.input.removeAttribute('aria-invalid');
  }
  acting(button, note, async () => {
    button.textContent = 'injecting…';
    try {
      const { id } = await ask('/api/inject', { kind, params: valuesOf(inputs) });
      note.replaceChildren(
        h('p', { class: 'small soft', role: 'status' }, `${id} stands. Events say whether it is felt.`),
      );
    } catch (e) {
      for (const [name, text] of Object.entries(e.fields || {}))
        if (inputs[name]) {
          inputs[name].wrong.textContent = text;
          inputs[name].input.setAttribute('aria-invalid', 'true');
        }
      const first = Object.keys(inputs).find(name => (e.fields || {})[name]);
      if (first) inputs[first].input.focus();
      throw e;
    }
  });
}
function valuesOf(inputs) {
  const out = {};
  for (const [name, { p, input }] of Object.entries(inputs)) {
    const text = p.type === 'boolean' ? input.checked : input.value.trim();
    if (text === '' || text === false) continue;
    if (name === 'groups')
      out[name] = text.split('|').map(g =>
        g
          .split(',')
          .map(v => v.trim())
          .filter(Boolean),
      );
    else if ((p.type === 'integer' || p.type === 'number') && !Number.isNaN(Number(text))) out[name] = Number(text);
    else out[name] = text;
  }
  return out;
}

// --- the load ---
function rateForms() {
  const open = run.loads.filter(l => l.open);
  if (!open.length) return h('p', { class: 'empty' }, 'No load has a rate: users wait for their answers.');
  return h('div', { class: 'rates' }, open.map(rateForm));
}
function rateForm(l) {
  const input = h('input', { type: 'number', min: 0, step: 'any', value: l.rate, name: 'rate-' + l.name }),
    note = h('div', { class: 'kept', 'aria-live': 'polite' }),
    now = h('span', { class: 'soft' }),
    button = h('button', { type: 'submit' }, 'set');
  parts.rates.set(l.name, now);
  parts.controls.push(button);
  return h(
    'form',
    {
      'aria-label': 'rate of ' + l.name,
      onsubmit: e => {
        e.preventDefault();
        acting(button, note, () => ask('/api/rate', { load: l.name, rate: Number(input.value) }));
      },
    },
    h(
      'div',
      { class: 'pair form' },
      h('label', {}, h('span', {}, h('b', {}, l.name), ' arrivals a second, now ', now), input),
      button,
    ),
    note,
  );
}
function drawRates() {
  for (const l of run.loads) if (parts.rates.has(l.name)) say(parts.rates.get(l.name), rate(l.rate));
}

// --- saving and ending ---
function saveForm() {
  const name = h('input', {
      type: 'text',
      name: 'scenario-name',
      placeholder: 'my-failure',
      autocomplete: 'off',
      required: true,
    }),
    note = h('div', { 'aria-live': 'polite' });
  const send = (button, keep) =>
    acting(button, note, async () => {
      const got = await ask('/api/save', { name: name.value.trim() || (keep ? '' : 'preview'), about: '', keep });
      note.replaceChildren(
        h(
          'p',
          { class: 'small', role: 'status' },
          got.file
            ? [
                'Saved as ',
                h('b', { class: 'mono' }, got.file),
                '. Replay it with ',
                h('span', { class: 'mono' }, 'faultline run ' + got.file),
              ]
            : 'It can be run like this:',
        ),
        h('pre', { class: 'file', tabindex: 0, 'aria-label': 'the scenario file' }, got.text),
      );
    });
  const save = h('button', { class: 'act', type: 'submit' }, 'save'),
    look = h('button', { type: 'button', onclick: () => send(look, false) }, 'look');
  return h(
    'form',
    {
      class: 'form',
      'aria-label': 'save as scenario',
      onsubmit: e => {
        e.preventDefault();
        send(save, true);
      },
    },
    h('p', { class: 'about' }, 'What was done so far, as a scenario that does it again at the same times.'),
    h('div', { class: 'pair' }, h('label', {}, 'name', name), save, look),
    note,
  );
}
function abortButton() {
  const note = h('span', {});
  let armed = 0;
  const button = h(
    'button',
    {
      type: 'button',
      class: 'danger',
      id: 'abort',
      onclick: () => {
        if (!armed) {
          armed = setTimeout(() => {
            armed = 0;
            button.textContent = 'abort';
          }, 4000);
          button.textContent = 'abort: really?';
          return;
        }
        clearTimeout(armed);
        armed = 0;
        button.textContent = 'abort';
        acting(button, note, () => ask('/api/abort', {}));
      },
    },
    'abort',
  );
  parts.controls.push(button);
  return [button, note];
}

// --- the page ---
const part = (id, title, ...children) =>
  h('section', { class: 'card', 'aria-labelledby': id }, h('h2', { id }, title), ...children);
const spans = [
  { label: '2 minutes', span: 120 },
  { label: '5 minutes', span: 300 },
  { label: '15 minutes', span: 900 },
];
function build() {
  parts = {
    controls: [],
    time: h('span', { class: 'time' }),
    phase: h('span', { class: 'soft phase' }),
    trouble: h('p', { class: 'notice small', hidden: true }),
    faults: h('div', { class: 'acting', tabindex: -1 }),
    requests: h(
      'div',
      {
        class: 'requests',
        tabindex: 0,
        role: 'region',
        'aria-label': 'failed and slow requests, the latest first; arrow keys lead from one to the next',
        onkeydown: requestKeys,
        onfocusin: e => e.target.matches('.request > summary') && stopAt(e.target),
      },
      h('p', { class: 'empty' }, 'No request failed or was slower than its slo so far.'),
    ),
    side: h('div', { class: 'stackup' }),
    events: h('ol', { class: 'events', tabindex: 0, 'aria-label': 'events, the latest first' }),
    logs: h('div', { class: 'logs', tabindex: 0, role: 'log', 'aria-live': 'off', 'aria-label': 'log lines' }),
    loads: run.loads.map(loadCard),
    policies: policyTable(),
    edgeTable: edgesInNumbers(),
    faultsKey: '',
    rates: new Map(),
    // The rest of the page, each in a frame of its own, so that none takes long; the topology before what stands below
    // it, for its height is not known before.
    later: [() => parts.topology.plan(), () => parts.topology.prepare(), addTopology, addBench, addSide, addLogs],
  };
  parts.topology = topology(snapshot(), 'now', { figures: true, pick: picked => parts.pick && parts.pick(picked) });
  parts.topology.held = true;
  parts.moreRequests = h(
    'button',
    { type: 'button', class: 'more', style: 'visibility:hidden', onclick: showRequests },
    'show',
  );
  document.title = `${run.scenario}, ${run.variant}: Faultline`;
  main.replaceChildren(
    h('h1', {}, run.scenario, run.variant !== 'default' && h('span', { class: 'soft' }, ' · ' + run.variant)),
    run.about && h('p', { class: 'soft' }, run.about),
    h('div', { class: 'status' }, connection, parts.time, parts.phase, h('span', { class: 'end' }, abortButton())),
    parts.trouble,
    part('h-topology', 'Topology', parts.topology),
  );
}
function addTopology() {
  parts.topology.held = false;
  parts.topology.fit();
  parts.topology.after(parts.edgeTable);
}
function addBench() {
  const zoom =
    (run.bench || run.length > 600) &&
    choice(
      'how much is shown',
      spans,
      spans.findIndex(o => o.span === span),
      o => {
        span = o.span;
        if (parts.built) drawSoon();
      },
    );
  main.append(h('div', { class: 'bench' }, h('div', { class: 'stackup' }, watching(zoom)), parts.side));
}
function addSide() {
  parts.side.append(
    part('h-faults', 'Faults that act now', parts.faults),
    part('h-inject', 'Break it', faultForm()),
    part('h-load', 'Load', rateForms()),
    part('h-save', 'Save as scenario', saveForm()),
    part('h-policies', 'Policies', parts.policies),
    part('h-events', 'Events', parts.events),
  );
  parts.built = true;
}
function addLogs() {
  parts.logText = h('input', { type: 'search', placeholder: 'filter', oninput: filterLogs, name: 'log-text' });
  parts.logService = h(
    'select',
    { onchange: filterLogs },
    h('option', { value: '' }, 'every service'),
    run.services.map(v => h('option', { value: v.name }, v.name)),
  );
  parts.logSeverity = h(
    'select',
    { onchange: filterLogs },
    severities.map(v => h('option', { value: v }, v)),
  );
  main.append(
    part(
      'h-logs',
      'Logs',
      h(
        'div',
        { class: 'filters form' },
        h('label', {}, 'text', parts.logText),
        h('label', {}, 'service', parts.logService),
        h('label', {}, 'at least', parts.logSeverity),
      ),
      parts.logs,
    ),
    h('footer', {}, 'Faultline ' + data.version + ' · run ', h('span', { class: 'mono' }, run.id)),
  );
}
const watching = zoom => [
  h(
    'div',
    { class: 'over-loads' },
    legend([
      ['', 'var(--good)', 'good'],
      ['', 'var(--slow)', 'slow'],
      ['', 'var(--bad)', 'failed'],
      ['', 'var(--blue)', 'how many took so long'],
      ['stroke', 'var(--bad)', 'p99'],
    ]),
    zoom,
  ),
  h('div', { class: 'loads' }, parts.loads),
  h(
    'section',
    { class: 'card', 'aria-labelledby': 'h-requests' },
    h('div', { class: 'titled' }, h('h2', { id: 'h-requests' }, 'Failed and slow requests'), parts.moreRequests),
    parts.requests,
  ),
];
