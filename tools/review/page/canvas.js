// The two pictures: photo on the left, reference with mask on the right, same zoom, one brush.

const LARGEST_ZOOM = 12;
const FLICKER = 450; // milliseconds a picture stands

export class Pictures {
  /** `onStroke` is called after each stroke; `mayPaint` says whether one may begin. */
  constructor(gtCanvas, refCanvas, mayPaint, onStroke) {
    this.canvases = { gt: gtCanvas, ref: refCanvas };
    this.pair = null; // {gt, ref: ImageBitmap, mask: Mask}
    this.brush = { size: 24, erase: false };
    this.tint = 0.3;
    this.maskShown = true;
    this.held = false; // the photo in the reference's place
    this.flicker = false;
    this.painting = false;
    this.pointer = null; // in pixels of the reference
    this.view = { zoom: 1, x: 0, y: 0 }; // x, y: the picture's point in the left upper corner
    this.layer = new OffscreenCanvas(1, 1);
    this.layerFresh = false;
    for (const canvas of Object.values(this.canvases)) {
      new ResizeObserver(() => this.redraw()).observe(canvas);
      canvas.addEventListener('wheel', (event) => this.#wheel(event, canvas), { passive: false });
      canvas.addEventListener('pointermove', (event) => this.pair && this.#point(this.#position(event, canvas)));
      canvas.addEventListener('pointerleave', () => this.#point(null));
      canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    }
    this.#listenForStrokes(refCanvas, mayPaint, onStroke);
    setInterval(() => this.flicker && this.redraw(), FLICKER);
  }

  show(pair) {
    this.pair = pair;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.maskChanged();
  }

  maskChanged() {
    this.layerFresh = false;
    this.redraw();
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.pair) this.#draw();
    });
  }

  wholePicture() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.redraw();
  }

  get showsPhoto() {
    return this.held || (this.flicker && Math.floor(performance.now() / FLICKER) % 2 === 1);
  }

  // Pixels of the screen per pixel of the picture, and where the picture's left upper corner lies.
  #placement(canvas) {
    const { width, height } = this.pair.mask;
    const fit = Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
    const scale = fit * this.view.zoom;
    const left = (canvas.clientWidth - fit * width) / 2 - this.view.x * scale;
    const top = (canvas.clientHeight - fit * height) / 2 - this.view.y * scale;
    return { scale, left, top, fit };
  }

  #position(event, canvas) {
    const { scale, left, top } = this.#placement(canvas);
    const corner = canvas.getBoundingClientRect();
    return { x: (event.clientX - corner.left - left) / scale, y: (event.clientY - corner.top - top) / scale };
  }

  #draw() {
    const { gt, ref, mask } = this.pair;
    if (!this.layerFresh) this.#renew(mask);
    this.#paint(this.canvases.gt, gt, false);
    this.#paint(this.canvases.ref, this.showsPhoto ? gt : ref, this.maskShown);
  }

  // Photo and reference alternate under the same border: what moves inside it should not be selected.
  #renew(mask) {
    Object.assign(this.layer, { width: mask.width, height: mask.height });
    this.layer.getContext('2d').putImageData(mask.overlay(this.tint, this.flicker || this.held), 0, 0);
    this.layerFresh = true;
  }

  #paint(canvas, picture, withMask) {
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d');
    const { scale, left, top, fit } = this.#placement(canvas);
    const size = this.pair.mask;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    context.save();
    context.beginPath();
    context.rect((canvas.clientWidth - fit * size.width) / 2, (canvas.clientHeight - fit * size.height) / 2,
      fit * size.width, fit * size.height);
    context.clip();
    context.translate(left, top);
    context.scale(scale, scale);
    context.imageSmoothingQuality = 'high';
    context.drawImage(picture, 0, 0, size.width, size.height);
    if (withMask) context.drawImage(this.layer, 0, 0);
    if (this.pointer) this.#circle(context, scale);
    context.restore();
  }

  #circle(context, scale) {
    context.beginPath();
    context.arc(this.pointer.x, this.pointer.y, this.brush.size / 2, 0, 2 * Math.PI);
    for (const [width, colour] of [[3, 'rgb(0 0 0 / .5)'], [1.3, this.brush.erase ? '#f2b8a8' : '#e8fff2']]) {
      context.lineWidth = width / scale;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  #point(position) {
    this.pointer = position;
    this.redraw();
  }

  #wheel(event, canvas) {
    event.preventDefault();
    if (!this.pair) return;
    const at = this.#position(event, canvas);
    const zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.view.zoom * Math.exp(-event.deltaY / 400)));
    const kept = this.view.zoom / zoom; // the point under the pointer stays there
    const limit = (value, side) => Math.min(side * (1 - 1 / zoom), Math.max(0, value));
    this.view = {
      zoom,
      x: limit(at.x - (at.x - this.view.x) * kept, this.pair.mask.width),
      y: limit(at.y - (at.y - this.view.y) * kept, this.pair.mask.height),
    };
    this.#point(this.#position(event, canvas));
  }

  #listenForStrokes(canvas, mayPaint, onStroke) {
    let last = null; // where the brush was, while it paints
    let value = 0;
    const paint = (event) => {
      const at = this.#position(event, canvas);
      this.pair.mask.line(last ?? at, at, this.brush.size / 2, value);
      last = at;
      this.maskChanged();
    };
    canvas.addEventListener('pointerdown', (event) => {
      if (!this.pair || last || ![0, 2].includes(event.button) || !mayPaint()) return;
      canvas.setPointerCapture(event.pointerId);
      value = event.button === 2 || this.brush.erase ? 0 : 255;
      this.painting = true;
      this.pair.mask.begin();
      paint(event);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (last) for (const part of [...event.getCoalescedEvents(), event]) paint(part);
    });
    const end = () => {
      if (!last) return;
      last = null;
      this.painting = false;
      onStroke();
    };
    canvas.addEventListener('pointerup', end);
    canvas.addEventListener('pointercancel', end);
  }
}
