"""Sums of products in vector registers: the inner loop of matmul and of convolution.

The naive triple loop of a product x . y reads two elements from memory for each multiplication.
Here a tile of sums is kept in registers:

    for k in range(K):
        for r in range(ROWS):
            sums[r] += x[r, k] * y[k, :2 * LANES]  # two registers

Numba has no type for a vector register. The first part of this file defines one, `Vector`, with the
operations that the tile needs. Each operation is one instruction of the CPU.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_model

from tinytensor.backends.numba.compiling import kernel, subroutine

ROWS = 6  # rows of the tile: 2 registers for each row and 3 for operands fit into 16 registers
_FEATURES = llvmlite.binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4  # floats in a register


class Vector(types.Type):
    """The type of a register with LANES elements."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class VectorModel(PrimitiveModel):
    """What LLVM calls a Vector: a vector."""

    def __init__(self, manager, vector):
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, LANES))


def _check_writable(array):
    if not array.mutable:
        raise TypingError("a read-only array can't be written to")


def _pointer(context, builder, array_type, array, place):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [place])


@intrinsic
def item(typing, array, place):
    """Return array[place] without the check for a negative index."""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments)
        return context.unpack_value(builder, array.dtype, pointer)

    return array.dtype(array, types.intp), code


@intrinsic
def set_item(typing, array, place, value):
    """array[place] = value, without the check for a negative index"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments[:2])
        context.pack_value(builder, array.dtype, arguments[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), code


@intrinsic
def zeros(typing, array):
    """Return a Vector of zeros with the dtype of the array."""
    vector = Vector(array.dtype)

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array), code


@intrinsic
def load(typing, array, place):
    """Return array[place : place + LANES] as a Vector."""
    vector = Vector(array.dtype)

    def code(context, builder, signature, arguments):
        pointer = _vector_pointer(context, builder, array, *arguments)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), code


@intrinsic
def store(typing, vector, array, place):
    """array[place : place + LANES] = vector"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _vector_pointer(context, builder, array, *arguments[1:])
        builder.store(arguments[0], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, array, types.intp), code


@intrinsic
def prefetch(typing, array, place):
    """Start to load array[place] into the L2 cache, without waiting for it."""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments)
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number]),
            "llvm.prefetch.p0",
        )
        to_read, level_2, data = number(0), number(2), number(1)
        builder.call(function, (pointer, to_read, level_2, data))
        return context.get_dummy_value()

    return types.void(array, types.intp), code


def _vector_pointer(context, builder, array_type, array, place):
    pointer = _pointer(context, builder, array_type, array, place)
    return builder.bitcast(pointer, context.get_value_type(Vector(array_type.dtype)).as_pointer())


@intrinsic
def load_part(typing, array, place, count):
    """Return array[place : place + count], filled up with zeros; count may exceed LANES."""
    vector = Vector(array.dtype)

    def code(context, builder, signature, arguments):
        pointer = _vector_pointer(context, builder, array, *arguments[:2])
        align, mask = _ALIGN(array.dtype.bitwidth // 8), _first_lanes(builder, arguments[2])
        behind = ir.Constant(context.get_value_type(vector), None)
        return _masked(builder, "load", behind.type, (pointer, align, mask, behind))

    return vector(array, types.intp, types.intp), code


@intrinsic
def store_part(typing, vector, array, place, count):
    """array[place : place + count] = the first elements of vector; count may exceed LANES"""
    _check_writable(array)

    def code(context, builder, signature, arguments):
        pointer = _vector_pointer(context, builder, array, *arguments[1:3])
        align, mask = _ALIGN(array.dtype.bitwidth // 8), _first_lanes(builder, arguments[3])
        _masked(builder, "store", ir.VoidType(), (arguments[0], pointer, align, mask))
        return context.get_dummy_value()

    return types.void(vector, array, types.intp, types.intp), code


_ALIGN = ir.IntType(32)


def _masked(builder, name, result, arguments):
    """Call LLVM's masked load or store, which does not access the memory of masked lanes."""
    vector = result if name == "load" else arguments[0].type
    kind = "f32" if vector.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(result, [argument.type for argument in arguments]),
        f"llvm.masked.{name}.v{LANES}{kind}.p0",
    )
    return builder.call(function, arguments)


def _first_lanes(builder, count):
    """Return a mask: True for the first `count` lanes, False for the rest."""
    lanes = ir.VectorType(count.type, LANES)
    return builder.icmp_signed(
        "<", ir.Constant(lanes, list(range(LANES))), _all_lanes(builder, count)
    )


def _all_lanes(builder, value):
    """Return a vector with the same value in all lanes."""
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(vector, vector, zeros)


@intrinsic
def widened(typing, vector):
    """Return the Vector converted to float64."""
    wide = Vector(types.float64)

    def code(context, builder, signature, arguments):
        (narrow,) = arguments
        return narrow if vector == wide else builder.fpext(narrow, context.get_value_type(wide))

    return wide(vector), code


@intrinsic
def plus(typing, x, y):
    """Return the Vector x + y."""

    def code(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return x(x, y), code


@intrinsic
def plus_product(typing, total, factor, vector):
    """Return the Vector total + factor * vector, where factor is a scalar."""

    def code(context, builder, signature, arguments):
        total, factor, vector = arguments
        product = builder.fmul(_all_lanes(builder, factor), vector, flags=["contract"])
        return builder.fadd(total, product, flags=["contract"])

    return total(total, total.dtype, vector), code


@intrinsic
def narrowed(typing, vector, array):
    """Return the Vector converted to the dtype of the array."""
    narrow = Vector(array.dtype)

    def code(context, builder, signature, arguments):
        wide = arguments[0]
        return wide if vector == narrow else builder.fptrunc(wide, context.get_value_type(narrow))

    return narrow(vector, array), code


def loads_of(count):
    """Return a function that loads a tuple of `count` Vectors, which are `stride` apart."""

    @intrinsic
    def loads(typing, array, first, stride):
        def code(context, builder, signature, arguments):
            x, first, stride = arguments
            places = [
                builder.add(first, builder.mul(stride, ir.Constant(stride.type, i)))
                for i in range(count)
            ]
            pointers = [_vector_pointer(context, builder, array, x, place) for place in places]
            align = array.dtype.bitwidth // 8
            vectors = [builder.load(pointer, align=align) for pointer in pointers]
            return context.make_tuple(builder, signature.return_type, vectors)

        return types.UniTuple(Vector(array.dtype), count)(array, types.intp, types.intp), code

    return loads


def zeros_of(count):
    """Return a function that returns a tuple of `count` Vectors of zeros."""

    @intrinsic
    def zero_vectors(typing, array):
        vectors = types.UniTuple(Vector(array.dtype), count)

        def code(context, builder, signature, arguments):
            return ir.Constant(context.get_value_type(vectors), None)

        return vectors(array), code

    return zero_vectors


@intrinsic
def plus_products(typing, sums, x, y):
    """Return the tuple of sums[i * len(y) + j] + x[i] * y[j], where all elements are Vectors."""

    def code(context, builder, signature, arguments):
        sums, x, y = (cgutils.unpack_tuple(builder, argument) for argument in arguments)
        products = [builder.fmul(x_i, y_j, flags=["contract"]) for x_i in x for y_j in y]
        totals = [
            builder.fadd(total, product, flags=["contract"])
            for total, product in zip(sums, products, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, totals)

    return sums(sums, x, y), code


@intrinsic
def put_sums(typing, sums, array):
    """array[i] = the sum of the lanes of sums[i]; the last element may be written twice

    Each step adds one half of the lanes to the other half, for two Vectors in one register.
    """
    _check_writable(array)

    def code(context, builder, signature, arguments):
        vectors, array = cgutils.unpack_tuple(builder, arguments[0]), arguments[1]
        array_type = signature.args[1]
        for i in range(0, len(vectors), 2):
            x, y = vectors[i], vectors[min(i + 1, len(vectors) - 1)]
            half = LANES // 2  # lanes of x, and of y, after the next addition
            lanes = range(2 * LANES)  # of x, then of y
            first = (*lanes[:half], *lanes[LANES : LANES + half])
            second = (*lanes[half:LANES], *lanes[LANES + half :])
            total = _folded(builder, x, y, first, second)
            while half > 1:
                lanes, quarter = range(2 * half), half // 2
                first = (*lanes[:quarter], *lanes[half : half + quarter])
                second = (*lanes[quarter:half], *lanes[half + quarter :])
                total, half = _folded(builder, total, total, first, second), quarter
            pointer = _pointer(context, builder, array_type, array, ir.Constant(ir.IntType(64), i))
            pointer = builder.bitcast(pointer, total.type.as_pointer())
            builder.store(total, pointer, align=array_type.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(sums, array), code


def _folded(builder, x, y, first, second):
    """Return the sum of two selections from the lanes of x and y."""
    return builder.fadd(_shuffled(builder, x, y, first), _shuffled(builder, x, y, second))


def _shuffled(builder, x, y, lanes):
    """Return a selection from the lanes of x and y."""
    numbers = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(x, y, ir.Constant(numbers, list(lanes)))


@intrinsic
def transpose_block(typing, x, first, row, rows, columns, out, out_first, out_row):
    """out[out_first + c * out_row + r] = x[first + r * row + c] for r < rows and c < columns

    LANES rows are loaded as Vectors, and at most LANES columns are stored. The elements of two
    Vectors, half of the block apart, are taken by turns; after log2(LANES) such steps, rows have
    become columns.
    """
    _check_writable(out)

    def code(context, builder, signature, arguments):
        x, first, row, rows, columns, out, out_first, out_row = arguments
        x_type, out_type = signature.args[0], signature.args[5]
        align, none = _ALIGN(x_type.dtype.bitwidth // 8), ir.Constant(first.type, 0)
        vector = context.get_value_type(Vector(x_type.dtype))

        def pointer_and_mask(array_type, array, start, stride, i, count, length):
            number = ir.Constant(first.type, i)
            place = builder.add(start, builder.mul(stride, number))
            exists = builder.icmp_signed("<", number, count)
            mask = _first_lanes(builder, builder.select(exists, length, none))
            return _vector_pointer(context, builder, array_type, array, place), mask

        block = []
        for r in range(LANES):
            pointer, mask = pointer_and_mask(x_type, x, first, row, r, rows, columns)
            empty = ir.Constant(vector, None)
            block.append(_masked(builder, "load", vector, (pointer, align, mask, empty)))
        half = LANES // 2
        lower, upper = (
            [i for lane in lanes for i in (lane, LANES + lane)]
            for lanes in (range(half), range(half, LANES))
        )
        for _ in range(half.bit_length()):
            pairs = zip(block[:half], block[half:], strict=True)
            block = [_shuffled(builder, x, y, lanes) for x, y in pairs for lanes in (lower, upper)]
        for c in range(LANES):
            pointer, mask = pointer_and_mask(out_type, out, out_first, out_row, c, columns, rows)
            _masked(builder, "store", ir.VoidType(), (block[c], pointer, align, mask))
        return context.get_dummy_value()

    places = (types.intp,) * 4
    return types.void(x, *places, out, types.intp, types.intp), code


@subroutine
def transpose_to(x, first, row, rows, columns, out, out_first, out_row):
    """The same for any number of rows and columns."""
    for c in range(0, columns, LANES):
        for r in range(0, rows, LANES):
            place, out_place = first + r * row + c, out_first + c * out_row + r
            transpose_block(x, place, row, rows - r, columns - c, out, out_place, out_row)


# The tile: sums[r] = the sum over k of x[start + rows[m + r] + steps[k]] * y[first + y_rows[k]]


@subroutine
def _wide_tile(x, start, rows, m, steps, y, first, y_rows, sums):
    """Rows of y and of sums have 2 * LANES elements."""
    a0 = a1 = a2 = a3 = a4 = a5 = zeros(x)
    b0 = b1 = b2 = b3 = b4 = b5 = zeros(x)
    row0, row1 = start + item(rows, m), start + item(rows, m + 1)
    row2, row3 = start + item(rows, m + 2), start + item(rows, m + 3)
    row4, row5 = start + item(rows, m + 4), start + item(rows, m + 5)
    for k in range(len(steps)):
        step = item(steps, k)
        i = first + item(y_rows, k)
        a, b = load(y, i), load(y, i + LANES)
        factor = item(x, row0 + step)
        a0, b0 = plus_product(a0, factor, a), plus_product(b0, factor, b)
        factor = item(x, row1 + step)
        a1, b1 = plus_product(a1, factor, a), plus_product(b1, factor, b)
        factor = item(x, row2 + step)
        a2, b2 = plus_product(a2, factor, a), plus_product(b2, factor, b)
        factor = item(x, row3 + step)
        a3, b3 = plus_product(a3, factor, a), plus_product(b3, factor, b)
        factor = item(x, row4 + step)
        a4, b4 = plus_product(a4, factor, a), plus_product(b4, factor, b)
        factor = item(x, row5 + step)
        a5, b5 = plus_product(a5, factor, a), plus_product(b5, factor, b)
    store(a0, sums, 0), store(b0, sums, LANES)
    store(a1, sums, 2 * LANES), store(b1, sums, 3 * LANES)
    store(a2, sums, 4 * LANES), store(b2, sums, 5 * LANES)
    store(a3, sums, 6 * LANES), store(b3, sums, 7 * LANES)
    store(a4, sums, 8 * LANES), store(b4, sums, 9 * LANES)
    store(a5, sums, 10 * LANES), store(b5, sums, 11 * LANES)


@subroutine
def _narrow_tile(x, start, rows, m, steps, panel, sums):
    """The same with rows of LANES elements, which are contiguous in panel.

    With only six sums each addition would wait for the previous one, so even and odd steps have
    separate sums.
    """
    a0 = a1 = a2 = a3 = a4 = a5 = zeros(x)
    b0 = b1 = b2 = b3 = b4 = b5 = zeros(x)
    row0, row1 = start + item(rows, m), start + item(rows, m + 1)
    row2, row3 = start + item(rows, m + 2), start + item(rows, m + 3)
    row4, row5 = start + item(rows, m + 4), start + item(rows, m + 5)
    for k in range(0, len(steps) - 1, 2):
        i, j = item(steps, k), item(steps, k + 1)
        a, b = load(panel, k * LANES), load(panel, k * LANES + LANES)
        a0, b0 = plus_product(a0, item(x, row0 + i), a), plus_product(b0, item(x, row0 + j), b)
        a1, b1 = plus_product(a1, item(x, row1 + i), a), plus_product(b1, item(x, row1 + j), b)
        a2, b2 = plus_product(a2, item(x, row2 + i), a), plus_product(b2, item(x, row2 + j), b)
        a3, b3 = plus_product(a3, item(x, row3 + i), a), plus_product(b3, item(x, row3 + j), b)
        a4, b4 = plus_product(a4, item(x, row4 + i), a), plus_product(b4, item(x, row4 + j), b)
        a5, b5 = plus_product(a5, item(x, row5 + i), a), plus_product(b5, item(x, row5 + j), b)
    if len(steps) % 2:
        k = len(steps) - 1
        i, a = item(steps, k), load(panel, k * LANES)
        a0, a1 = plus_product(a0, item(x, row0 + i), a), plus_product(a1, item(x, row1 + i), a)
        a2, a3 = plus_product(a2, item(x, row2 + i), a), plus_product(a3, item(x, row3 + i), a)
        a4, a5 = plus_product(a4, item(x, row4 + i), a), plus_product(a5, item(x, row5 + i), a)
    store(plus(a0, b0), sums, 0), store(plus(a1, b1), sums, LANES)
    store(plus(a2, b2), sums, 2 * LANES), store(plus(a3, b3), sums, 3 * LANES)
    store(plus(a4, b4), sums, 4 * LANES), store(plus(a5, b5), sums, 5 * LANES)


PACK_FROM = 5 * ROWS  # rows of x; with fewer, packing y takes longer than it saves

# The kernel. Tables of indices in flat arrays describe its operands, so the same code multiplies a
# matrix, a transposed matrix and the windows of an image.


@subroutine
def _pack(y, first, y_rows, y_column, columns, panel, width):
    """panel[k, c] = y[first + y_rows[k] + c * y_column], for a panel (K, width)"""
    for k in range(len(y_rows)):
        start = first + item(y_rows, k)
        if y_column == 1:
            for c in range(0, width, LANES):
                store(load_part(y, start + c, columns - c), panel, k * width + c)
        else:
            for c in range(columns):
                set_item(panel, k * width + c, item(y, start + c * y_column))


@subroutine
def _unpack(sums, first, out, start, out_column, columns, add):
    """out[start + c * out_column] = or += sums[first + c]

    0 is added to sums that are only stored, so that a sum of 0 is always +0.
    """
    if out_column == 1:
        for c in range(0, columns, LANES):
            total = load(sums, first + c)
            if add:
                total = plus(total, load_part(out, start + c, columns - c))
            else:
                total = plus(total, zeros(out))
            store_part(total, out, start + c, columns - c)
    else:
        for c in range(columns):
            place = start + c * out_column
            before = item(out, place) if add else out.dtype.type(0)
            set_item(out, place, before + item(sums, first + c))


@kernel(
    "real[::1], int64, int64[::1], int64[::1], real[::1], int64, int64[::1], int64,"
    "real[::1], int64, int64[::1], int64, int64, int64, boolean"
)
def products(
    x, x_next, rows, steps, y, y_next, y_rows, y_column,
    out, out_next, out_rows, out_column, columns, images, add,
):  # fmt: skip
    """out[out_rows[m] + n * out_column] = (or +=) the sum over k of

        x[rows[m] + steps[k]] * y[y_rows[k] + n * y_column]

    for n < columns, and for each of `images` images or matrices. x_next, y_next and out_next are
    the distances from one image to the next; if out_next is 0, the results of all are added up.
    rows is out_rows with its last element repeated, so that its length is a multiple of ROWS.
    """
    panel, panel_rows = np.empty(len(steps) * 2 * LANES, x.dtype), np.empty_like(y_rows)
    sums = np.empty(ROWS * 2 * LANES, x.dtype)
    for n in range(0, columns, 2 * LANES):
        count = min(columns - n, 2 * LANES)
        width = LANES if count <= LANES else 2 * LANES
        # Complete rows of y are read in place if x has at most PACK_FROM rows.
        packed = y_column != 1 or count < 2 * LANES or len(rows) > PACK_FROM
        tile_y, tile_rows = (panel, panel_rows) if packed else (y, y_rows)
        for k in range(len(steps)):
            panel_rows[k] = k * width
        for image in range(images):
            first = image * y_next + n * y_column
            if packed:
                if image == 0 or y_next != 0:
                    _pack(y, first, y_rows, y_column, count, panel, width)
                first = 0
            for m in range(0, len(out_rows), ROWS):
                start = image * x_next
                if width == LANES:
                    _narrow_tile(x, start, rows, m, steps, panel, sums)
                else:
                    _wide_tile(x, start, rows, m, steps, tile_y, first, tile_rows, sums)
                more = add or (image > 0 and out_next == 0)
                for r in range(min(ROWS, len(out_rows) - m)):
                    start = image * out_next + out_rows[m + r] + n * out_column
                    _unpack(sums, r * width, out, start, out_column, count, more)


# Most elements of x are 0, as in images of digits. If x[rows[m] + step] is 0 in all ROWS rows of a
# tile, the tile skips the step, because the products would add nothing.

SAMPLES = 256  # elements of x from which the share of zeros is estimated


@subroutine
def _is_sparse(x):
    """True if at least half of some elements of x are 0."""
    zeros = samples = 0
    for i in range(0, len(x), len(x) // SAMPLES + 1):
        samples += 1
        if x[i] == 0:
            zeros += 1
    return 2 * zeros >= samples


@kernel(
    "real[::1], int64[::1], int64[::1], real[::1], int64[::1], int64, real[::1], int64[::1], int64"
)
def sparse_products(x, rows, steps, y, y_rows, y_column, out, out_rows, columns):
    """The same as products() for one matrix.

    If a panel of y holds an infinity or a NaN, nothing is skipped, because 0 times infinity is NaN.
    """
    K, strips, width = len(steps), len(rows) // ROWS, 2 * LANES
    some_steps, some_rows = np.empty(strips * K, np.int64), np.empty(strips * K, np.int64)
    lengths = np.zeros(strips, np.int64)
    all_rows = np.empty(K, np.int64)
    panel, sums = np.empty(K * width, x.dtype), np.empty(ROWS * width, x.dtype)
    may_skip = _is_sparse(x)
    for k in range(K):
        all_rows[k] = k * width
    if may_skip:
        for s in range(strips):
            for k in range(K):
                place = s * K + lengths[s]
                set_item(some_steps, place, item(steps, k))
                set_item(some_rows, place, item(all_rows, k))
                for r in range(ROWS):
                    if item(x, item(rows, s * ROWS + r) + item(steps, k)) != 0:
                        lengths[s] += 1
                        break
    for n in range(0, columns, width):
        count = min(columns - n, width)
        is_narrow = count <= LANES
        row = LANES if is_narrow else width
        _pack(y, n * y_column, y_rows, y_column, count, panel, row)
        is_finite = may_skip and not is_narrow
        if is_finite:
            for k in range(K):
                for c in range(count):
                    is_finite &= np.isfinite(item(panel, k * width + c))
        for m in range(0, len(out_rows), ROWS):
            if is_narrow:  # its even and odd steps have separate sums
                _narrow_tile(x, 0, rows, m, steps, panel, sums)
            elif is_finite:
                start = m // ROWS * K
                end = start + lengths[m // ROWS]
                lists = some_steps[start:end], some_rows[start:end]
                _wide_tile(x, 0, rows, m, lists[0], panel, 0, lists[1], sums)
            else:
                _wide_tile(x, 0, rows, m, steps, panel, 0, all_rows, sums)
            for r in range(min(ROWS, len(out_rows) - m)):
                _unpack(sums, r * row, out, out_rows[m + r] + n, 1, count, False)


# A product with few columns. Rows of ten elements would not fill a register, so the lanes go along
# k: along the rows of x, and along the columns of y, which are first copied to rows of a panel.
# Each result is the sum of the lanes of a Vector.

DOT_ROWS = 5 if LANES == 16 else 2  # with DOT_COLUMNS they fill the registers
DOT_COLUMNS = 5
_load_rows, _load_columns = loads_of(DOT_ROWS), loads_of(DOT_COLUMNS)
_zeros = zeros_of(DOT_ROWS * DOT_COLUMNS)


@kernel("real[::1], real[::1], int64, int64, real[::1], int64, int64, int64, int64")
def products_of_few_columns(x, y, y_row, y_column, out, B, M, K, N):
    """out (B, M, N) = x (B, M, K) . y (B, K, N), where y_row and y_column are the strides of y."""
    width, whole = K + -K % LANES, K - K % LANES
    panel = np.empty((N + -N % DOT_COLUMNS) * width, x.dtype)
    rest = np.zeros(DOT_ROWS * LANES, x.dtype)  # the ends of rows of x, filled up with zeros
    sums = np.empty(DOT_ROWS * DOT_COLUMNS + 1, x.dtype)
    height, row = (DOT_ROWS, K) if M >= DOT_ROWS else (1, 0)
    for n in range(N, N + -N % DOT_COLUMNS):
        panel[n * width : (n + 1) * width] = 0
    for b in range(B):
        for n in range(N):
            panel[n * width + whole : (n + 1) * width] = 0
        if y_column == 1:
            transpose_to(y, b * K * N, y_row, K, N, panel, 0, width)
        else:
            for n in range(N):
                for k in range(K):
                    set_item(panel, n * width + k, item(y, b * K * N + n * y_column + k))
        for some_rows in range(0, M, height):
            m = min(some_rows, M - height)  # the last rows may be computed twice
            start = (b * M + m) * K
            for r in range(height):
                for k in range(whole, K):
                    set_item(rest, r * LANES + k - whole, item(x, start + r * K + k))
            for n in range(0, N, DOT_COLUMNS):
                totals, first = _zeros(x), n * width
                for k in range(0, whole, LANES):
                    parts = _load_rows(x, start + k, row), _load_columns(panel, first + k, width)
                    totals = plus_products(totals, parts[0], parts[1])
                if whole < K:
                    columns = _load_columns(panel, first + whole, width)
                    totals = plus_products(totals, _load_rows(rest, 0, LANES), columns)
                put_sums(totals, sums)
                for r in range(height):
                    place = (b * M + m + r) * N + n
                    for c in range(min(DOT_COLUMNS, N - n)):
                        set_item(out, place + c, item(sums, r * DOT_COLUMNS + c))
