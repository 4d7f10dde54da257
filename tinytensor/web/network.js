// network.js: a captured training step, in a browser.
//
// The step is a list of kernel calls, which Python has recorded. The kernels are the C kernels of
// csrc/, compiled to WebAssembly. They share one memory, in which each array has an address.

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A function that returns pseudorandom integers from 0 to n - 1: the generator mulberry32.
function randomIntegers(seed) {
  return n => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), seed | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return Math.floor(((z ^ (z >>> 14)) >>> 0) / 2 ** 32 * n);
  };
}

class Network {
  // about: what Python wrote about the programs and the memory.
  static async load(about, kernels, content) {
    const {instance} = await WebAssembly.instantiate(await unpacked(kernels));
    return new Network(about, instance.exports, await unpacked(content));
  }

  constructor(about, kernels, content) {
    this.about = about;
    this.kernels = kernels;
    kernels._initialize();
    this.start = kernels.aligned_alloc(64, about.memory); // the address of our block
    if (!this.start)
      throw new Error(`${about.memory} bytes of memory are needed`);
    this.programs = {};
    this.rateFactor = 1; // of the step's own learning rate
    for (const [name, program] of Object.entries(about.programs))
      this.programs[name] = {...program, calls: program.calls.map(call => this.bound(call))};

    let read = 0;
    const next = bytes => content.subarray(read, (read += bytes));
    this.values = next(about.values);
    this.tables = about.tables.map(table => ({...table, rows: next(table.bytes * about.steps)}));
    this.labels = {};
    for (const [set, count] of [["test", about.testImages], ["train", about.trainImages]])
      this.labels[set] = this.unpackImages(set, count, next(count * 197));
    this.reset();
  }

  // A kernel and its arguments: an address, a 64-bit integer, or another number.
  bound({kernel, arguments: given}) {
    const values = given.map(({address, int64, number}) =>
      address !== undefined ? this.start + address : int64 !== undefined ? BigInt(int64) : number);
    return [this.kernels["tt_" + kernel], values];
  }

  // An array at an address. The memory may grow during a call, and an array from before is lost.
  array(type, address, length) {
    return new type(this.kernels.memory.buffer, this.start + address, length);
  }

  image(set, index) {
    return this.array(Uint8Array, this.about.images[set] + index * 784, 784);
  }

  // Each image is its label and 196 bytes with four pixels. A pixel is 0, 1, 2 or 3.
  unpackImages(set, count, bytes) {
    const labels = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      labels[i] = bytes[i * 197];
      const image = this.image(set, i);
      for (let p = 0; p < 784; p++)
        image[p] = 85 * ((bytes[i * 197 + 1 + (p >> 2)] >> (6 - 2 * (p & 3))) & 3);
    }
    return labels;
  }

  // Return to the state before the first step: weights, optimiser, order of the images.
  reset() {
    this.array(Uint8Array, 0, this.values.length).set(this.values);
    this.step = 0;
    this.random = randomIntegers(this.about.seed);
    this.order = Array.from(this.labels.train.keys());
    this.used = this.order.length;
  }

  // The learning rate of the next step.
  get rate() {
    const {rows} = this.tables.find(table => table.address === this.about.rates[0]);
    const first = Math.min(this.step, this.about.steps - 1) * 8;
    return new Float64Array(rows.slice(first, first + 8).buffer)[0] * this.rateFactor;
  }

  run(program, chosen, labels) {
    const {calls, inputs} = this.programs[program];
    this.array(BigInt64Array, inputs[0], chosen.length).set(chosen.map(BigInt));
    if (labels)
      this.array(BigInt64Array, inputs[1], chosen.length).set(chosen.map(i => BigInt(labels[i])));
    for (const [kernel, values] of calls)
      kernel(...values);
    if (this.kernels.tt_failed())
      throw new Error("a kernel had no memory for its temporary values");
  }

  // The loss and the predictions of a program for images of a set.
  results(set, chosen) {
    const [loss, predictions] = this.programs[set].results;
    return {
      chosen,
      loss: this.array(Float32Array, loss, 1)[0],
      predictions: Array.from(this.array(BigInt64Array, predictions, chosen.length), Number),
    };
  }

  // Indices of the next training images. Each epoch has a new random order (Fisher and Yates).
  nextBatch() {
    const {batch} = this.programs.train;
    if (this.used + batch > this.order.length) {
      for (let i = this.order.length - 1; i > 0; i--) {
        const j = this.random(i + 1);
        [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
      }
      this.used = 0;
    }
    return this.order.slice(this.used, (this.used += batch));
  }

  // One training step: forward pass, backward pass, update.
  trainStep() {
    for (const {address, bytes, rows} of this.tables)
      this.array(Uint8Array, address, bytes).set(rows.subarray(this.step * bytes, (this.step + 1) * bytes));
    for (const address of this.about.rates)
      this.array(Float64Array, address, 1)[0] *= this.rateFactor;
    const chosen = this.nextBatch();
    this.run("train", chosen, this.labels.train);
    this.step++;
    return this.results("train", chosen);
  }

  // The test images, a batch at a time: the caller may draw in between.
  *tests() {
    const {batch} = this.programs.test;
    for (let first = 0; first < this.about.testImages; first += batch) {
      const chosen = Array.from({length: batch}, (_, i) => first + i);
      this.run("test", chosen, this.labels.test);
      yield this.results("test", chosen);
    }
  }

  // The probability of each class for an image of 784 bytes.
  recognise(image) {
    this.image("drawn", 0).set(image);
    this.run("recognise", [0]);
    const [address] = this.programs.recognise.results;
    return Array.from(this.array(Float32Array, address, this.about.names.length));
  }
}
