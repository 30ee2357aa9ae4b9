// The page: what the user gives goes to the server, what comes back is shown. Requests go one after the other.

import { Compare } from './compare.js';
import { canvasOf } from './draw.js';
import { takeFiles } from './drop.js';
import { Painter } from './painter.js';
import { makeParts } from './parts.js';
import { Photo } from './photo.js';
import { makeThumb } from './thumbs.js';
import * as server from './server.js';
import { greyPng } from './shared/png.js';

const LOOK = 600; // milliseconds between looks at the line
const ARMS = { before: 'Before', without: 'Without references', with: 'With references', stranger: 'Somebody else’s', attribution: 'From which reference' };
const byId = (id) => document.getElementById(id);
const compare = new Compare(byId('compare'), byId('split'));
const painter = new Painter(byId('mask'), () => sendMask());
const photo = new Photo(byId('photo'), (face) => chooseFace(face));
const faces = new Map(); // key of a reference -> its picture
const wish = { face: null, strength: 1, fidelity: null, colour: true, use: [], keep: [], chosen: null };
let about;
let state; // what the server said last
let arms = {}; // name -> picture of the result that is shown
let arm = 'with'; // what is compared with before
let painted = null; // {key, face}: the reference under the brush, for which face
let waiting = 0; // steps that are not done
let isStale = false; // the wish changed since it was sent
let chain = Promise.resolve();

function say(text, isProblem = false) {
  byId('message').textContent = text;
  byId('message').classList.toggle('problem', isProblem);
  byId('message').hidden = !text;
}

/** Does one step after those before it; what goes wrong is said. */
function step(action) {
  waiting++;
  document.body.classList.add('busy');
  chain = chain.then(action).catch(async (error) => {
    say(error.message, true);
    if (error.status !== server.ENDED) return;
    try {
      await start();
    } catch { /* said already */ }
  }).finally(() => {
    waiting--;
    document.body.classList.toggle('busy', waiting > 0);
    if (!waiting) byId('line').textContent = '';
  });
  return chain;
}

async function lookAtTheLine() {
  if (!waiting || !state) return;
  try {
    const ahead = await server.line();
    byId('line').textContent = !waiting ? '' : ahead ? `in line: ${ahead} before you` : 'working …';
  } catch { /* the step itself will say so */ }
}
setInterval(lookAtTheLine, LOOK);

function give(kind, files) {
  say('');
  for (const file of files) {
    step(async () => {
      if (file.size > about.upload) throw new Error(`${file.name}: a picture has at most ${about.upload / 2 ** 20} MiB`);
      await take(await server.give(kind, file));
      if (kind !== 'photo') return;
      clearResult();
      photo.show(await server.picture('photo'), state.photo);
      chooseFace(state.photo.faces.length === 1 ? 0 : null);
    });
  }
  restore();
}

function chooseFace(face) {
  wish.face = face;
  wish.chosen = null;
  photo.choose(face);
  const count = state.photo.faces.length;
  byId('faces').textContent = count === 1 ? '' : face === null ? `${count} faces: click the one to restore` : `face ${face + 1} of ${count}`;
  if (face !== null) restore();
}

/** Restores by the wish as it is when its turn comes; of many calls in between one counts. */
function restore() {
  isStale = true;
  return step(async () => {
    if (!isStale || !state.photo || wish.face === null) return;
    isStale = false;
    await take(await server.restore(wish));
    await showResult();
  });
}

/** Takes over what the server says. */
async function take(said) {
  state = said;
  const kept = new Set();
  for (const { key } of state.references.flatMap((upload) => upload.faces)) {
    kept.add(key);
    if (!faces.has(key)) faces.set(key, await server.picture(`reference/${key}`));
  }
  for (const key of faces.keys()) if (!kept.has(key)) faces.delete(key);
  showReferences();
}

function showReferences() {
  const thumbs = (isStranger) => state.references.filter((upload) => upload.stranger === isStranger)
    .flatMap((upload) => upload.faces.map((face, i) => makeThumb(faces.get(face.key), {
      title: `${upload.name}${face.why && `: ${face.why}`}`,
      used: face.used || !state.shown,
      shown: face.key === painted?.key,
      colour: isStranger ? undefined : state.shown?.colours[state.shown.chosen.indexOf(face.key)],
      onShow: () => face.used && !isStranger && step(() => paint(face.key)),
      onTake: isStranger || wish.face === null ? null : () => toggle(face.key),
      onRemove: i ? null : () => removeUpload(upload.number),
    })));
  byId('references').replaceChildren(...thumbs(false));
  byId('strangers').replaceChildren(...thumbs(true));
  byId('automatic').hidden = wish.chosen === null;
}

function removeUpload(number) {
  step(async () => {
    await take(await server.remove(number));
    if (wish.chosen) wish.chosen = wish.chosen.filter((key) => faces.has(key));
  });
  restore();
}

/** Takes or leaves a reference by hand; those in use stay. */
function toggle(key) {
  wish.chosen ??= [...(state.shown?.chosen ?? [])];
  wish.chosen = wish.chosen.includes(key) ? wish.chosen.filter((other) => other !== key) : [...wish.chosen, key];
  restore();
}

async function showResult() {
  const { version } = state.shown;
  const names = ['before', ...state.shown.arms, ...(state.shown.with ? ['attribution'] : [])];
  const pictures = await Promise.all(names.map((name) => server.picture(`${version}/${name}`)));
  const isNew = state.shown.with && !arms.with; // the first result with references is what one wants to see
  arms = Object.fromEntries(names.map((name, i) => [name, pictures[i]]));
  if (isNew || !(arm in arms)) arm = 'with' in arms ? 'with' : 'without';
  document.body.classList.remove('empty');
  showArms();
  const { chosen } = state.shown;
  await paint(chosen.includes(painted?.key) ? painted.key : chosen[0] ?? null);
  const best = state.shown.with;
  const share = best && `${Math.round(100 * best.from_references)}% of the face from references`;
  const facts = best ? [share, ...best.notes] : [];
  byId('said').textContent = byId('said').title = facts.join(' · ');
  byId('said').classList.toggle('problem', best?.same_person === false);
  for (const id of ['save-picture', 'save-record']) byId(id).disabled = false;
}

function showArms() {
  byId('arms').replaceChildren(...Object.keys(ARMS).filter((name) => name in arms).map((name) => {
    const figure = document.createElement('figure');
    figure.id = `arm-${name}`;
    const button = document.createElement('button');
    button.append(canvasOf(arms[name]));
    button.setAttribute('aria-label', ARMS[name]);
    button.classList.toggle('on', name === arm);
    button.addEventListener('click', () => chooseArm(name));
    const caption = document.createElement('figcaption');
    const { similarity, threshold } = state.shown[name] ?? {};
    caption.textContent = ARMS[name] + (similarity == null ? '' : `: alike ${similarity.toFixed(2)}, the same person from ${threshold.toFixed(2)}`);
    caption.title = caption.textContent;
    figure.append(button, caption);
    return figure;
  }));
  chooseArm(arm);
}

function chooseArm(name) {
  arm = name;
  for (const figure of byId('arms').children) figure.firstChild.classList.toggle('on', figure.id === `arm-${name}`);
  byId('after-caption').replaceChildren(Object.assign(document.createElement('b'), { textContent: 'Before, after' }), ARMS[name].toLowerCase());
  compare.show(arms.before, arms[name]);
}

/** Puts a reference under the brush; null: none. */
async function paint(key) {
  const { version, face, edited } = state.shown;
  const isSame = painter.mask && key === painted?.key && face === painted?.face && edited.includes(key);
  painted = key === null ? null : { key, face };
  showReferences();
  if (isSame) return; // what was painted stays, and can be undone
  painter.show(faces.get(key) ?? null, key === null ? null : await server.picture(`${version}/mask/${key}`, true));
}

function sendMask() {
  const { key } = painted;
  step(async () => {
    const { width, height, pixels } = painter.mask;
    if (key === painted?.key) await take(await server.mask(key, await greyPng(width, height, pixels)));
  });
  restore();
}

function resetMask() {
  if (!painted) return;
  const { key } = painted;
  step(async () => take(await server.mask(key, null)));
  restore();
}

function clearResult() {
  [arms, painted] = [{}, null];
  document.body.classList.add('empty');
  byId('arms').replaceChildren();
  byId('said').textContent = '';
  for (const id of ['save-picture', 'save-record']) byId(id).disabled = true;
  compare.show(null, null);
  painter.show(null, null);
}

async function save(name, ending) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await server.file(name));
  link.download = `${state.photo.name.replace(/\.[^.]*$/, '')}_restored.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function slider(id, onChange) {
  const input = byId(id);
  const tell = () => { input.nextElementSibling.textContent = Number(input.value).toFixed(2); };
  input.addEventListener('input', tell);
  input.addEventListener('change', () => {
    onChange(Number(input.value));
    restore();
  });
  tell();
}

function setBrush(change) {
  Object.assign(painter, change);
  byId('brush').classList.toggle('on', !painter.erase);
  byId('eraser').classList.toggle('on', painter.erase);
  painter.draw();
}

async function start() {
  const said = await server.open();
  about = said.about;
  byId('kind').textContent = about.detector ? `faces of ${about.size} pixels` : `square, aligned faces only, ${about.size} pixels`;
  byId('with-fidelity').hidden = !about.fidelity;
  byId('with-parts').hidden = !about.edits;
  for (const id of ['brush', 'eraser', 'undo', 'reset']) byId(id).disabled = !about.edits;
  painter.isFixed = !about.edits;
  makeParts(byId('parts'), about.parts, (choice) => {
    Object.assign(wish, choice);
    restore();
  });
  Object.assign(wish, { face: null, chosen: null, use: [], keep: [] });
  clearResult();
  await take(said);
  photo.show(state.photo && (await server.picture('photo')), state.photo);
  if (!state.photo) return;
  chooseFace(state.shown?.face ?? (state.photo.faces.length === 1 ? 0 : null));
}

for (const kind of ['photo', 'references', 'strangers']) takeFiles(byId(`give-${kind}`), (files) => give(kind, files));
slider('strength', (value) => { wish.strength = value; });
slider('fidelity', (value) => { wish.fidelity = value; });
byId('colour').addEventListener('change', () => {
  wish.colour = byId('colour').checked;
  restore();
});
byId('automatic').addEventListener('click', () => {
  wish.chosen = null;
  restore();
});
byId('brush').addEventListener('click', () => setBrush({ erase: false }));
byId('eraser').addEventListener('click', () => setBrush({ erase: true }));
byId('size').addEventListener('input', () => setBrush({ size: Number(byId('size').value) }));
byId('undo').addEventListener('click', () => painter.undo() && sendMask());
byId('reset').addEventListener('click', resetMask);
byId('save-picture').addEventListener('click', () => step(() => save('result.png', 'png')));
byId('save-record').addEventListener('click', () => step(() => save('record.json', 'json')));
byId('afresh').addEventListener('click', () => step(async () => {
  await server.close();
  say('');
  await start();
}));
step(start);
