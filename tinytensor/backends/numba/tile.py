"""Sums of products, the work of matmul and of convolution: one kernel for both.

The naive triple loop of a product x . y reads two numbers from memory for every multiplication.
Here a tile of sums is kept in the processor's registers, and each step along k multiplies

    6 numbers of x  with  a line of y, two registers full of neighbours.

Numba has no word for a register, so the first part of this file makes one: `Line`, with what the
tile needs to do with it. The processor does each of these in one instruction.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_model

from tinytensor.backends.numba.compiling import kernel, part

ROWS = 6  # of a tile: with 2 registers for each, and 3 to work with, it fits in 16 registers
_FEATURES = llvmlite.binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4  # floats in a register


class Line(types.Type):
    """The type of LANES numbers side by side in a register."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(f"Line({dtype})")


@register_model(Line)
class LineModel(PrimitiveModel):
    """What LLVM calls a Line: a vector."""

    def __init__(self, manager, line):
        number = manager.lookup(line.dtype).get_value_type()
        super().__init__(manager, line, ir.VectorType(number, LANES))


def _check_writable(array):
    if not array.mutable:
        raise TypingError("a read-only array can't be written to")


def _pointer(context, builder, array_type, array, place):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [place])


@intrinsic
def number(typing, array, place):
    """array[place], without Python's question whether place is negative"""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments)
        return context.unpack_value(builder, array.dtype, pointer)

    return array.dtype(array, types.intp), code


@intrinsic
def put_number(typing, array, place, value):
    """array[place] = value, without that question"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments[:2])
        context.pack_value(builder, array.dtype, arguments[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), code


@intrinsic
def zeros(typing, array):
    """A Line of zeros, of array's kind."""
    line = Line(array.dtype)

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(line), None)

    return line(array), code


@intrinsic
def load(typing, array, place):
    """The Line array[place : place + LANES]."""
    line = Line(array.dtype)

    def code(context, builder, signature, arguments):
        pointer = _line_pointer(context, builder, array, *arguments)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return line(array, types.intp), code


@intrinsic
def store(typing, line, array, place):
    """array[place : place + LANES] = line"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _line_pointer(context, builder, array, *arguments[1:])
        builder.store(arguments[0], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(line, array, types.intp), code


def _line_pointer(context, builder, array_type, array, place):
    pointer = _pointer(context, builder, array_type, array, place)
    return builder.bitcast(pointer, context.get_value_type(Line(array_type.dtype)).as_pointer())


@intrinsic
def load_part(typing, array, place, count):
    """The Line array[place : place + count], with zeros behind; all of it if count is larger."""
    line = Line(array.dtype)

    def code(context, builder, signature, arguments):
        pointer = _line_pointer(context, builder, array, *arguments[:2])
        align, mask = _ALIGN(array.dtype.bitwidth // 8), _first_lanes(builder, arguments[2])
        behind = ir.Constant(context.get_value_type(line), None)
        return _masked(builder, "load", behind.type, (pointer, align, mask, behind))

    return line(array, types.intp, types.intp), code


@intrinsic
def store_part(typing, line, array, place, count):
    """array[place : place + count] = line's first numbers; all of them if count is larger"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _line_pointer(context, builder, array, *arguments[1:3])
        align, mask = _ALIGN(array.dtype.bitwidth // 8), _first_lanes(builder, arguments[3])
        _masked(builder, "store", ir.VoidType(), (arguments[0], pointer, align, mask))
        return context.get_dummy_value()

    return types.void(line, array, types.intp, types.intp), code


_ALIGN = ir.IntType(32)


def _masked(builder, name, result, arguments):
    """Call LLVM's masked load or store, which leaves alone the memory of lanes that are off."""
    vector = result if name == "load" else arguments[0].type
    kind = "f32" if vector.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(result, [argument.type for argument in arguments]),
        f"llvm.masked.{name}.v{LANES}{kind}.p0",
    )
    return builder.call(function, arguments)


def _first_lanes(builder, count):
    """True for the first `count` lanes, false for the others."""
    lanes = ir.VectorType(count.type, LANES)
    return builder.icmp_signed(
        "<", ir.Constant(lanes, list(range(LANES))), _all_lanes(builder, count)
    )


def _all_lanes(builder, value):
    """A vector with the same value in every lane."""
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(vector, vector, zeros)


@intrinsic
def widened(typing, line):
    """The same numbers as float64."""
    wide = Line(types.float64)

    def code(context, builder, signature, arguments):
        (narrow,) = arguments
        return narrow if line == wide else builder.fpext(narrow, context.get_value_type(wide))

    return wide(line), code


@intrinsic
def plus(typing, x, y):
    """The Line x + y."""

    def code(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return x(x, y), code


@intrinsic
def plus_product(typing, total, factor, line):
    """The Line total + factor * line, factor a number."""

    def code(context, builder, signature, arguments):
        total, factor, line = arguments
        product = builder.fmul(_all_lanes(builder, factor), line, flags=["contract"])
        return builder.fadd(total, product, flags=["contract"])

    return total(total, total.dtype, line), code


@intrinsic
def narrowed(typing, line, array):
    """The same numbers as array's kind."""
    narrow = Line(array.dtype)

    def code(context, builder, signature, arguments):
        wide = arguments[0]
        return wide if line == narrow else builder.fptrunc(wide, context.get_value_type(narrow))

    return narrow(line, array), code


@intrinsic
def plus_products(typing, total, x, y):
    """The Line total + x * y."""

    def code(context, builder, signature, arguments):
        total, x, y = arguments
        return builder.fadd(total, builder.fmul(x, y, flags=["contract"]), flags=["contract"])

    return total(total, x, y), code


@intrinsic
def put_sums(typing, x, y, array, place):
    """array[place], array[place + 1] = the sums of two Lines' numbers

    Quarters are added to quarters, then eighths, and so on, of both Lines in one register.
    """
    _check_writable(array)

    def code(context, builder, signature, arguments):
        x, y, array, place = arguments
        half = LANES // 2  # numbers of each Line that are left after the next addition
        lanes = range(2 * LANES)  # of x, then of y
        first = (*lanes[:half], *lanes[LANES : LANES + half])
        second = (*lanes[half:LANES], *lanes[LANES + half :])
        total = _folded(builder, x, y, first, second)
        while half > 1:
            lanes, quarter = range(2 * half), half // 2
            first = (*lanes[:quarter], *lanes[half : half + quarter])
            second = (*lanes[quarter:half], *lanes[half + quarter :])
            total, half = _folded(builder, total, total, first, second), quarter
        pointer = _pointer(context, builder, signature.args[2], array, place)
        pointer = builder.bitcast(pointer, total.type.as_pointer())
        builder.store(total, pointer, align=signature.args[2].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, y, array, types.intp), code


def _folded(builder, x, y, first, second):
    """Two choices from the lanes of x and y, added."""
    lanes = ir.VectorType(ir.IntType(32), len(first))
    parts = [builder.shuffle_vector(x, y, ir.Constant(lanes, list(c))) for c in (first, second)]
    return builder.fadd(*parts)


# The tile: sums[r] = the sum over k of x[start + rows[m + r] + steps[k]] * y[first + lines[k]]


@part
def _wide_tile(x, start, rows, m, steps, y, first, lines, sums):
    """The lines of y are 2 * LANES long, as are those of sums."""
    a0 = a1 = a2 = a3 = a4 = a5 = zeros(x)
    b0 = b1 = b2 = b3 = b4 = b5 = zeros(x)
    row0, row1 = start + number(rows, m), start + number(rows, m + 1)
    row2, row3 = start + number(rows, m + 2), start + number(rows, m + 3)
    row4, row5 = start + number(rows, m + 4), start + number(rows, m + 5)
    for k in range(len(steps)):
        step = number(steps, k)
        line = first + number(lines, k)
        a, b = load(y, line), load(y, line + LANES)
        factor = number(x, row0 + step)
        a0, b0 = plus_product(a0, factor, a), plus_product(b0, factor, b)
        factor = number(x, row1 + step)
        a1, b1 = plus_product(a1, factor, a), plus_product(b1, factor, b)
        factor = number(x, row2 + step)
        a2, b2 = plus_product(a2, factor, a), plus_product(b2, factor, b)
        factor = number(x, row3 + step)
        a3, b3 = plus_product(a3, factor, a), plus_product(b3, factor, b)
        factor = number(x, row4 + step)
        a4, b4 = plus_product(a4, factor, a), plus_product(b4, factor, b)
        factor = number(x, row5 + step)
        a5, b5 = plus_product(a5, factor, a), plus_product(b5, factor, b)
    store(a0, sums, 0), store(b0, sums, LANES)
    store(a1, sums, 2 * LANES), store(b1, sums, 3 * LANES)
    store(a2, sums, 4 * LANES), store(b2, sums, 5 * LANES)
    store(a3, sums, 6 * LANES), store(b3, sums, 7 * LANES)
    store(a4, sums, 8 * LANES), store(b4, sums, 9 * LANES)
    store(a5, sums, 10 * LANES), store(b5, sums, 11 * LANES)


@part
def _narrow_tile(x, start, rows, m, steps, panel, sums):
    """The same with lines of LANES numbers, which lie side by side in panel.

    Six sums alone would wait for one another; so every second step has six of its own.
    """
    a0 = a1 = a2 = a3 = a4 = a5 = zeros(x)
    b0 = b1 = b2 = b3 = b4 = b5 = zeros(x)
    row0, row1 = start + number(rows, m), start + number(rows, m + 1)
    row2, row3 = start + number(rows, m + 2), start + number(rows, m + 3)
    row4, row5 = start + number(rows, m + 4), start + number(rows, m + 5)
    for k in range(0, len(steps) - 1, 2):
        i, j = number(steps, k), number(steps, k + 1)
        a, b = load(panel, k * LANES), load(panel, k * LANES + LANES)
        a0, b0 = plus_product(a0, number(x, row0 + i), a), plus_product(b0, number(x, row0 + j), b)
        a1, b1 = plus_product(a1, number(x, row1 + i), a), plus_product(b1, number(x, row1 + j), b)
        a2, b2 = plus_product(a2, number(x, row2 + i), a), plus_product(b2, number(x, row2 + j), b)
        a3, b3 = plus_product(a3, number(x, row3 + i), a), plus_product(b3, number(x, row3 + j), b)
        a4, b4 = plus_product(a4, number(x, row4 + i), a), plus_product(b4, number(x, row4 + j), b)
        a5, b5 = plus_product(a5, number(x, row5 + i), a), plus_product(b5, number(x, row5 + j), b)
    if len(steps) % 2:
        k = len(steps) - 1
        i, a = number(steps, k), load(panel, k * LANES)
        a0, a1 = plus_product(a0, number(x, row0 + i), a), plus_product(a1, number(x, row1 + i), a)
        a2, a3 = plus_product(a2, number(x, row2 + i), a), plus_product(a3, number(x, row3 + i), a)
        a4, a5 = plus_product(a4, number(x, row4 + i), a), plus_product(a5, number(x, row5 + i), a)
    store(plus(a0, b0), sums, 0), store(plus(a1, b1), sums, LANES)
    store(plus(a2, b2), sums, 2 * LANES), store(plus(a3, b3), sums, 3 * LANES)
    store(plus(a4, b4), sums, 4 * LANES), store(plus(a5, b5), sums, 5 * LANES)


PACK_FROM = 5 * ROWS  # rows of x; fewer don't repay the copy

# The kernel. What it multiplies is found through tables of places in flat arrays, which are what
# tells a matrix from its transpose, and either from the windows of an image.


@part
def _pack(y, first, lines, y_column, columns, panel, width):
    """panel[k, c] = y[first + lines[k] + c * y_column], for a panel (K, width)"""
    for k in range(len(lines)):
        start = first + number(lines, k)
        if y_column == 1:
            for c in range(0, width, LANES):
                store(load_part(y, start + c, columns - c), panel, k * width + c)
        else:
            for c in range(columns):
                put_number(panel, k * width + c, number(y, start + c * y_column))


@part
def _unpack(sums, first, out, start, out_column, columns, add):
    """out[start + c * out_column] = or += sums[first + c]"""
    if out_column == 1:
        for c in range(0, columns, LANES):
            line = load(sums, first + c)
            if add:
                line = plus(line, load_part(out, start + c, columns - c))
            store_part(line, out, start + c, columns - c)
    else:
        for c in range(columns):
            place, sum_c = start + c * out_column, number(sums, first + c)
            put_number(out, place, number(out, place) + sum_c if add else sum_c)


@kernel(
    "real[::1], int64, int64[::1], int64[::1], real[::1], int64, int64[::1], int64,"
    "real[::1], int64, int64[::1], int64, int64, int64, boolean"
)
def products(
    x, x_next, rows, steps, y, y_next, lines, y_column,
    out, out_next, out_rows, out_column, columns, images, add,
):  # fmt: skip
    """out[out_rows[m] + n * out_column] = or += the sum over k of

        x[rows[m] + steps[k]] * y[lines[k] + n * y_column]

    for every n below columns, and so for as many images (or matrices) as there are: from one to the
    next it is x_next, y_next and out_next numbers. Where out_next is 0, their sums are added up.
    rows is longer than out_rows, to a multiple of ROWS.
    """
    panel, panel_lines = np.empty(len(steps) * 2 * LANES, x.dtype), np.empty_like(lines)
    sums = np.empty(ROWS * 2 * LANES, x.dtype)
    for n in range(0, columns, 2 * LANES):
        some = min(columns - n, 2 * LANES)
        width = LANES if some <= LANES else 2 * LANES
        # Wide lines are read where they are, if they are there in full, and only a few times.
        packed = y_column != 1 or some < 2 * LANES or len(rows) > PACK_FROM
        own_y, own_lines = (panel, panel_lines) if packed else (y, lines)
        for k in range(len(steps)):
            panel_lines[k] = k * width
        for image in range(images):
            first = image * y_next + n * y_column
            if packed:
                if image == 0 or y_next != 0:
                    _pack(y, first, lines, y_column, some, panel, width)
                first = 0
            for m in range(0, len(out_rows), ROWS):
                start = image * x_next
                if width == LANES:
                    _narrow_tile(x, start, rows, m, steps, panel, sums)
                else:
                    _wide_tile(x, start, rows, m, steps, own_y, first, own_lines, sums)
                more = add or (image > 0 and out_next == 0)
                for r in range(min(ROWS, len(out_rows) - m)):
                    start = image * out_next + out_rows[m + r] + n * out_column
                    _unpack(sums, r * width, out, start, out_column, some, more)


# A product with few columns. Lines of ten numbers would leave a part of each register idle, so here
# lines go along k: those of x as they are, those of y, which is transposed before, side by side in
# a panel. Each result is the sum of a Line's numbers.


@kernel("real[::1], real[::1], int64, int64, real[::1], int64, int64, int64, int64")
def products_of_few_columns(x, y, y_row, y_column, out, B, M, K, N):
    """out (B, M, N) = x (B, M, K) . y (B, K, N); y's numbers lie y_row and y_column apart."""
    width = K + -K % LANES  # of a row of the panel, which ends with zeros
    panel, sums = np.zeros((N + -N % 5) * width, x.dtype), np.empty(10, x.dtype)
    for b in range(B):
        for n in range(N):
            first = b * K * N + n * y_column
            for k in range(K):
                put_number(panel, n * width + k, number(y, first + k * y_row))
        for m in range(0, M, 2):
            second = min(m + 1, M - 1)  # of an odd number of rows the last is computed twice
            row, next_row = (b * M + m) * K, (b * M + second) * K
            for n in range(0, N, 5):  # 2 x 5 sums
                a0 = a1 = a2 = a3 = a4 = zeros(x)
                b0 = b1 = b2 = b3 = b4 = zeros(x)
                for k in range(0, K, LANES):
                    p, q = load_part(x, row + k, K - k), load_part(x, next_row + k, K - k)
                    place = n * width + k
                    line = load(panel, place)
                    a0, b0 = plus_products(a0, p, line), plus_products(b0, q, line)
                    line = load(panel, place + width)
                    a1, b1 = plus_products(a1, p, line), plus_products(b1, q, line)
                    line = load(panel, place + 2 * width)
                    a2, b2 = plus_products(a2, p, line), plus_products(b2, q, line)
                    line = load(panel, place + 3 * width)
                    a3, b3 = plus_products(a3, p, line), plus_products(b3, q, line)
                    line = load(panel, place + 4 * width)
                    a4, b4 = plus_products(a4, p, line), plus_products(b4, q, line)
                put_sums(a0, b0, sums, 0), put_sums(a1, b1, sums, 2), put_sums(a2, b2, sums, 4)
                put_sums(a3, b3, sums, 6), put_sums(a4, b4, sums, 8)
                for c in range(min(5, N - n)):
                    put_number(out, (b * M + m) * N + n + c, number(sums, 2 * c))
                    put_number(out, (b * M + second) * N + n + c, number(sums, 2 * c + 1))
