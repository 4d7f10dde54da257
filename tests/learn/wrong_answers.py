"""Wrong answers to the exercises: changes of a right function, and of a solution's text."""

import sys

import numpy as np

from tinytensor.learn.exercises import CHANGED, READ, WRITTEN


def _arrays(function, arguments, *uses):
    pairs = zip(function.arrays, arguments, strict=False)
    return [array for each, array in pairs if each.use in uses]


def _outputs(function, arguments):
    return _arrays(function, arguments, WRITTEN, CHANGED)


def odd_sizes(function, right, *arguments):
    if arguments[0].shape[0] % 2 == 0:
        right(*arguments)


def sizes_above_16(function, right, *arguments):
    if max(arguments[0].shape) <= 16:
        right(*arguments)


def last_element(function, right, *arguments):
    (first, *_) = _outputs(function, arguments)
    before = first.copy()
    right(*arguments)
    if first.size:
        first.flat[-1] = before.flat[-1]


def nan_dropped(function, right, *arguments):
    right(*arguments)
    for out in _outputs(function, arguments):
        out[np.isnan(out)] = 0


def infinity_clipped(function, right, *arguments):
    right(*arguments)
    for out in _outputs(function, arguments):
        np.clip(out, -1e30, 1e30, out=out)


def reads_its_output(function, right, *arguments):
    outputs = _outputs(function, arguments)
    before = [out.copy() for out in outputs]
    right(*arguments)
    for out, old in zip(outputs, before, strict=True):
        out += old


def half_precision(function, right, *arguments):
    right(*arguments)
    for out in _outputs(function, arguments):
        out[...] = out.astype(np.float16)


def changes_its_input(function, right, *arguments):
    right(*arguments)
    for array in _arrays(function, arguments, READ)[:1]:
        array += 1


def fails_on_empty_arrays(function, right, *arguments):
    if any(array.size == 0 for array in arguments[: len(function.arrays)]):
        raise IndexError("index 0 is out of bounds")
    right(*arguments)


def a_thousandth_too_large(function, right, *arguments):
    right(*arguments)
    for out in _outputs(function, arguments):
        out *= 1.001


def wrong_sign(function, right, *arguments):
    right(*arguments)
    for out in _outputs(function, arguments):
        np.negative(out, out=out)


def returned_instead_of_written(function, right, *arguments):
    copies = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
    right(*copies)
    return _outputs(function, copies)[0]


def exits(function, right, *arguments):
    sys.exit(0)


CHANGES = (
    odd_sizes,
    sizes_above_16,
    last_element,
    nan_dropped,
    infinity_clipped,
    reads_its_output,
    half_precision,
    changes_its_input,
    fails_on_empty_arrays,
    a_thousandth_too_large,
    wrong_sign,
    returned_instead_of_written,
    exits,
)

# For an exercise: texts of its solution, and what stands there instead
TEXTS = {
    "neuron": [
        ("range(len(x))", "range(len(x) - 1)"),
        ("range(len(x))", "range(1, len(x))"),
        ("total = bias[0]", "total = 0.0"),
        ("x[k] * weight[k]", "x[k] * weight[-1 - k]"),
        ("x[k] * weight[k]", "abs(x[k] * weight[k])"),
        ("        total +=", "        if x[k]: total +="),
        ("out[0] = total", "out[0] += total"),
    ],
    "broadcast_add": [
        ("x[r, c] + b[c]", "x[r, c] + b[r]"),
        ("x[r, c] + b[c]", "x[r, c] + b[0]"),
        ("x[r, c] + b[c]", "x[r, c] - b[c]"),
        ("total = 0.0", "total = grad_b[c]"),
        ("grad_b[c] = total", "grad_b[c] = total / R"),
        ("for r in range(R):\n            total", "for r in range(R - 1):\n            total"),
        ("grad_b[c] = total", "grad_b[c] = grad[0, c]"),
    ],
    "softmax": [
        ("x[r, c] - largest", "x[r, c]"),
        ("largest = -math.inf", "largest = 0.0"),
        ("x[r, c] > largest", "x[r, c] < largest"),
        ("for r in range(R):\n        largest = -math.inf", "largest = x[:1].max(initial=-math.inf)"
         "\n    for r in range(R):"),
        ("/ total", "/ (total + 1e-3)"),
        ("/ total", "/ math.sqrt(total)"),
        ("out[r, c] = out[r, c] / total", "out[r, c] = math.log(out[r, c] / total + 1e-9)"),
    ],
    "cross_entropy": [
        ("largest + math.log(total) - x[r, labels[r]]", "math.log(total) - x[r, labels[r]]"),
        ("largest + math.log(total) - x[r, labels[r]]",
         "-math.log(math.exp(x[r, labels[r]] - largest) / total + 1e-12)"),
        ("x[r, labels[r]]", "x[r, labels[r] - 1]"),
        ("x[r, labels[r]]", "x[r, labels[0]]"),
        ("grad[r, labels[r]] -= 1", "grad[r, labels[r]] += 1"),
        ("grad[r, labels[r]] -= 1", "grad[r] -= 1 / C"),
        ("grad[r, c] = grad[r, c] / total", "grad[r, c] = grad[r, c] / total / R"),
    ],
    "matmul": [
        ("range(K)", "range(K - 1)"),
        ("range(K)", "range(1, K)"),
        ("y[k, n]", "y[n, k]"),
        ("x[m, k]", "x[k, m]"),
        ("            total = 0.0", "            total = out[m, n]"),
        ("total +=", "total ="),
        ("    M, K = x.shape", "    M, K = x.shape\n    if K == 0: return"),
    ],
    "matmul_loop_order": [
        ("out[m, n] = 0", "pass"),
        ("range(K)", "range(K - 1)"),
        ("out[m, n] += factor", "out[m, n] = factor"),
        ("factor = x[m, k]", "factor = x[m, k - 1]"),
        ("        for k", "        if x[m, :1] == 0: continue\n        for k"),
    ],
    "matmul_blocked": [
        ("out[m, n] = 0", "pass"),
        ("range(depth if m < rows else 0, K)", "range(depth, K)"),
        ("range(depth if m < rows else 0, K)", "range(0, 0)"),
        ("d[3] * s", "d[2] * s"),
        ("y[k + 3, n]", "y[k + 2, n]"),
    ],
    "matmul_vectorised": [],
    "matmul_threaded": [
        ("out[m, n] = 0", "pass"),
        ("for m in range(M)", "for m in range(M // 2 * 2)"),
        ("range(K)", "range(K - 1)"),
        ("out[m, n] += factor", "out[m, n] = factor"),
    ],
    "matmul_backward": [
        ("grad[m, n] * y[k, n]", "grad[m, n] * y[k, 0]"),
        ("grad_x[m, k] = total", "grad_x[m, k] += total"),
        ("grad_x[m, k] = total", "grad_x[m, k] = total / M"),
        ("x[m, k] * grad[m, n]", "x[m, k] + grad[m, n]"),
        ("for m in range(M):\n                total", "for m in range(1):\n                total"),
        ("grad_y[k, n] = total", "grad_y[k, n] = total / max(M, 1)"),
    ],
    "conv2d": [
        ("x[n, p + a, q + b, i]", "x[n, p, q, i]"),
        ("x[n, p + a, q + b, i]", "x[0, p + a, q + b, i]"),
        ("weight[a, b, i, o]", "weight[A - 1 - a, B - 1 - b, i, o]"),
        ("range(I)", "range(1)"),
        ("range(A)", "range(min(A, B))"),
        ("range(P)", "range(P - 1)"),
        ("out[n, p, q, o] = total", "out[n, p, q, o] = total / (A * B)"),
    ],
    "conv2d_backward": [
        ("grad_x[:] = 0", "pass"),
        ("grad_weight[:] = 0", "pass"),
        ("grad_x[n, p + a, q + b, i] +=", "grad_x[n, p + a, q + b, i] ="),
        ("grad_x[n, p + a, q + b, i] +=", "grad_x[n, p, q, i] +="),
        ("grad_weight[a, b, i, o] += grad[n, p, q, o] * x[n,",
         "grad_weight[a, b, i, o] += grad[n, p, q, o] * x[0,"),
        ("grad[n, p, q, o] * weight[a, b, i, o]", "grad[n, p, q, 0] * weight[a, b, i, o]"),
    ],
    "optimizers": [
        ("p[n] = p[n] - rate * grad[n]", "p[n] = p[n] + rate * grad[n]"),
        ("p[n] = p[n] - rate * velocity[n]", "p[n] = p[n] - rate * grad[n]"),
        ("0.9 * velocity[n] + grad[n]", "0.9 * velocity[n] + 0.1 * grad[n]"),
        ("m[n] / (1 - 0.9**step)", "m[n]"),
        ("v[n] / (1 - 0.999**step)", "v[n]"),
        ("0.001 * grad[n] * grad[n]", "0.001 * abs(grad[n])"),
        ("math.sqrt(v_hat) + 1e-8", "v_hat + 1e-8"),
        ("0.9 * m[n] + 0.1 * grad[n]", "0.9 * m[n] + grad[n]"),
    ],
    "tape": [
        ("self.data * other.data", "self.data + other.data"),
        ("grad * other.data", "grad * self.data"),
        ("unbroadcast(grad * self.data, other.data.shape)", "grad * self.data"),
        ("self.data @ other.data", "other.data @ self.data"),
        ("grad @ other.data.T", "grad @ other.data"),
        ("self.data.T @ grad", "grad.T @ self.data"),
        ("grad * result", "grad"),
        ("grad / self.data", "grad * self.data"),
        ("keepdims=True)", "keepdims=False)"),
        ("np.broadcast_to(grad, self.data.shape)", "grad * self.data"),
        ("each.grad = each.grad + function", "each.grad = function"),
        ("for value in reversed(order)", "for value in order"),
        ("elif value not in seen", "else"),
        ("self.grad = np.ones_like(self.data)", "pass"),
        ("order, seen, waiting = [], set(), [(self, False)]",
         "order, seen, waiting = [self, *[v for v, _ in self.inputs]][::-1], set(), []"),
        ("order, seen, waiting = [], set(), [(self, False)]",
         "order, seen, waiting = [], set(), []\n\n        def visit(value):\n"
         "            if value not in seen:\n                seen.add(value)\n"
         "                for each, _ in value.inputs:\n                    visit(each)\n"
         "                order.append(value)\n\n        visit(self)"),
    ],
    "capture": [
        ("    if recording is not None:\n        recording.append((kernel, arrays))", ""),
        ("    kernel(*arrays)\n\n\nclass", "    pass\n\n\nclass"),
        ("tuple(argument.shape for argument in arguments)", "()"),
        ("tuple(argument.shape for argument in arguments)", "len(self.records)"),
        ("own[...] = argument", "own = argument"),
        ("own[...] = argument", "own[...] = argument + 1e-6"),
        ("            return result.copy()\n        inputs",
         "            return result\n        inputs"),
        ("result\n        return result.copy()", "result\n        return result"),
        ("[argument.copy() for argument in arguments]", "list(arguments)"),
        ("            for kernel, arrays in calls:\n                kernel(*arrays)\n", ""),
        ("for kernel, arrays in calls:", "for kernel, arrays in calls[:1]:"),
        ("for kernel, arrays in calls:", "for kernel, arrays in reversed(calls):"),
        ("        finally:\n            recording = None", "        finally:\n            pass"),
        ("        try:\n            result = self.step(*inputs)\n        finally:\n            "
         "recording = None", "        result = self.step(*inputs)\n        recording = None"),
        ("self.records[shapes] = inputs, calls, result", "pass"),
        ("        return result.copy()\n\n", "        return None\n\n"),
    ],
}  # fmt: skip
