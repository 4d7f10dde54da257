// page.js: the page. It trains in pieces of 30 milliseconds, and the browser draws between them.

const element = id => document.getElementById(id);
const percent = value => (100 * value).toFixed(2) + " %";
const rounded = value => Number((100 * value).toFixed(2)) + " %";
const grouped = number => Math.round(number).toLocaleString("en");
const accuracy = ({right, wrong}) => right.length / (right.length + wrong.length);

let goal = 0; // the step at which the training stops
let working; // a promise, while the page trains
let latest = {right: [], wrong: []}, tested; // the results of the last step and of the last test
const points = []; // of the curves
let trainedFor = 0, frameStart = 0, drawnAt = 0; // milliseconds

// Training -------------------------------------------------------------------------------------

async function train() {
  while (step < goal) {
    const begun = performance.now();
    latest = trainStep();
    trainedFor += performance.now() - begun;
    if (!Number.isFinite(latest.loss))
      throw new Error(`The loss is ${latest.loss}. Start again with a smaller learning rate.`);
    if (step % about.every === 0 || step === about.steps)
      await test();
    await pause();
  }
}

async function test() {
  const all = {right: [], wrong: [], loss: 0};
  for (const {right, wrong, loss} of tests()) {
    all.right.push(...right);
    all.wrong.push(...wrong);
    all.loss += loss * about.test.batch / about.testImages;
    await pause();
  }
  tested = all;
  points.push({step, train: latest, test: tested});
}

// If a piece of work is complete, let the browser draw and react.
async function pause() {
  const now = performance.now();
  if (now < frameStart + 30)
    return;
  if (tested && now > drawnAt + 200)
    draw();
  await new Promise(requestAnimationFrame);
  frameStart = performance.now();
}

function trainUntil(newGoal) {
  goal = Math.min(newGoal, about.steps);
  working ??= train().catch(show).then(() => {
    working = undefined;
    goal = step;
    draw();
  });
}

// Pictures -------------------------------------------------------------------------------------

function draw() {
  drawnAt = performance.now();
  element("play").textContent = step < goal ? "Pause" : "Play";
  element("play").disabled = element("one").disabled = step >= about.steps;
  element("status").textContent = `step ${grouped(step)} of ${grouped(about.steps)}  ·  `
    + `test accuracy ${percent(accuracy(tested))}  ·  ${grouped(trainedFor && 1000 * step / trainedFor)} steps/s`;
  drawCurves("accuracy", accuracy, 1, Math.max(0, 1 - roundUp(2 - 2 * accuracy(tested))), rounded);
  drawCurves("loss", result => result.loss, roundUp(2 * tested.loss), 0, value => Number(value.toPrecision(3)));
  drawImages("train", latest, 10, 10);
  // At the bottom of the scale, all images that are shown would be misclassified. So the last
  // misclassified image is at the height of the accuracy.
  const shown = drawImages("test", tested, 40, 25);
  drawAxis("scale", 1, 1 - shown / about.testImages, rounded);
  element("reached").textContent = percent(accuracy(tested));
  element("reached").style.top = `${100 * Math.min(1, tested.wrong.length / shown)}%`;
  if (strokes.length)
    classify();
}

function drawCurves(name, valueOf, top, bottom, text) {
  const last = roundUp(Math.max(step, about.every)), trained = points.filter(point => point.step);
  for (const set of ["train", "test"])
    element(`${set}-${name}`).setAttribute("points", trained.map(point =>
      `${point.step / last},${(top - valueOf(point[set])) / (top - bottom)}`).join(" "));
  drawAxis(`${name}-values`, top, bottom, text);
  drawAxis(`${name}-steps`, 0, last, grouped);
}

// Five numbers at equal distances.
function drawAxis(id, from, to, text) {
  const numbers = [0, 1, 2, 3, 4].map(i => from + (to - from) * i / 4);
  element(id).innerHTML = numbers.map(number => `<span>${text(number)}</span>`).join("");
}

// The smallest of 0.01, 0.02, 0.04, 0.08, 0.1, 0.2, 0.4, ... that is not below a value.
function roundUp(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 0.01)));
  return ten * [1, 2, 4, 8, 10].find(factor => factor * ten >= value);
}

// Draw full rows of images, first the misclassified ones, which are red. Returns their number.
function drawImages(set, {right, wrong}, mostColumns, mostRows) {
  const images = [...wrong, ...right];
  const columns = Math.min(mostColumns, Math.ceil(Math.sqrt(1.6 * images.length)) || 1);
  const rows = Math.min(mostRows, Math.floor(images.length / columns));
  const [height, width] = about.shape, canvas = element(set);
  [canvas.width, canvas.height] = [columns * width, rows * height];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  images.slice(0, columns * rows).forEach((index, place) => context.putImageData(
    picture(image(index)), place % columns * width, Math.floor(place / columns) * height));
  const wrongRows = Math.floor(wrong.length / columns), wrongInNext = wrong.length % columns;
  context.fillStyle = "rgb(255 0 0 / 35%)";
  context.fillRect(0, 0, canvas.width, wrongRows * height);
  context.fillRect(0, wrongRows * height, wrongInNext * width, height);
  element(`${set}-count`).textContent = `${grouped(wrong.length)} of ${grouped(images.length)}`;
  return columns * rows;
}

// A grey image is dark on white. The first three channels of others are red, green and blue.
function picture(pixels) {
  const [height, width, channels] = about.shape, picture = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++)
      picture.data[4 * p + c] = channels < 3 ? 255 - pixels[p * channels] : pixels[p * channels + c];
    picture.data[4 * p + 3] = 255; // opaque
  }
  return picture;
}

// A drawing ------------------------------------------------------------------------------------

const PEN = 56; // the width of the pen; the pad has 560 x 560 pixels
let strokes = []; // each a list of points [x, y]

// Draw the strokes on a canvas. Returns the ink of each pixel, from 0 to 255.
function paint(canvas, scale, left, top) {
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.reset();
  Object.assign(context, {lineWidth: PEN, lineCap: "round", lineJoin: "round"});
  context.setTransform(scale, 0, 0, scale, left, top);
  for (const stroke of strokes) {
    context.beginPath();
    [stroke[0], ...stroke].forEach(([x, y]) => context.lineTo(x, y));
    context.stroke();
  }
  return context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3);
}

// Classify the drawing as an image like those of MNIST: its larger side is 20 of 28 pixels, and its
// centre of mass is in the middle.
function classify() {
  const canvas = element("input"), side = canvas.width;
  const [xs, ys] = [0, 1].map(axis => strokes.flat().map(point => point[axis]));
  const [left, top, right, bottom] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  const scale = side * 20 / 28 / (Math.max(right - left, bottom - top) + PEN);
  const start = [left, top].map(low => scale * (PEN / 2 - low)); // at the upper left corner
  const ink = paint(canvas, scale, ...start), total = ink.reduce((sum, value) => sum + value, 0);
  const moved = [i => i % side, i => Math.floor(i / side)].map((place, axis) => {
    const middle = ink.reduce((sum, value, i) => sum + value * (place(i) + 0.5), 0) / total;
    return start[axis] + Math.round(side / 2 + 0.5 - middle);
  });
  const probabilities = recognise(paint(canvas, scale, ...moved));
  document.querySelectorAll("meter").forEach((meter, i) => (meter.value = probabilities[i]));
}

// The controls ---------------------------------------------------------------------------------

function extend({offsetX, offsetY}) {
  const pad = element("pad"), scale = pad.width / pad.clientWidth;
  strokes.at(-1)?.push([offsetX * scale, offsetY * scale]);
  paint(pad, 1, 0, 0);
  classify();
}

element("pad").onpointerdown = event => {
  event.target.setPointerCapture(event.pointerId);
  strokes.push([]);
  extend(event);
};
element("pad").onpointermove = event => event.target.hasPointerCapture(event.pointerId) && extend(event);
element("clear").onclick = () => {
  strokes = [];
  for (const id of ["pad", "input"])
    paint(element(id), 1, 0, 0);
  document.querySelectorAll("meter").forEach(meter => (meter.value = 0));
};
element("play").onclick = () => {
  trainUntil(step < goal ? step : about.steps);
  draw();
};
element("one").onclick = () => trainUntil(step + 1);
element("rate").oninput = event => {
  rateFactor = 10 ** event.target.value;
  element("factor").textContent = rateFactor.toFixed(2);
};

const show = error => (element("problem").textContent = error.message);
load(element("kernels").textContent, element("content").textContent).then(test).then(() => {
  element("controls").disabled = false;
  draw();
}).catch(show);
