// A request to the server that the page came from.

/** The answer. A failure is an Error with the server's message and `status`; with `silence` if it did not answer. */
export async function ask(path, options, silence) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(silence);
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = `${answer.status} ${text.slice(0, 200)}`;
  try {
    message = JSON.parse(text).error;
  } catch { /* not ours: a proxy's page, say */ }
  throw Object.assign(new Error(message), { status: answer.status });
}
