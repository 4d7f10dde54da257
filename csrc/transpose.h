/* transpose.h: rows become columns, by vectors of FEW_LANES numbers.

   A number at a time, each load brings one that is used. Two rounds of interleaving turn a block of
   four rows of four:

       a0 a1 a2 a3      a0 c0 a1 c1      a0 b0 c0 d0
       b0 b1 b2 b3      a2 c2 a3 c3      a1 b1 c1 d1
       c0 c1 c2 c3      b0 d0 b1 d1      a2 b2 c2 d2
       d0 d1 d2 d3      b2 d2 b3 d3      a3 b3 c3 d3 */
#ifndef TT_TRANSPOSE_H
#define TT_TRANSPOSE_H
#include "machine.h"
#include "tile.h"
#include <stdint.h>
#include <string.h>

typedef real few __attribute__((vector_size(FEW_LANES * sizeof(real))));
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 4, (int32_t)0, (int64_t)0)) place;
typedef place few_places __attribute__((vector_size(sizeof(few))));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (few_places){__VA_ARGS__})
#endif
#define LOWER(a, b) SHUFFLE(a, b, 0, 4, 1, 5) /* a0 b0 a1 b1 */
#define UPPER(a, b) SHUFFLE(a, b, 2, 6, 3, 7)

/* out[c][r] = x[r][c]; the last block of a row or a column may overlap the one before. */
static __attribute__((noinline)) void transpose(real *out, int64_t out_row, const real *x, int64_t x_row, int64_t rows, int64_t columns)
{
    if (columns == 1 && x_row == 1) {
        memcpy(out, x, rows * sizeof(real));
        return;
    }
    if (rows < FEW_LANES || columns < FEW_LANES) {
        for (int64_t c = 0; c < columns; c++)
            for (int64_t r = 0; r < rows; r++)
                out[c * out_row + r] = x[r * x_row + c];
        return;
    }
    for (int64_t j = 0; j < columns; j += FEW_LANES) {
        const int64_t c = j < columns - FEW_LANES ? j : columns - FEW_LANES;
        for (int64_t i = 0; i < rows; i += FEW_LANES) {
            const int64_t r = i < rows - FEW_LANES ? i : rows - FEW_LANES;
            const real *from = x + r * x_row + c;
            real *to = out + c * out_row + r;
            few block[FEW_LANES];
            UNROLL
            for (int k = 0; k < FEW_LANES; k++)
                memcpy(&block[k], from + k * x_row, sizeof(few));
            const few lower_ac = LOWER(block[0], block[2]), upper_ac = UPPER(block[0], block[2]);
            const few lower_bd = LOWER(block[1], block[3]), upper_bd = UPPER(block[1], block[3]);
            block[0] = LOWER(lower_ac, lower_bd), block[1] = UPPER(lower_ac, lower_bd);
            block[2] = LOWER(upper_ac, upper_bd), block[3] = UPPER(upper_ac, upper_bd);
            UNROLL
            for (int k = 0; k < FEW_LANES; k++)
                memcpy(to + k * out_row, &block[k], sizeof(few));
        }
    }
}

#endif
