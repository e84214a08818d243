// Asking the server: what every page of the console does.
const token = document.querySelector('meta[name=faultline-token]').content;

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
