// What every page of the console has: the theme, and asking the server.
const token = document.querySelector('meta[name=faultline-token]').content;
const theme = document.documentElement.dataset;
const remembered = () => {
  try {
    return localStorage.getItem('faultline-theme');
  } catch {
    return null;
  }
};
if (remembered()) theme.theme = remembered();
document.getElementById('theme').addEventListener('click', () => {
  const dark = theme.theme ? theme.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  theme.theme = dark ? 'light' : 'dark';
  try {
    localStorage.setItem('faultline-theme', theme.theme);
  } catch {
    /* then it is not remembered */
  }
});

// ask returns the answer, or throws {error, fields}. With a body it acts, which takes the token.
async function ask(path, body) {
  const options =
    body === undefined
      ? {}
      : {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', 'X-Faultline-Token': token },
          body: JSON.stringify(body),
        };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw { error: 'the lab does not answer' };
  }
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { error: text || response.statusText };
  }
  if (!response.ok) throw answer;
  return answer;
}
