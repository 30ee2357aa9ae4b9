// A reference with its mask over it, and the brush that changes the mask.

import { clear, place, pointed } from './draw.js';
import { Mask } from './shared/mask.js';

const GREEN = [80, 200, 130];
const DARK = [16, 18, 20];

export class Painter {
  /** `onStroke` is called after each stroke. */
  constructor(canvas, onStroke) {
    Object.assign(this, { canvas, onStroke, picture: null, mask: null, pointer: null, last: null });
    Object.assign(this, { erase: false, size: 20, isFixed: false });
    this.layer = new OffscreenCanvas(1, 1);
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('pointerleave', () => this.#point(null));
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
    canvas.addEventListener('pointermove', (event) => {
      if (!this.mask) return;
      this.#point(pointed(event, canvas, this.mask));
      if (this.last) for (const part of [...event.getCoalescedEvents(), event]) this.#paint(part);
    });
    for (const type of ['pointerup', 'pointercancel']) canvas.addEventListener(type, () => this.#end());
  }

  /** Shows a reference and its mask, both pictures of one size; null: nothing. */
  show(picture, mask) {
    Object.assign(this, { picture, mask: mask && new Mask(mask), last: null });
    this.#renew();
  }

  undo() {
    if (!this.mask?.before.length) return false;
    this.mask.undoStroke();
    this.#renew();
    return true;
  }

  /** Radius of the brush in pixels of the mask; `size` is in percent of a third of its side. */
  get radius() {
    return Math.max(0.6, (this.size / 100) * (this.mask.width / 6));
  }

  #begin(event) {
    if (!this.mask || this.isFixed || this.last || ![0, 2].includes(event.button)) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.value = event.button === 2 || this.erase ? 0 : 255;
    this.mask.begin();
    this.#paint(event);
  }

  #paint(event) {
    const at = pointed(event, this.canvas, this.mask);
    this.mask.line(this.last ?? at, at, this.radius, this.value);
    this.last = at;
    this.#renew();
  }

  #end() {
    if (!this.last) return;
    this.last = null;
    this.onStroke();
  }

  #point(position) {
    this.pointer = position;
    this.draw();
  }

  // What is used is tinted, what is not is darkened; between them by degrees.
  #renew() {
    if (this.mask) {
      const { width, height, pixels } = this.mask;
      const image = new ImageData(width, height);
      for (let i = 0; i < pixels.length; i++) {
        const used = pixels[i] / 255;
        const [tint, dark] = [0.35 * used, 0.6 * (1 - used)];
        for (let c = 0; c < 3; c++) image.data[4 * i + c] = (GREEN[c] * tint + DARK[c] * dark) / (tint + dark);
        image.data[4 * i + 3] = 255 * (tint + dark);
      }
      Object.assign(this.layer, { width, height });
      this.layer.getContext('2d').putImageData(image, 0, 0);
    }
    this.draw();
  }

  draw() {
    const context = clear(this.canvas);
    if (!this.mask) return;
    const { left, top, scale } = place(this.canvas, this.mask);
    const size = [this.mask.width * scale, this.mask.height * scale];
    context.drawImage(this.picture, left, top, ...size);
    context.drawImage(this.layer, left, top, ...size);
    if (!this.pointer) return;
    context.beginPath();
    context.arc(left + this.pointer.x * scale, top + this.pointer.y * scale, this.radius * scale, 0, 2 * Math.PI);
    context.strokeStyle = this.erase ? '#f2b8a8' : '#e8fff2';
    context.stroke();
  }
}
