// Makes steps of a page with node, without its pictures:
//   node run_page.js FILE.html STEPS RATE_FACTOR PIXELS
// Prints JSON: the steps, the predicted classes of the test images, and the probabilities of an image.
const [file, steps, factor, pixels] = process.argv.slice(2);
const html = require("fs").readFileSync(file, "utf8");
const [kernels, content, programs, network] =
  [...html.matchAll(/<script[^>]*>([^]*?)<\/script>/g)].map(found => found[1]);

const main = `
${programs}
${network}
async function main(wasm, packed, steps, factor, pixels) {
  await load(wasm, packed);
  rateFactor = factor;
  const result = {steps: [], test: [], labels: Array.from(labels)};
  for (let i = 0; i < steps; i++)
    result.steps.push(trainStep());
  for (const {images} of tests())
    result.test.push(...images.map(({predicted}) => predicted));
  result.firstImage = Array.from(image(1 + about.testImages));
  result.probabilities = Array.from(recognise(Uint8Array.from(pixels)));
  return result;
}
return main`;
new Function(main)()(kernels, content, +steps, +factor, JSON.parse(pixels))
  .then(result => console.log(JSON.stringify(result)));
