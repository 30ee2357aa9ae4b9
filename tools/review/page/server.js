// What the page asks of the server. A failure is an Error with the server's message and `status`, if it answered.

import { ask as request } from './shared/ask.js';

export const STALE = 409; // the pair is not what was shown when it was decided
const UNREADABLE = 422;

const SILENCE = 'The server does not answer. Nothing was saved; start it again and repeat the key.';

const ask = (path, options) => request(path, options, SILENCE);

const pair = (id) => `api/pairs/${encodeURIComponent(id)}`;

export const list = async () => (await ask('api/pairs')).json();

export const look = async (id) => (await ask(pair(id))).json();

/** A picture of a pair: `gt`, `ref` or `mask`, its values as they stand in the file. */
export async function picture(id, part) {
  const blob = await (await ask(`${pair(id)}/${part}`)).blob();
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: part === 'mask' ? 'none' : 'default' });
  } catch {
    throw Object.assign(new Error(`${part}/${id} is no picture, or is broken`), { status: UNREADABLE });
  }
}

/** `seen` is what `look` gave; `png` the changed mask, or null. */
export async function decide(seen, action, png = null) {
  const query = new URLSearchParams({ action, version: seen.version, mask: seen.mask });
  const options = { method: 'POST', headers: { 'Content-Type': 'image/png' }, body: png ?? new Uint8Array() };
  return (await ask(`${pair(seen.id)}?${query}`, options)).json();
}
