// Which pairs are shown, in which order, and how far the review is.

const BARS = 20;
const byId = (id) => document.getElementById(id);
const DECIDED = ['accepted', 'edited', 'rejected'];

export class Filter {
  /** `pairs` is the list of the server, kept up to date by the caller; `onChange` is called when a control moved. */
  constructor(pairs, counts, onChange) {
    this.pairs = pairs;
    this.hidden = new Set(); // states switched off
    this.unshowable = new Set(); // ids whose files are broken
    this.onChange = onChange;
    this.#restore();
    for (const control of document.querySelectorAll('#review-filter input, #confidence-filter input, #order')) {
      control.addEventListener('change', () => this.#changed(control));
    }
    this.count(counts);
    this.#order();
  }

  passes(pair) {
    const { reviewed, low, high } = this.#values();
    const confident = pair.confidence === null ? low <= 0 && high >= 1 : pair.confidence >= low && pair.confidence <= high;
    return confident && !this.hidden.has(pair.state) && (reviewed === 'all' || pair.reviewed === (reviewed === 'yes'));
  }

  /** The id of the next pair in that direction that passes, around the end; null if no other does. */
  next(id, direction) {
    const start = this.ordered.findIndex((pair) => pair.id === id);
    const total = this.ordered.length;
    for (let step = 1; step < total; step++) {
      const pair = this.ordered[(((start + direction * step) % total) + total) % total];
      if (this.passes(pair) && !this.unshowable.has(pair.id)) return pair.id;
    }
    return null;
  }

  first() {
    return this.ordered.find((pair) => this.passes(pair))?.id ?? null;
  }

  place(id) {
    const passing = this.ordered.filter((pair) => this.passes(pair));
    const place = passing.findIndex((pair) => pair.id === id);
    return place < 0 ? `${passing.length} in this filter` : `${place + 1} of ${passing.length}`;
  }

  /** Shows how far the review is, and how many pairs there are of each state. */
  count({ total, reviewed, states }) {
    const done = Object.entries(reviewed).sort();
    byId('counts').textContent = `${done.reduce((sum, [, number]) => sum + number, 0)} of ${total} reviewed`;
    byId('progress').setAttribute('aria-label', done.map(([name, number]) => `${number} ${name}`).join(', '));
    byId('progress').replaceChildren(...done.map(([name, number]) => {
      const part = document.createElement('span');
      part.className = name;
      part.style.width = `${(100 * number) / total}%`;
      part.title = `${number} ${name}`;
      return part;
    }));
    const names = Object.keys(states).sort((a, b) => DECIDED.includes(a) - DECIDED.includes(b) || a.localeCompare(b));
    byId('state-filter').replaceChildren(byId('state-filter').firstElementChild, ...names.map((name) => {
      const label = document.createElement('label');
      label.className = name;
      label.innerHTML = '<input type="checkbox"><span></span><output></output>';
      const [box, text, number] = label.children;
      box.checked = !this.hidden.has(name);
      box.addEventListener('change', () => {
        this.hidden[box.checked ? 'delete' : 'add'](name);
        this.#changed(box);
      });
      text.textContent = name;
      number.textContent = states[name];
      return label;
    }));
    this.#histogram();
  }

  #values() {
    return {
      reviewed: document.querySelector('#review-filter input:checked').value,
      low: Number(byId('low').value),
      high: Number(byId('high').value),
      order: byId('order').value,
    };
  }

  #changed(control) {
    if (control.type !== 'number') control.blur(); // the keys are for the pictures
    sessionStorage.filter = JSON.stringify({ ...this.#values(), hidden: [...this.hidden] });
    this.#order();
    this.#histogram();
    this.onChange();
  }

  #restore() {
    const kept = JSON.parse(sessionStorage.filter ?? 'null');
    if (!kept) return;
    document.querySelector(`#review-filter input[value=${kept.reviewed}]`).checked = true;
    for (const key of ['low', 'high', 'order']) byId(key).value = kept[key];
    this.hidden = new Set(kept.hidden);
  }

  #order() {
    const sign = { listed: 0, low: 1, high: -1 }[this.#values().order];
    const unknown = sign < 0 ? -1 : 2; // pairs without confidence come last
    const value = (pair) => pair.confidence ?? unknown;
    this.ordered = [...this.pairs].sort((a, b) => sign * (value(a) - value(b)));
  }

  #histogram() {
    const { low, high } = this.#values();
    const bars = new Array(BARS).fill(0);
    for (const { confidence } of this.pairs) {
      if (confidence !== null) bars[Math.min(BARS - 1, Math.floor(confidence * BARS))]++;
    }
    const tallest = Math.max(1, ...bars);
    byId('histogram').replaceChildren(...bars.map((bar, i) => {
      const span = document.createElement('span');
      span.style.height = `${(100 * bar) / tallest}%`;
      span.classList.toggle('in', (i + 1) / BARS > low && i / BARS < high);
      return span;
    }));
  }
}
