// Pictures in canvases.

/** Gives a canvas as many pixels as it has on the screen; returns its context in CSS pixels, cleared. */
export function clear(canvas) {
  const ratio = devicePixelRatio;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  context.imageSmoothingQuality = 'high';
  return context;
}

/** Where a picture lies in a canvas that shows all of it: {left, top, scale} in CSS pixels. */
export function place(canvas, picture) {
  const scale = Math.min(canvas.clientWidth / picture.width, canvas.clientHeight / picture.height);
  return {
    scale,
    left: (canvas.clientWidth - scale * picture.width) / 2,
    top: (canvas.clientHeight - scale * picture.height) / 2,
  };
}

/** Where the pointer is, in pixels of the picture. */
export function pointed(event, canvas, picture) {
  const { left, top, scale } = place(canvas, picture);
  const corner = canvas.getBoundingClientRect();
  return { x: (event.clientX - corner.left - left) / scale, y: (event.clientY - corner.top - top) / scale };
}

/** A canvas of a picture's own size. */
export function canvasOf(picture) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.getContext('2d').drawImage(picture, 0, 0);
  return canvas;
}
