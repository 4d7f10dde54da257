// Makes steps of a page with node, without its pictures:
//   node run_page.js FILE.html STEPS RATE_FACTOR STROKES
// Prints JSON: the steps, the predictions for the test images, and the image of the drawn digit.
const [file, steps, rateFactor, strokes] = process.argv.slice(2);
const html = require("fs").readFileSync(file, "utf8");
const parts = [...html.matchAll(/<script[^>]*>([^]*?)<\/script>/g)].map(found => found[1]);
const [about, kernels, content, network, drawing] = parts;
const {Network, Drawing} = new Function(`${network}; ${drawing}; return {Network, Drawing}`)();

async function main() {
  const net = await Network.load(JSON.parse(about), kernels, content);
  net.rateFactor = +rateFactor;
  const drawn = new Drawing();
  for (const stroke of JSON.parse(strokes))
    for (let i = 0; i < stroke.length; i++)
      drawn.line(...[...stroke[Math.max(0, i - 1)], ...stroke[i]].map(value => value * 560));
  const image = drawn.image();
  const result = {steps: [], train: [], test: [], labels: Array.from(net.labels.test)};
  for (let i = 0; i < steps; i++)
    result.steps.push({rate: net.rate, ...net.trainStep()});
  for (const {predictions} of net.tests())
    result.test.push(...predictions);
  result.firstImage = Array.from(net.image("train", 0));
  result.drawn = Array.from(image);
  result.probabilities = net.recognise(image);
  net.reset();
  result.again = net.trainStep().loss;
  console.log(JSON.stringify(result));
}
main();
