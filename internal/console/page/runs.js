// The index of recorded runs: open a report, or several side by side.
const token = document.querySelector('meta[name=faultline-token]').content;
try { const theme = localStorage.getItem('faultline-theme'); if (theme) document.documentElement.dataset.theme = theme; } catch { /* then it is not remembered */ }
document.getElementById('theme').addEventListener('click', () => {
  const theme = document.documentElement.dataset, dark = theme.theme ? theme.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  theme.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('faultline-theme', theme.theme); } catch { /* then it is not remembered */ }
});

const chosen = new Set(), note = h('div', { 'aria-live': 'polite' });
const side = h('button', { type: 'button', class: 'act', disabled: true, onclick: compare }, 'side by side');
async function compare() {
  side.disabled = true;
  note.replaceChildren(h('p', { class: 'soft small' }, 'Judging and drawing…'));
  try {
    const response = await fetch('/api/compare', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Faultline-Token': token }, body: JSON.stringify({ runs: [...chosen] }) });
    const answer = await response.json();
    if (!response.ok) throw answer;
    note.replaceChildren(h('p', { class: 'small' }, h('a', { href: answer.url }, 'open the comparison')));
    location.assign(answer.url);
  } catch (e) {
    note.replaceChildren(h('p', { class: 'wrong', role: 'alert' }, e.error || 'the lab does not answer'));
  }
  side.disabled = chosen.size < 2;
}
function row(r) {
  const box = h('input', { type: 'checkbox', 'aria-label': 'choose ' + r.id, onchange: e => { if (e.target.checked) chosen.add(r.id); else chosen.delete(r.id); side.disabled = chosen.size < 2 || chosen.size > 6; } });
  const state = r.ended === 'running' ? h('a', { href: '/' }, 'runs now') : r.verdict ? badge(r.verdict) : h('span', { class: 'soft' }, r.ended);
  return h('tr', {}, h('td', {}, r.ended !== 'running' && r.ended !== 'damaged' && box), h('td', {}, state), h('td', {}, h('b', {}, r.scenario), ' ', h('span', { class: 'soft' }, r.variant), r.why && h('div', { class: 'soft small' }, r.why)),
    h('td', { class: 'num' }, r.started.replace('T', ' ').slice(0, 19)), h('td', { class: 'num' }, r.seconds ? seconds(r.seconds) : nothing), h('td', {}, r.report ? h('a', { href: '/runs/' + encodeURIComponent(r.id) + '/report' }, 'report') : h('span', { class: 'soft' }, 'none')), h('td', { class: 'mono small' }, r.id));
}
(async () => {
  document.title = 'Runs: Faultline';
  try {
    const response = await fetch('/api/runs'), runs = await response.json();
    if (!response.ok) throw runs;
    main.replaceChildren(h('h1', {}, 'Runs'), runs.length ? h('div', {}, h('div', { class: 'status' }, side, h('span', { class: 'soft small' }, 'Choose two to six runs to see them side by side.')), note, h('div', { class: 'card' }, table('recorded runs, the newest first', ['', 'verdict', 'scenario', '#started', '#length', 'report', 'record'], runs.map(row))))
      : h('p', { class: 'soft' }, 'No run is recorded yet. faultline run cascade-failure records one for each variant.'));
  } catch (e) {
    main.replaceChildren(h('p', { class: 'notice', role: 'alert' }, e.error || 'the lab does not answer'));
  }
})();
