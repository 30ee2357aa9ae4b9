// Parts of the face: any may come from references, only these, or they are left as they are.

const CHOICES = { any: '', only: 'use', leave: 'keep' };

/** Fills `grid`; `onChange` gets the lists {use, keep}. */
export function makeParts(grid, names, onChange) {
  const chosen = new Map();
  const named = (list) => [...chosen].filter(([, choice]) => choice === list).map(([name]) => name);
  const text = (tag, textContent) => Object.assign(document.createElement(tag), { textContent });
  grid.replaceChildren(text('span', ''), ...Object.keys(CHOICES).map((word) => text('span', word)));
  for (const name of names) {
    grid.append(text('label', name));
    for (const [word, choice] of Object.entries(CHOICES)) {
      const radio = Object.assign(document.createElement('input'), { type: 'radio', name: `part-${name}`, checked: !choice });
      radio.setAttribute('aria-label', `${name}: ${word}`);
      radio.addEventListener('change', () => {
        chosen.set(name, choice);
        onChange({ use: named('use'), keep: named('keep') });
      });
      grid.append(radio);
    }
  }
}
