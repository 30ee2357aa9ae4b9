// The mask of one pair: painted in strokes, each of which can be taken back.

const SELECTED = 128; // from this value up a pixel is selected
const KEPT = 60; // strokes that can be taken back

export class Mask {
  constructor(bitmap) {
    this.width = bitmap.width;
    this.height = bitmap.height;
    const context = new OffscreenCanvas(this.width, this.height).getContext('2d', { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const colours = context.getImageData(0, 0, this.width, this.height).data;
    this.pixels = new Uint8Array(this.width * this.height);
    for (let i = 0; i < this.pixels.length; i++) this.pixels[i] = colours[4 * i];
    this.saved = this.pixels.slice();
    this.before = []; // the pixels before each stroke
  }

  get changed() {
    return this.pixels.some((value, i) => value !== this.saved[i]);
  }

  begin() {
    this.before.push(this.pixels.slice());
    if (this.before.length > KEPT) this.before.shift();
  }

  /** Fills what lies within `radius` of the line from `a` to `b`, in pixels. */
  line(a, b, radius, value) {
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const length = dx * dx + dy * dy;
    const left = Math.max(0, Math.floor(Math.min(a.x, b.x) - radius));
    const right = Math.min(this.width - 1, Math.ceil(Math.max(a.x, b.x) + radius));
    const top = Math.max(0, Math.floor(Math.min(a.y, b.y) - radius));
    const bottom = Math.min(this.height - 1, Math.ceil(Math.max(a.y, b.y) + radius));
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const [px, py] = [x + 0.5 - a.x, y + 0.5 - a.y];
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) this.pixels[y * this.width + x] = value;
      }
    }
  }

  undoStroke() {
    this.pixels = this.before.pop() ?? this.pixels;
  }

  keepStrokes() {
    this.saved = this.pixels.slice();
    this.before = [];
  }

  dropStrokes() {
    this.pixels = this.saved.slice();
    this.before = [];
  }

  /** The mask as a picture to lay over the reference: selected tinted, the rest darkened, the border drawn. */
  overlay(tint, borderOnly) {
    const { width, height, pixels } = this;
    const image = new ImageData(width, height);
    const inside = (x, y) => pixels[y * width + x] >= SELECTED;
    const paint = new Uint32Array(image.data.buffer); // bytes r, g, b, a
    const colour = (r, g, b, a) => (Math.round(a * 255) << 24) | (b << 16) | (g << 8) | r;
    const border = colour(150, 240, 185, 1);
    const fill = borderOnly ? 0 : colour(80, 200, 130, tint * 0.8);
    const dark = borderOnly ? 0 : colour(16, 18, 20, tint);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (!inside(x, y)) paint[i] = dark;
        else {
          const edge = (x > 0 && !inside(x - 1, y)) || (x < width - 1 && !inside(x + 1, y))
            || (y > 0 && !inside(x, y - 1)) || (y < height - 1 && !inside(x, y + 1));
          paint[i] = edge ? border : fill;
        }
      }
    }
    return image;
  }
}
