// Before and after in one place, with a line between them that can be moved.

import { clear, place, pointed } from './draw.js';

export class Compare {
  /** `slider` says from 0 to 1 where the line is. */
  constructor(canvas, slider) {
    Object.assign(this, { canvas, slider, before: null, after: null });
    new ResizeObserver(() => this.draw()).observe(canvas);
    slider.addEventListener('input', () => this.draw());
    const move = (event) => {
      if (!this.before || !event.buttons) return;
      slider.value = pointed(event, canvas, this.before).x / this.before.width;
      this.draw();
    };
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    canvas.addEventListener('pointermove', move);
  }

  show(before, after) {
    Object.assign(this, { before, after });
    this.draw();
  }

  draw() {
    const context = clear(this.canvas);
    if (!this.before) return;
    const { left, top, scale } = place(this.canvas, this.before);
    const [width, height] = [this.before.width * scale, this.before.height * scale];
    const line = left + width * this.slider.value;
    context.drawImage(this.before, left, top, width, height);
    context.save();
    context.beginPath();
    context.rect(line, top, left + width - line, height);
    context.clip();
    context.drawImage(this.after, left, top, width, height);
    context.restore();
    context.fillStyle = '#e8fff2';
    context.fillRect(line - 1, top, 2, height);
  }
}
