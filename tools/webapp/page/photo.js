// The photo with its faces in boxes; a click chooses one.

import { clear, pointed } from './draw.js';

export class Photo {
  /** `onFace` gets the number of the face that was clicked. */
  constructor(canvas, onFace) {
    Object.assign(this, { canvas, picture: null, about: null, face: null });
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener('click', (event) => {
      const at = pointed(event, canvas, this.about);
      const face = this.about.faces.findIndex((box) => box && at.x >= box[0] && at.x <= box[2] && at.y >= box[1] && at.y <= box[3]);
      if (face >= 0) onFace(face);
    });
  }

  /** `about` is what the server says of the photo; null: there is none. */
  show(picture, about) {
    Object.assign(this, { picture, about });
    this.canvas.hidden = !picture;
    if (picture) this.canvas.style.aspectRatio = `${about.width} / ${about.height}`;
    this.draw();
  }

  choose(face) {
    this.face = face;
    this.draw();
  }

  draw() {
    if (!this.picture) return;
    const context = clear(this.canvas);
    const scale = this.canvas.clientWidth / this.about.width;
    context.drawImage(this.picture, 0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    this.about.faces.forEach((box, number) => {
      if (!box) return;
      context.strokeStyle = number === this.face ? '#6fb98f' : '#d7dadc';
      context.lineWidth = number === this.face ? 3 : 1.5;
      context.strokeRect(box[0] * scale, box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
    });
  }
}
