// drawing.js: from a drawn digit to an image like those of MNIST, as tinytensor predict makes it.

const CANVAS = 560, PEN = 56, BOX = 20, SIDE = 28; // pixels

class Drawing {
  constructor() {
    this.ink = new Uint8Array(CANVAS * CANVAS);
  }

  // Ink all pixels that are at most half a pen away from the line between two points.
  line(x0, y0, x1, y1) {
    const r = PEN / 2, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy || 1;
    const within = value => Math.min(CANVAS - 1, Math.max(0, Math.round(value)));
    for (let y = within(Math.min(y0, y1) - r); y <= within(Math.max(y0, y1) + r); y++)
      for (let x = within(Math.min(x0, x1) - r); x <= within(Math.max(x0, x1) + r); x++) {
        const t = Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length2));
        if (Math.hypot(x - x0 - t * dx, y - y0 - t * dy) <= r)
          this.ink[y * CANVAS + x] = 255;
      }
  }

  // The image of 28 x 28 bytes, or null without ink. The larger side of the digit becomes 20 pixels,
  // and its centre of mass is in the middle.
  image() {
    const rows = [], columns = [];
    for (let i = 0; i < CANVAS; i++) {
      if (this.ink.subarray(i * CANVAS, (i + 1) * CANVAS).includes(255))
        rows.push(i);
      for (let y = 0; y < CANVAS; y++)
        if (this.ink[y * CANVAS + i]) {
          columns.push(i);
          break;
        }
    }
    if (!rows.length)
      return null;
    const top = rows[0], left = columns[0];
    const tall = rows.at(-1) - top + 1, wide = columns.at(-1) - left + 1, scale = BOX / Math.max(tall, wide);
    const height = Math.max(1, Math.round(tall * scale)), width = Math.max(1, Math.round(wide * scale));
    const small = Array.from({length: height}, (_, i) => Array.from({length: width}, (_, j) =>
      this.mean(top + i * tall / height, top + (i + 1) * tall / height, left + j * wide / width, left + (j + 1) * wide / width)));
    const downBy = start(small.map(row => sum(row))), rightBy = start(small[0].map((_, j) => sum(small.map(row => row[j]))));
    const image = new Uint8Array(SIDE * SIDE);
    small.forEach((row, i) => row.forEach((value, j) => {
      image[(downBy + i) * SIDE + rightBy + j] = 85 * Math.round(value / 85); // 4 shades, as in the file
    }));
    return image;
  }

  // The mean of the ink in a rectangle.
  mean(top, bottom, left, right) {
    let total = 0, count = 0;
    for (let y = Math.round(top); y < Math.max(Math.round(bottom), Math.round(top) + 1); y++)
      for (let x = Math.round(left); x < Math.max(Math.round(right), Math.round(left) + 1); x++, count++)
        total += this.ink[y * CANVAS + x];
    return total / count;
  }
}

const sum = values => values.reduce((total, value) => total + value, 0);

// The first index of these values along an axis, so that their centre of mass is in the middle.
function start(values) {
  const middle = sum(values.map((value, i) => value * (i + 0.5))) / (sum(values) || 1);
  return Math.min(SIDE - values.length, Math.max(0, Math.round(SIDE / 2 + 0.5 - middle)));
}
