// What the page asks of the server. A failure is an Error with the server's message and `status`, if it answered.

import { ask as request } from './shared/ask.js';

export const ENDED = 410; // the session is forgotten

let token = sessionStorage.session ?? '';

const SILENCE = 'The server does not answer; is it still running?';

const ask = (path, options = {}) =>
  request(`api/${path}`, { ...options, headers: { 'X-Session': token, ...options.headers } }, SILENCE);

const json = async (path, options) => (await ask(path, options)).json();

/** The state of this tab's session, of a new one if there is none; `about` says what the server can do. */
export async function open() {
  try {
    if (token) return await json('session');
  } catch (error) {
    if (error.status !== ENDED) throw error;
  }
  token = '';
  token = sessionStorage.session = (await json('session', { method: 'POST' })).session;
  return json('session');
}

export async function close() {
  if (token) await ask('session', { method: 'DELETE' });
}

/** `kind` is photo, references or strangers. Gives the new state, as all that follow. */
export const give = (kind, file) => json(`${kind}?${new URLSearchParams({ name: file.name })}`, { method: 'POST', body: file });

export const remove = (number) => json(`references/${number}`, { method: 'DELETE' });

export const restore = (wish) => json('restore', { method: 'POST', body: JSON.stringify(wish) });

/** `png` is a Blob, or null for the network's own mask. */
export const mask = (key, png) => json(`masks/${key}`, png ? { method: 'PUT', body: png } : { method: 'DELETE' });

/** How many requests come before this tab's first; null: it has none. */
export const line = async () => (await json('line')).ahead;

export async function picture(path, isMask = false) {
  const blob = await (await ask(`pictures/${path}`)).blob();
  return createImageBitmap(blob, { colorSpaceConversion: isMask ? 'none' : 'default' });
}

export const file = async (name) => (await ask(name)).blob();
