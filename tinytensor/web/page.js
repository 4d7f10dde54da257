// page.js: the page. It trains in pieces of 30 milliseconds, and the browser draws between them.

const element = id => document.getElementById(id);
const percent = value => (100 * value).toFixed(2) + " %";
const rounded = value => Number((100 * value).toFixed(2)) + " %";
const grouped = number => Math.round(number).toLocaleString("en");
const isRight = ({label, predicted}) => label === predicted;
const accuracy = ({images}) => images.filter(isRight).length / images.length;

const PIXELS = 2 ** 20; // of a panel of images, at most
const names = Array.from(document.querySelectorAll("#classes span"), span => span.textContent);

let goal = 0; // the step at which the training stops
let working; // a promise, while the page trains
const results = {}; // of the last step (train) and of the last test (test)
const curves = {train: [], test: []}; // their points
let trainedFor = 0, pieceStart = 0, drawnAt = 0; // milliseconds

// Training -------------------------------------------------------------------------------------

async function train() {
  while (step < goal) {
    const begun = performance.now();
    results.train = trainStep();
    trainedFor += performance.now() - begun;
    if (step === 1)
      addPoint("train", 0); // the loss was computed before the update
    if (step % about.every === 0 || step === about.steps)
      await test();
    await pause();
  }
}

async function test() {
  const all = {loss: 0, images: []}, begun = performance.now();
  for (const {loss, images} of tests()) {
    all.images.push(...images);
    all.loss += loss * about.test.batch / about.testImages;
    if (performance.now() > begun + 500)
      element("testing").textContent = `testing ${grouped(all.images.length)} of ${grouped(about.testImages)}`;
    await pause();
  }
  element("testing").textContent = "";
  results.test = all;
  addPoint("test", step);
  if (step)
    addPoint("train", step);
}

// Add the results to the curves, unless the last point is less than a pixel away.
function addPoint(set, at) {
  const curve = curves[set], result = results[set];
  if (!curve.length || at > 1.003 * curve.at(-1).step)
    curve.push({step: at, accuracy: accuracy(result), loss: result.loss});
}

// If a piece of work is complete, let the browser draw and react.
async function pause() {
  if (performance.now() < pieceStart + 30)
    return;
  if (results.test && performance.now() > drawnAt + 200)
    draw();
  await nextPiece();
}

// The browser draws after the animation frame and before the timeout.
async function nextPiece() {
  await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
  pieceStart = performance.now();
}

function trainUntil(newGoal) {
  goal = Math.min(newGoal, about.steps);
  working ??= nextPiece().then(train).catch(show).then(() => {
    working = undefined;
    goal = step;
    draw();
  });
}

// Pictures -------------------------------------------------------------------------------------

function draw() {
  const reached = accuracy(results.test);
  element("play").textContent = step < goal ? "Pause" : "Play";
  element("play").disabled = element("one").disabled = step >= about.steps;
  element("status").textContent = `step ${grouped(step)} of ${grouped(about.steps)}  ·  `
    + `test accuracy ${percent(reached)}  ·  ${grouped(trainedFor && 1000 * step / trainedFor)} steps/s`;
  drawCurves("accuracy", 1, Math.max(0, 1 - roundUp(2 - 2 * reached)), rounded);
  drawCurves("loss", roundUp(2 * results.test.loss), 0, value => Number(value.toPrecision(3)));
  for (const set in results)
    drawImages(set);
  // At the bottom of the scale, all images that are shown would be misclassified. So the last
  // misclassified image is at the height of the accuracy.
  drawAxis("scale", 1, 1 - shown.test / about.testImages, rounded);
  const height = (1 - reached) * about.testImages / shown.test;
  element("reached").hidden = height > 1;
  element("reached").textContent = percent(reached);
  element("reached").style.top = `${100 * height}%`;
  if (strokes.length)
    classify();
  drawnAt = performance.now();
}

function drawCurves(name, top, bottom, text) {
  const last = roundUp(Math.max(step, about.every));
  for (const set in curves)
    element(`${set}-${name}`).setAttribute("points", curves[set].map(point =>
      `${point.step / last},${(top - point[name]) / (top - bottom)}`).join(" "));
  drawAxis(`${name}-values`, top, bottom, text);
  drawAxis(`${name}-steps`, 0, last, grouped);
}

// Two, three or five numbers at equal distances, of at least 24 pixels.
function drawAxis(id, from, to, text) {
  const {clientWidth, clientHeight} = element(id), room = Math.max(clientWidth, clientHeight) / 24;
  const parts = [4, 2, 1].find(parts => parts <= room) ?? 1;
  const numbers = Array.from({length: parts + 1}, (_, i) => from + (to - from) * i / parts);
  element(id).innerHTML = numbers.map(number => `<span>${text(number)}</span>`).join("");
}

// The smallest of 0.01, 0.02, 0.04, 0.08, 0.1, 0.2, 0.4, ... that is not below a value.
function roundUp(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 0.01)));
  return ten * [1, 2, 4, 8, 10].find(factor => factor * ten >= value);
}

// Make room for full rows of images. Returns the number of images.
function makeRoom(set, count, mostColumns, mostRows) {
  const [height, width] = about.shape, canvas = element(set);
  const fitting = Math.max(1, Math.min(count, mostColumns * mostRows, Math.floor(PIXELS / (height * width))));
  const columns = Math.min(mostColumns, fitting, Math.ceil(Math.sqrt(1.6 * fitting)));
  const rows = Math.floor(fitting / columns);
  [canvas.width, canvas.height] = [columns * width, rows * height];
  if (width <= 15) // drawn at least twice as large if there is room
    canvas.style.imageRendering = "pixelated";
  canvas.parentElement.style.maxWidth = `${columns * Math.max(width, 30)}px`;
  canvas.onpointermove = canvas.onpointerdown = ({offsetX, offsetY}) => {
    const row = Math.floor(offsetY / canvas.clientHeight * rows);
    pointed[set] = row * columns + Math.floor(offsetX / canvas.clientWidth * columns);
    describe(set);
  };
  return columns * rows;
}

const pointed = {}; // the place of the image at which the mouse points
const shown = {
  train: makeRoom("train", about.train.batch, 10, 10),
  test: makeRoom("test", about.testImages, 40, 25),
};

// Draw the misclassified images first. They are red.
function drawImages(set) {
  const images = results[set].images.sort((a, b) => isRight(a) - isRight(b));
  const wrong = images.length - images.filter(isRight).length;
  const [height, width] = about.shape, canvas = element(set), columns = canvas.width / width;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  images.slice(0, shown[set]).forEach(({index}, place) => context.putImageData(
    picture(image(index)), place % columns * width, Math.floor(place / columns) * height));
  const wrongRows = Math.floor(wrong / columns), wrongInNext = wrong % columns;
  context.fillStyle = "rgb(255 0 0 / 35%)";
  context.fillRect(0, 0, canvas.width, wrongRows * height);
  context.fillRect(0, wrongRows * height, wrongInNext * width, height);
  element(`${set}-count`).textContent = `: ${grouped(wrong)} of ${grouped(images.length)} misclassified`;
  describe(set);
}

// Name the classes of the image at which the mouse points.
function describe(set) {
  const found = results[set]?.images[pointed[set]];
  if (found)
    element(`${set}-class`).textContent = `predicted: ${names[found.predicted]}, label: ${names[found.label]}`;
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
  if (results.test) // the page is loaded
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
