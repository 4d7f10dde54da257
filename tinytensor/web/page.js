// page.js: the page. It trains in small pieces, and draws between them.

const PIECE = 30; // milliseconds of work before the browser may react
const PAUSE = 200; // milliseconds between two pictures
// The colours of the 256 shades, as 32 bits: opacity, blue, green, red.
const colours = of => Uint32Array.from({length: 256}, (_, shade) => of(shade) | 0xff000000);
const DARK_ON_WHITE = colours(shade => (255 - shade) * 0x010101);
const LIGHT_ON_RED = colours(shade => Math.max(179, shade) + Math.max(23, shade) * 256 + Math.max(42, shade) * 65536);

const element = id => document.getElementById(id);
const about = JSON.parse(element("about").textContent);
const percent = value => (100 * value).toFixed(2) + " %";
const grouped = number => Math.round(number).toLocaleString("en");

let network, steps, isPlaying = false, speed, problem;
let frame; // the next call of play()
let latest, tested; // the results of the last step and of the last test
let curves = {train: [], test: []}; // points {step, accuracy, loss}
let drawing = new Drawing(), drawn = null; // drawn: its image
let drawnAt = 0; // the time of the last picture

// Work -----------------------------------------------------------------------------------------

// Training steps, and a test after some of them. The page draws at a `yield`.
function* training() {
  while (network.step < about.steps) {
    latest = network.trainStep();
    if (!Number.isFinite(latest.loss))
      throw new Error(`The loss is ${latest.loss}. Start again with a smaller learning rate.`);
    yield;
    if (network.step % about.every === 0)
      yield* testing();
  }
}

function* testing() {
  const all = {chosen: [], predictions: [], loss: 0};
  for (const {chosen, predictions, loss} of network.tests()) {
    all.chosen.push(...chosen);
    all.predictions.push(...predictions);
    all.loss += loss * chosen.length / about.testImages;
    yield;
  }
  tested = all;
  addPoint("test", tested);
  if (latest)
    addPoint("train", latest);
}

function addPoint(set, {chosen, predictions, loss}) {
  const right = predictions.filter((p, i) => p === network.labels[set][chosen[i]]).length;
  curves[set].push({step: network.step, accuracy: right / chosen.length, loss});
}

// Training steps until `isEnough()`, or until an error or the last step.
function work(isEnough) {
  const start = performance.now(), before = network.step;
  try {
    while (!isEnough())
      if (steps.next().done) {
        isPlaying = false;
        break;
      }
  } catch (error) {
    problem = error.message;
    isPlaying = false;
  }
  if (network.step > before)
    speed = (network.step - before) / (performance.now() - start) * 1000;
}

// Work for some milliseconds, draw, and go on as long as the page plays.
function play() {
  const end = performance.now() + PIECE;
  work(() => !isPlaying || performance.now() > end);
  if (!isPlaying || performance.now() > drawnAt + PAUSE)
    draw();
  if (isPlaying)
    frame = requestAnimationFrame(play);
}

// The state before the first step, and its accuracy.
async function startAgain() {
  for (const button of ["play", "one", "again"])
    element(button).disabled = true;
  element("status").textContent = "Testing.";
  cancelAnimationFrame(frame);
  isPlaying = false;
  network.reset();
  steps = training();
  latest = speed = problem = undefined;
  curves = {train: [], test: []};
  let end = performance.now() + PIECE;
  for (const _ of testing())
    if (performance.now() > end) {
      await new Promise(requestAnimationFrame);
      end = performance.now() + PIECE;
    }
  element("again").disabled = false;
  draw();
}

// Pictures -------------------------------------------------------------------------------------

function draw() {
  drawnAt = performance.now();
  element("play").textContent = isPlaying ? "Pause" : "Play";
  element("play").disabled = element("one").disabled = Boolean(problem) || network.step >= about.steps;
  element("rateText").textContent = Number(network.rate.toPrecision(3));
  element("status").textContent = problem ?? [
    `step ${grouped(network.step)} of ${grouped(about.steps)}`,
    `test accuracy ${percent(curves.test.at(-1).accuracy)}`,
    speed && `${grouped(speed)} steps/s`,
  ].filter(Boolean).join("  ·  ");
  drawDigits("train", latest ?? {chosen: [], predictions: []}, 10, 10);
  drawDigits("test", tested, 40, 25);
  drawScale(1 - Math.min(1000, about.testImages) / about.testImages);
  drawCurves("accuracy");
  drawCurves("loss");
  recognise();
}

// A mosaic: first the misclassified digits, light on red, then the rest, dark on white.
function drawDigits(set, {chosen, predictions}, columns, rows) {
  const all = Array.from(chosen.keys());
  const isWrong = i => predictions[i] !== network.labels[set][chosen[i]];
  const wrong = all.filter(isWrong), order = [...wrong, ...all.filter(i => !isWrong(i))];
  const canvas = element(`${set}Digits`), width = SIDE * columns;
  [canvas.width, canvas.height] = [width, SIDE * rows];
  const picture = new ImageData(width, SIDE * rows), pixels = new Uint32Array(picture.data.buffer);
  order.slice(0, columns * rows).forEach((i, place) => {
    const image = network.image(set, chosen[i]), shades = place < wrong.length ? LIGHT_ON_RED : DARK_ON_WHITE;
    const corner = SIDE * (Math.floor(place / columns) * width + place % columns);
    for (let p = 0; p < image.length; p++)
      pixels[corner + Math.floor(p / SIDE) * width + p % SIDE] = shades[image[p]];
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const name = set === "train" ? "Training" : "Test";
  const count = all.length ? `: ${grouped(wrong.length)} of ${grouped(all.length)} misclassified` : "";
  element(`${set}Title`).textContent = `${name} digits${count}`;
}

// A scale next to the test digits, from 100 % at the top to `low`, the accuracy if all shown digits
// were misclassified. So the last misclassified digit is at the height of the accuracy.
function drawScale(low) {
  const {accuracy} = curves.test.at(-1), height = value => 100 * (1 - value) / (1 - low);
  const mark = (value, id) => `<span ${id} style="top: ${height(value)}%">${Number((100 * value).toFixed(1))} %</span>`;
  const round = [0, 1, 2, 3, 4, 5].map(i => 1 - i * (1 - low) / 5);
  const marks = round.filter(value => Math.abs(height(value) - height(accuracy)) > 5).map(value => mark(value, ""));
  element("scale").innerHTML = marks.join("") + (accuracy >= low ? mark(accuracy, "id=reached") : "");
}

// The curves of the accuracy or the loss by step, for training and test, in an SVG of 400 x 260.
function drawCurves(name) {
  const [, ...tests] = curves.test.map(point => point[name]); // without the first, which is far away
  const low = name === "loss" ? 0 : Math.max(0, Math.floor(20 * Math.min(0.95, ...tests) - 1) / 20);
  const high = name === "accuracy" ? 1 : Math.ceil(Math.max(0.1, ...(tests.length ? tests : [2])) * 6) / 4;
  const last = Math.max(5 * about.every, network.step);
  const x = step => (44 + 346 * step / last).toFixed(1);
  const y = value => (235 - 225 * (Math.min(high, Math.max(low, value)) - low) / (high - low)).toFixed(1);
  let text = "";
  for (let i = 0; i <= 5; i++) {
    const value = low + (high - low) * i / 5, step = last * i / 5;
    text += `<line x1="44" x2="390" y1="${y(value)}" y2="${y(value)}"/>`;
    text += `<text x="38" y="${+y(value) + 4}" text-anchor="end">${name === "loss" ? value.toFixed(2) : Math.round(100 * value) + " %"}</text>`;
    text += `<text x="${x(step)}" y="252" text-anchor="middle">${grouped(step)}</text>`;
  }
  for (const set of ["train", "test"])
    text += `<polyline class="${set}" points="${curves[set].map(point => `${x(point.step)},${y(point[name])}`).join(" ")}"/>`;
  element(name).innerHTML = text;
}

// The drawn digit ------------------------------------------------------------------------------

function recognise() {
  const probabilities = drawn ? network.recognise(drawn) : about.names.map(() => 0);
  const best = Math.max(...probabilities);
  probabilities.forEach((probability, i) => {
    const [name, bar] = [2 * i, 2 * i + 1].map(j => element("classes").children[j]);
    name.className = drawn && probability === best ? "best" : "";
    bar.firstChild.style.width = `${100 * probability}%`;
    bar.title = percent(probability);
  });
  const picture = new ImageData(SIDE, SIDE), pixels = new Uint32Array(picture.data.buffer);
  pixels.forEach((_, i) => (pixels[i] = DARK_ON_WHITE[drawn ? drawn[i] : 0]));
  element("input").getContext("2d").putImageData(picture, 0, 0);
}

function listenToPad() {
  const pad = element("pad"), ink = pad.getContext("2d");
  Object.assign(ink, {lineWidth: PEN, lineCap: "round", lineJoin: "round"});
  let last;
  const extend = event => {
    const box = pad.getBoundingClientRect();
    const point = [event.clientX - box.left, event.clientY - box.top].map(value => value * CANVAS / box.width);
    ink.beginPath();
    ink.moveTo(...(last ?? point));
    ink.lineTo(...point);
    ink.stroke();
    drawing.line(...(last ?? point), ...point);
    last = point;
    drawn = drawing.image();
    recognise();
  };
  pad.addEventListener("pointerdown", event => {
    pad.setPointerCapture(event.pointerId);
    last = undefined;
    extend(event);
  });
  pad.addEventListener("pointermove", event => event.buttons && last && extend(event));
  element("clear").onclick = () => {
    drawing = new Drawing();
    drawn = null;
    ink.clearRect(0, 0, CANVAS, CANVAS);
    recognise();
  };
}

// Start ----------------------------------------------------------------------------------------

async function open() {
  document.title = element("title").textContent = about.title;
  element("note").textContent = about.note;
  element("listing").textContent = about.listing;
  element("classes").innerHTML = about.names.map(() => "<dt></dt><dd><div></div></dd>").join("");
  about.names.forEach((name, i) => (element("classes").children[2 * i].textContent = name));
  element("images").textContent = `The page trains on ${grouped(about.trainImages)} images and tests on `
    + `${grouped(about.testImages)} other images, after every ${about.every} steps. A pixel has one of 4 shades of grey. `
    + "Your browser computes everything, on one thread, with the C kernels of tinytensor as WebAssembly.";
  network = await Network.load(about, element("kernels").textContent, element("content").textContent);
  element("play").onclick = () => {
    cancelAnimationFrame(frame);
    isPlaying = !isPlaying;
    play();
  };
  element("one").onclick = () => {
    const before = network.step;
    work(() => network.step > before);
    draw();
  };
  element("again").onclick = startAgain;
  element("rate").oninput = () => {
    network.rateFactor = 10 ** element("rate").value;
    element("rateText").textContent = Number(network.rate.toPrecision(3));
  };
  listenToPad();
  await startAgain();
}

open().catch(error => (element("status").textContent = `This browser can't run the page: ${error.message}`));
