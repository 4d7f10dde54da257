/* transpose.h: transposes a matrix by square blocks in registers.

   A transposition element by element uses one element of each vector that is loaded. Here a block of n
   vectors of n lanes is transposed in log2(n) steps. The first step exchanges single elements, the
   second squares of 2 x 2 elements, and so on:

       a0 a1 a2 a3      a0 b0 a2 b2      a0 b0 c0 d0
       b0 b1 b2 b3      a1 b1 a3 b3      a1 b1 c1 d1
       c0 c1 c2 c3      c0 d0 c2 d2      a2 b2 c2 d2
       d0 d1 d2 d3      c1 d1 c3 d3      a3 b3 c3 d3

   Each step takes two rows that are `distance` rows apart and shuffles their lanes into two new rows. */
#ifndef TT_TRANSPOSE_H
#define TT_TRANSPOSE_H
#include "machine.h"
#include "tile.h"
#include <stdint.h>
#include <string.h>

/* The lanes that form the new first row and the new second row. The n lanes of the old second row have
   the numbers n to 2 n - 1. */
#define FIRST(lane, n, distance) ((lane) & (distance) ? (n) + (lane) - (distance) : (lane))
#define SECOND(lane, n, distance) ((lane) & (distance) ? (n) + (lane) : (lane) + (distance))

#define LANES_2(f, n, d) f(0, n, d), f(1, n, d)
#define LANES_4(f, n, d) LANES_2(f, n, d), f(2, n, d), f(3, n, d)
#define LANES_8(f, n, d) LANES_4(f, n, d), f(4, n, d), f(5, n, d), f(6, n, d), f(7, n, d)
#define LANES_16(f, n, d) LANES_8(f, n, d), f(8, n, d), f(9, n, d), f(10, n, d), f(11, n, d), \
                          f(12, n, d), f(13, n, d), f(14, n, d), f(15, n, d)
#define LANES_OF(n, f, d) LANES_##n(f, n, d)
#define EACH_LANE(n, f, d) LANES_OF(n, f, (d) % (n)) /* for d >= n this code is compiled but never runs */

/* An integer of the size of `real` */
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 4, (int32_t)0, (int64_t)0)) lane_number;

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) \
    __builtin_shuffle(a, b, (lane_number __attribute__((vector_size(sizeof(a))))){__VA_ARGS__})
#endif

#define EXCHANGE(block, n, distance)                                               \
    UNROLL                                                                         \
    for (int i = 0; i + (distance) < (n); i++)                                     \
        if (!(i & (distance))) {                                                   \
            const __typeof__(*block) a = block[i], b = block[i + (distance)];      \
            block[i] = SHUFFLE(a, b, EACH_LANE(n, FIRST, distance));               \
            block[i + (distance)] = SHUFFLE(a, b, EACH_LANE(n, SECOND, distance)); \
        }

/* out[c][r] = x[r][c] for at least n rows and n columns. The last block of a row or column may overlap
   the previous block. */
#define TRANSPOSE_BY(name, type, n)                                               \
    static ALWAYS_INLINE void name(real *out, int64_t out_row, const real *x, int64_t x_row, int64_t rows, int64_t columns) \
    {                                                                             \
        for (int64_t j = 0; j < columns; j += (n)) {                              \
            const int64_t c = j < columns - (n) ? j : columns - (n);              \
            for (int64_t i = 0; i < rows; i += (n)) {                             \
                const int64_t r = i < rows - (n) ? i : rows - (n);                \
                type block[n];                                                    \
                UNROLL                                                            \
                for (int k = 0; k < (n); k++)                                     \
                    memcpy(&block[k], x + (r + k) * x_row + c, sizeof(type));     \
                EXCHANGE(block, n, 1)                                             \
                EXCHANGE(block, n, 2)                                             \
                EXCHANGE(block, n, 4)                                             \
                EXCHANGE(block, n, 8)                                             \
                UNROLL                                                            \
                for (int k = 0; k < (n); k++)                                     \
                    memcpy(out + (c + k) * out_row + r, &block[k], sizeof(type)); \
            }                                                                     \
        }                                                                         \
    }

typedef real four __attribute__((vector_size(4 * sizeof(real))));
TRANSPOSE_BY(transpose_by_fours, four, 4)
TRANSPOSE_BY(transpose_by_vectors, vector, VECTOR)

/* out[c][r] = x[r][c] */
static __attribute__((noinline)) void transpose(real *out, int64_t out_row, const real *x, int64_t x_row, int64_t rows, int64_t columns)
{
    const int64_t shorter = rows < columns ? rows : columns;
    if (columns == 1 && x_row == 1)
        memcpy(out, x, rows * sizeof(real));
    else if (shorter >= VECTOR)
        transpose_by_vectors(out, out_row, x, x_row, rows, columns);
    else if (shorter >= 4)
        transpose_by_fours(out, out_row, x, x_row, rows, columns);
    else
        for (int64_t c = 0; c < columns; c++)
            for (int64_t r = 0; r < rows; r++)
                out[c * out_row + r] = x[r * x_row + c];
}

#define ADD_PAIRS(block, distance)                                     \
    UNROLL                                                             \
    for (int i = 0; i + (distance) < VECTOR; i += 2 * (distance)) {    \
        const vector a = block[i], b = block[i + (distance)];          \
        block[i] = SHUFFLE(a, b, EACH_LANE(VECTOR, FIRST, distance)) + \
                   SHUFFLE(a, b, EACH_LANE(VECTOR, SECOND, distance)); \
    }

/* Lane i of the result is the sum of the lanes of block[i]. The steps are those of a transposition, but
   each step adds the two new rows. */
static ALWAYS_INLINE vector sums_of_lanes(vector block[VECTOR])
{
    ADD_PAIRS(block, 1)
    ADD_PAIRS(block, 2)
    ADD_PAIRS(block, 4)
    ADD_PAIRS(block, 8)
    return block[0];
}

#endif
