/* panels.h: the panels of matmul.c and sparse_matmul.c, and a test for infinities.

   A panel holds LANES columns of a matrix, one row after the other, so that a tile reads it from one end
   to the other. */
#ifndef TT_PANELS_H
#define TT_PANELS_H
#include "tile.h"
#include "transpose.h"
#include <stdint.h>
#include <string.h>

typedef lane_number vector_bits __attribute__((vector_size(VECTOR_BYTES))); /* the bits of a vector */

enum {
    DEPTH = 256,    /* elements of a piece of a sum: a panel has 16 KiB, with avx512 32 KiB */
    PANELS = 16,    /* panels that are packed at once: 256 KiB, with avx512 512 KiB */
    ROWS_AHEAD = 4, /* rows between the row that is packed and the one that is fetched */
};

static inline int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t rounded_up(int64_t length, int64_t step) { return (length + step - 1) / step * step; }
static inline int64_t panels_of(int64_t columns) { return (columns + LANES - 1) / LANES; }
static inline int64_t half_panels_of(int64_t columns) { return (columns + LANES / 2 - 1) / (LANES / 2); }

/* Packs columns of a matrix in groups of `width`: packed[c / width][k][c % width] = from[k][c]. The
   columns beyond the last one may hold any values, because their sums are not stored. So `width`
   elements are copied even there, if they are before `end`, where the matrix ends. */
static ALWAYS_INLINE void pack(const int width, real *packed, const real *from, const real *end, int64_t row, int64_t K, int64_t columns)
{
    for (int64_t k = 0; k < K; k++, from += row, packed += width)
        for (int64_t c = 0; c < columns; c += width) {
            __builtin_prefetch(from + ROWS_AHEAD * row + c);
            if (end - from - c >= width)
                memcpy(packed + c * K, from + c, width * sizeof(real));
            else
                for (int64_t i = 0; i < width; i++)
                    packed[c * K + i] = c + i < columns ? from[c + i] : 0;
        }
}

/* panels[n / LANES][k][n % LANES] = y[k][n] */
static void pack_panels(real *panels, const real *y, const real *end, int64_t row, int64_t column, int64_t K, int64_t columns)
{
    if (column == 1)
        pack(LANES, panels, y, end, row, K, columns);
    else
        for (int64_t n = 0; n < columns; n += LANES)
            transpose(panels + n * K, LANES, y + n * column, column, smaller_of(LANES, columns - n), K);
}

/* True if none of n elements is infinite or NaN: then x - x is +0. */
static int all_finite(const real *x, int64_t n)
{
    vector_bits any = {0};
    int64_t i = 0;
    for (; i + VECTOR <= n; i += VECTOR) {
        vector part;
        memcpy(&part, x + i, sizeof part);
        part -= part;
        any |= (vector_bits)part;
    }
    for (; i < n; i++)
        any[0] |= x[i] - x[i] != 0;
    static const vector_bits none;
    return !memcmp(&any, &none, sizeof any);
}

#endif
