// A small picture of a reference, with what can be done with it.

import { canvasOf } from './draw.js';

function button(className, text, title, onClick) {
  const made = document.createElement('button');
  Object.assign(made, { className, textContent: text, title });
  made.addEventListener('click', onClick);
  return made;
}

/** `colour` is that of the attribution map. `onTake` and `onRemove` may be null: then there is no button for it. */
export function makeThumb(picture, { title, used, shown, colour, onShow, onTake, onRemove }) {
  const thumb = document.createElement('div');
  thumb.className = 'thumb';
  thumb.classList.toggle('used', used);
  thumb.classList.toggle('shown', shown);
  const face = button('', '', title, onShow);
  face.append(canvasOf(picture));
  if (colour) thumb.style.setProperty('--own', colour);
  thumb.append(face);
  if (onTake) thumb.append(button('take', used ? '✓' : '+', used ? 'do not use it' : 'use it', onTake));
  if (onRemove) thumb.append(button('remove', '×', 'remove this photo', onRemove));
  return thumb;
}
