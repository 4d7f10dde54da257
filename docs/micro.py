"""Lesson 1.0 in plain Python: a neural network of ten neurons learns to read digits.

This file is the whole idea: automatic differentiation, softmax, cross-entropy, gradient descent.
tinytensor computes the same with arrays and fast kernels. The rest is speed.

    gzip -dc tinytensor/datasets/mnist/train-*.gz | python docs/micro.py

It trains for 200 steps, about a minute, and then reads 1,000 images that it was not trained on.
"""

import math
import random

# Part 1: automatic differentiation ---------------------------------------------------------------


class Value:
    """A number, and how it depends on the numbers that it was computed from.

    `inputs` has a pair (input, slope) for each number that this one was computed from. The slope is
    the derivative: if the input grows by a small h, this number grows by slope * h.
    """

    def __init__(self, number, inputs=()):
        self.number = number
        self.inputs = inputs
        self.grad = 0.0  # the derivative of the loss by this number; backward() computes it

    def __sub__(self, other):
        return Value(self.number - other.number, [(self, 1.0), (other, -1.0)])

    def __truediv__(self, other):
        slopes = 1 / other.number, -self.number / other.number**2
        return Value(self.number / other.number, [(self, slopes[0]), (other, slopes[1])])

    def exp(self):
        result = math.exp(self.number)
        return Value(result, [(self, result)])

    def log(self):
        return Value(math.log(self.number), [(self, 1 / self.number)])


def total(values):
    """The sum of a list of Values: the slope of each is 1."""
    return Value(sum(value.number for value in values), [(value, 1.0) for value in values])


def weighted_sum(weights, pixels, bias):
    """The sum of weight * pixel, plus a bias. The slope of a weight is its pixel."""
    inputs = [(weight, pixel) for weight, pixel in zip(weights, pixels, strict=True) if pixel]
    number = sum(weight.number * pixel for weight, pixel in inputs) + bias.number
    return Value(number, [*inputs, (bias, 1.0)])  # black pixels, which are 0, add nothing


def tape(loss):
    """All Values that the loss was computed from, each one after its inputs."""
    found, seen, waiting = [], set(), [(loss, False)]
    while waiting:
        value, inputs_are_done = waiting.pop()
        if inputs_are_done:
            found.append(value)
        elif value not in seen:
            seen.add(value)
            waiting.append((value, True))
            waiting.extend((each, False) for each, _ in value.inputs if each not in seen)
    return found


def backward(loss):
    """Compute the gradient: the derivative of the loss by each number, with the chain rule.

    The tape is read backwards, because a value's own derivative is complete only after those of
    all numbers that were computed from it.
    """
    values = tape(loss)
    for value in values:
        value.grad = 0.0
    loss.grad = 1.0
    for value in reversed(values):
        for each, slope in value.inputs:
            each.grad += slope * value.grad


# Part 2: the network -----------------------------------------------------------------------------


class TenNeurons:
    """A neuron for each digit. It has a weight for each pixel, and a bias. All start at 0."""

    def __init__(self, pixels=784, digits=10):
        self.weights = [[Value(0.0) for _ in range(pixels)] for _ in range(digits)]
        self.biases = [Value(0.0) for _ in range(digits)]

    def probabilities(self, pixels):
        """Softmax: the exponential of each weighted sum, divided by the sum of all exponentials."""
        neurons = zip(self.weights, self.biases, strict=True)
        sums = [weighted_sum(weights, pixels, bias) for weights, bias in neurons]
        # The largest sum is subtracted first, because exp(1000) is too large for a float.
        largest = Value(max(each.number for each in sums))  # without inputs: a constant
        powers = [(each - largest).exp() for each in sums]
        norm = total(powers)
        return [power / norm for power in powers]

    def read(self, pixels):
        """The digit with the largest probability."""
        numbers = [each.number for each in self.probabilities(pixels)]
        return numbers.index(max(numbers))


def cross_entropy(probabilities, digit):
    """The distance to the right answer: 0 if its probability is 1, large if it is near 0."""
    return Value(0.0) - probabilities[digit].log()


# Part 3: training --------------------------------------------------------------------------------


def train_step(network, images, labels, rate):
    """One step of stochastic gradient descent (SGD) on a batch; returns the mean loss before it."""
    batch = zip(images, labels, strict=True)
    losses = [cross_entropy(network.probabilities(image), label) for image, label in batch]
    loss = total(losses) / Value(len(losses))
    backward(loss)
    for parameters in (*network.weights, network.biases):
        for parameter in parameters:
            parameter.number -= rate * parameter.grad
            parameter.grad = 0.0  # a weight of black pixels only is not on the next tape
    return loss.number


if __name__ == "__main__":
    with open(0, "rb") as standard_input:  # 60,000 images of 28 x 28 bytes, then the labels
        data = b"" if standard_input.isatty() else standard_input.read()
    if len(data) < 60_000 * 785:
        raise SystemExit("micro.py reads images from a pipe; its first lines show the command")
    pictures, answers = data[16 : 16 + 60_000 * 784], data[-60_000:]

    def image(i):
        return [byte / 255 for byte in pictures[784 * i : 784 * (i + 1)]]

    network = TenNeurons()
    for step in range(1, 201):
        chosen = random.sample(range(59_000), 100)
        batch = [image(i) for i in chosen], [answers[i] for i in chosen]
        loss = train_step(network, *batch, rate=0.5)
        if step % 10 == 0:
            print(f"step {step:3}  loss {loss:.4f}", flush=True)
    right = sum(network.read(image(i)) == answers[i] for i in range(59_000, 60_000))
    print(f"{right} of 1,000 images are read correctly")
