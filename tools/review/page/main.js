// Going through the pairs: one is shown, a key decides, the server has it on disk, the next is shown.

import { Pictures } from './canvas.js';
import { Filter } from './filter.js';
import { Mask } from './shared/mask.js';
import { greyPng } from './shared/png.js';
import * as server from './server.js';

const byId = (id) => document.getElementById(id);
const pictures = new Pictures(byId('gt'), byId('ref'), () => !busy && !shown.problem, () => say(''));
const decided = JSON.parse(sessionStorage.decided ?? '[]'); // {id, version, mask} after each of this tab's decisions, for undo
let filter;
let pairs; // id -> its short form
let shown = null; // the pair as the server told it
let coming = null; // {id, gt, ref}: pictures of the pair that comes next, loaded ahead
let busy = true; // no key counts until what is shown is what the server has

function say(text, isProblem = false) {
  byId('message').textContent = text;
  byId('message').classList.toggle('problem', isProblem);
  byId('message').hidden = !text;
}

/** Runs one step after the other; what goes wrong is said, and the page stays where it is. */
async function step(action) {
  if (busy || pictures.painting) return;
  busy = true;
  document.body.classList.add('busy');
  say('');
  try {
    await action();
  } catch (error) {
    say(error.message, true);
  }
  busy = false;
  document.body.classList.remove('busy');
}

/** Takes over what the server says of a pair. */
function learn(pair) {
  Object.assign(pairs.get(pair.id), { state: pair.state, reviewed: pair.reviewed, version: pair.version });
  filter.count(pair.counts);
}

function load(id) {
  const loading = { id, gt: server.picture(id, 'gt'), ref: server.picture(id, 'ref') };
  for (const picture of [loading.gt, loading.ref]) picture.catch(() => {}); // it is awaited later, or never
  return loading;
}

async function fetchAll(id) {
  const ahead = coming?.id === id ? coming : load(id);
  coming = null;
  const [pair, gt, ref] = await Promise.all([server.look(id), ahead.gt, ahead.ref]);
  const mask = new Mask(pair.problem ? new OffscreenCanvas(ref.width, ref.height) : await server.picture(id, 'mask'));
  return { pair, gt, ref, mask };
}

async function show(id) {
  let all;
  try {
    all = await fetchAll(id);
  } catch (error) {
    if (!error.status) throw error;
    filter.unshowable.add(id);
    throw new Error(`${error.message}. ${id} is passed over.`);
  }
  const { pair, ...parts } = all;
  learn(pair);
  shown = pair;
  pictures.show(parts);
  location.replace(`#${encodeURIComponent(id)}`);
  tell();
  if (pair.problem) say(`${pair.problem}. It can only be rejected.`, true);
  const next = filter.next(id, 1);
  if (next !== null) coming = load(next);
}

/** The line below the pictures. */
function tell() {
  byId('name').textContent = shown.id;
  byId('state').textContent = shown.state;
  byId('state').className = `state ${shown.state}`;
  const facts = { identity: shown.identity, confidence: shown.confidence?.toFixed(2), ...shown.details };
  const text = Object.entries(facts).filter(([, value]) => value).map(([key, value]) => `${key} ${value}`).join(' · ');
  byId('details').textContent = byId('details').title = text;
  byId('place').textContent = filter.place(shown.id);
  byId('accept').disabled = Boolean(shown.problem);
}

async function showNext(direction = 1) {
  const next = filter.next(shown.id, direction);
  if (next !== null) return show(next);
  await show(shown.id);
  return say('No other pair passes the filter.');
}

function requireSaved() {
  if (pictures.pair?.mask.changed) throw new Error('There are strokes that are not saved: accept with A, or drop them with X.');
}

async function go(direction) {
  requireSaved();
  await showNext(direction);
}

/** Sends a decision; when the pair was changed elsewhere it is shown anew, and nothing was saved. */
async function send(pair, action, png) {
  try {
    const now = await server.decide(pair, action, png);
    learn(now);
    return now;
  } catch (error) {
    if (error.status !== server.STALE) throw error;
    await show(pair.id);
    throw new Error(`${error.message}. This is how it stands now.`);
  }
}

function remember() {
  sessionStorage.decided = JSON.stringify(decided.slice(-1000));
}

async function decide(action) {
  const { mask } = pictures.pair;
  if (action === 'accept' && shown.problem) throw new Error(`${shown.problem}. It can only be rejected.`);
  const png = action === 'accept' && mask.changed ? await greyPng(mask.width, mask.height, mask.pixels) : null;
  const now = await send(shown, action, png);
  decided.push({ id: now.id, version: now.version, mask: now.mask });
  remember();
  if (png) mask.keepStrokes(); // should the next pair not load, this one must not seem changed
  else mask.dropStrokes();
  pictures.maskChanged();
  shown = now;
  await showNext();
}

async function undo() {
  requireSaved();
  const last = decided.at(-1) ?? shown;
  const pair = await server.look(last.id);
  const isOurs = pair.version === last.version && pair.mask === last.mask;
  if (isOurs) await send(pair, 'undo', null);
  decided.pop();
  remember();
  await show(last.id);
  if (!isOurs) throw new Error('This pair was decided again elsewhere since; nothing was taken back.');
  say(`Taken back: ${last.id} is ${shown.state} again.`);
}

async function goToLast() {
  requireSaved();
  if (decided.length) await show(decided.at(-1).id);
}

function setBrush(erase, size = pictures.brush.size) {
  pictures.brush = { erase, size: Math.min(Number(byId('size').max), Math.max(1, size)) };
  byId('brush').classList.toggle('on', !erase);
  byId('eraser').classList.toggle('on', erase);
  byId('size').value = pictures.brush.size;
  byId('size-text').textContent = `${pictures.brush.size} px`;
  pictures.redraw();
}

const larger = (factor) => setBrush(pictures.brush.erase, Math.round(pictures.brush.size * factor + Math.sign(factor - 1)));

function setView(change) {
  Object.assign(pictures, change);
  byId('overlay').classList.toggle('on', pictures.maskShown);
  byId('flicker').classList.toggle('on', pictures.flicker);
  const words = pictures.flicker || pictures.held ? ['Photo, reference', ' in turn']
    : ['Reference', ' may be used'];
  const [title, key] = byId('caption').children;
  title.textContent = words[0];
  key.hidden = !pictures.maskShown;
  byId('caption').lastChild.textContent = words[1];
  pictures.maskChanged();
}

function strokes(change) {
  if (!pictures.pair || pictures.painting || busy) return;
  pictures.pair.mask[change]();
  pictures.maskChanged();
  say('');
}

const KEYS = {
  a: () => step(() => decide('accept')),
  r: () => step(() => decide('reject')),
  u: () => step(undo),
  n: () => step(() => go(1)),
  p: () => step(() => go(-1)),
  l: () => step(goToLast),
  b: () => setBrush(false),
  e: () => setBrush(true),
  '[': () => larger(1 / 1.2),
  ']': () => larger(1.2),
  z: () => strokes('undoStroke'),
  x: () => strokes('dropStrokes'),
  m: () => setView({ maskShown: !pictures.maskShown }),
  f: () => setView({ flicker: !pictures.flicker }),
  ' ': () => setView({ held: true }),
  0: () => pictures.wholePicture(),
  '?': () => byId('help').showModal(),
};
Object.assign(KEYS, { ArrowRight: KEYS.n, ArrowLeft: KEYS.p });

document.addEventListener('keydown', (event) => {
  const isUndo = event.key === 'z' && (event.ctrlKey || event.metaKey);
  if (byId('help').open || ((event.ctrlKey || event.metaKey || event.altKey) && !isUndo)) return;
  if (event.target.matches('input[type=number], select')) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in KEYS) || !pictures.pair) return;
  event.preventDefault();
  if (event.repeat && 'aru'.includes(key)) return; // a key held down decides once
  KEYS[key]();
});
document.addEventListener('keyup', (event) => event.key === ' ' && setView({ held: false }));
window.addEventListener('blur', () => setView({ held: false }));
for (const button of document.querySelectorAll('button[data-key]')) {
  button.addEventListener('click', () => {
    button.blur();
    if (pictures.pair) KEYS[button.dataset.key]();
  });
}
byId('size').addEventListener('input', () => setBrush(pictures.brush.erase, Number(byId('size').value)));
byId('tint').addEventListener('input', () => setView({ tint: byId('tint').value / 100 }));
for (const slider of [byId('size'), byId('tint')]) slider.addEventListener('change', () => slider.blur());
window.addEventListener('beforeunload', (event) => pictures.pair?.mask.changed && event.preventDefault());

async function start() {
  const all = await server.list();
  pairs = new Map(all.pairs.map((pair) => [pair.id, pair]));
  filter = new Filter([...pairs.values()], all.counts, () => step(filterChanged));
  byId('root').title = all.root;
  byId('root').textContent = all.root.split('/').at(-1);
  const asked = decodeURIComponent(location.hash.slice(1));
  await show(pairs.has(asked) ? asked : filter.first() ?? all.pairs[0].id);
  if (all.notes.length) say(all.notes.join('; '), true);
}

async function filterChanged() {
  const fits = filter.passes(pairs.get(shown.id));
  if (fits || pictures.pair.mask.changed) tell();
  else await showNext();
}

setBrush(false);
setView({});
busy = false;
step(start);
