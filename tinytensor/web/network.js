// network.js: a captured training step, in a browser.
//
// The C kernels of csrc/, compiled to WebAssembly, share one memory, in which each array has an
// address. Python has recorded the kernel calls: `programs` has those of a training step, of a test
// and of a drawn image. `about` has the addresses and sizes of the arrays.

let kernels, start; // the compiled kernels, and the address of the first array
let labels; // of the images, from image 1 up
let step = 0; // the number of training steps
let rateFactor = 1; // multiplies the learning rate
let order = [], used = 0; // the training images in the order of this epoch, and how many it has used
let {seed} = about;

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The content: the values of weights and other arrays, pixels of 2 or 4 bits, and the labels.
async function load(wasm, packed) {
  const {instance} = await WebAssembly.instantiate(await unpacked(wasm));
  const content = await unpacked(packed), {values, bits} = about, most = 2 ** bits - 1;
  kernels = instance.exports;
  kernels._initialize();
  start = kernels.aligned_alloc(64, about.memory);
  if (!start)
    throw new Error(`${about.memory} bytes of memory are needed`);
  array(Uint8Array, 0, values).set(content.subarray(0, values));
  labels = content.subarray(-about.testImages - about.trainImages);
  order = Array.from({length: about.trainImages}, (_, i) => 1 + about.testImages + i);
  used = order.length;
  const pixels = array(Uint8Array, about.images + about.imageBytes, labels.length * about.imageBytes);
  for (let p = 0, bit = 8 * values; p < pixels.length; p++, bit += bits)
    pixels[p] = 255 / most * (content[Math.floor(bit / 8)] >> (8 - bits - bit % 8) & most);
}

// An array at an address. The memory may grow during a call, and an array from before is lost.
function array(type, address, length) {
  return new type(kernels.memory.buffer, start + address, length);
}

// Image 0 is the drawn one. The test images come next, and then the training images.
function image(index) {
  return array(Uint8Array, about.images + index * about.imageBytes, about.imageBytes);
}

// Run a program on images. Returns its loss, and each image with its label and predicted class.
function run(name, chosen) {
  const {images, labels: wanted, loss, predictions} = about[name], length = chosen.length;
  array(BigInt64Array, images, length).set(chosen.map(BigInt));
  array(BigInt64Array, wanted, length).set(chosen.map(i => BigInt(labels[i - 1])));
  programs[name](kernels, start);
  if (kernels.tt_failed())
    throw new Error("a kernel had no memory for its temporary values");
  const [value] = array(Float32Array, loss, 1), found = array(BigInt64Array, predictions, length);
  if (!Number.isFinite(value))
    throw new Error(`The loss is ${value}. Start again with a smaller learning rate.`);
  return {
    loss: value,
    images: chosen.map((i, place) => ({index: i, label: labels[i - 1], predicted: Number(found[place])})),
  };
}

// A random integer from 0 to n - 1, by a linear congruential generator.
function random(n) {
  seed = (1664525 * seed + 1013904223) % 2 ** 32;
  return Math.floor(seed / 2 ** 32 * n);
}

// The next training images. Each epoch has a new random order (Fisher and Yates).
function nextBatch(size) {
  if (used + size > order.length) {
    for (let i = order.length - 1; i > 0; i--) {
      const j = random(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    used = 0;
  }
  return order.slice(used, (used += size));
}

// One training step: forward pass, backward pass, update.
function trainStep() {
  for (const {address, bytes, rows} of about.tables) // what Python computes before each step
    array(Uint8Array, address, bytes).set(array(Uint8Array, rows + step * bytes, bytes));
  for (const address of about.rates)
    array(Float64Array, address, 1)[0] *= rateFactor;
  step++;
  return run("train", nextBatch(about.train.batch));
}

// Test one batch after the other; the caller can do something else in between.
function* tests() {
  const {batch} = about.test;
  for (let first = 1; first <= about.testImages; first += batch)
    yield run("test", Array.from({length: batch}, (_, i) => first + i));
}

// The probability of each class for an image.
function recognise(pixels) {
  image(0).set(pixels);
  programs.drawn(kernels, start);
  return array(Float32Array, about.probabilities, about.classes);
}
