/* tile.h: a tile of sums in registers, the inner loop of matmul.c and conv2d.c.

   The naive triple loop of a product x . y reads two elements from memory for each multiplication.
   Here a tile of up to TILE_ROWS x LANES sums is kept in registers:

       for (k = 0; k < K; k++)
           for (r = 0; r < TILE_ROWS; r++)
               for (c = 0; c < LANES; c++)
                   sum[r][c] += x[r][k] * y[k][c];

   so each element that is read is used in LANES or TILE_ROWS multiplications. A convolution repeats
   this loop for several segments, one for each row of its window.

   If half of the LANES are enough for the columns that are left, a tile of half the width is used.
   build.py sets VECTOR, VECTOR_BYTES, ROW_BYTES and TILE_ROWS so that the tile fits into the registers
   of each instruction set. */
#ifndef TT_TILE_H
#define TT_TILE_H
#include "machine.h"
#include <stdint.h>
#include <string.h>

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#define VECTOR 4 /* elements in a register */
#define ROW_BYTES 64
#define TILE_ROWS 2
#endif

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));

enum {
    VECTORS = ROW_BYTES / VECTOR_BYTES, /* registers in a row of the tile */
    LANES = VECTOR * VECTORS,           /* columns of the tile */
    FEW_LANES = 4,                      /* elements that are stored at a time if a row is incomplete */
    NEAR = 5, /* rows of x that share a pointer; there are no registers for more strides */
    /* Padding between the rows of a copy. Rows a power of two apart would use the same cache sets. */
    APART = 64 / sizeof(real),
};

typedef real few_lanes __attribute__((vector_size(sizeof(real[FEW_LANES]))));

/* The rows of a tile if `count` rows are split into tiles of nearly the same height. */
static inline int64_t even_rows(int64_t count)
{
    const int64_t tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    return tiles ? (count + tiles - 1) / tiles : 1;
}

/* out[r][c] = (or +=) the sum over s and k of x[s][r][k] * y[s][k][c], for `segments` segments s.
   All strides are in elements. LANES (or LANES / 2) elements of each row of y are read, even if
   `columns` is smaller. */
typedef struct {
    const real *x;
    int64_t x_row, x_column, x_segment;
    const real *y;
    int64_t y_row, y_segment;
    int64_t K, segments, columns;
    real *out;
    int64_t out_row;
    int add; /* 1 for +=, 0 for = */
    int64_t more, x_tile, y_tile, out_tile; /* the number of further tiles, and the strides to them */
} tile_arguments;

/* Stores one row of sums, or adds it to out. 0 is added to sums that are only stored, so that none of them is
   -0: then sparse_matmul.c computes the same bits. A separate function, because a loop of unknown length
   inside the tile would move the sums from registers to memory. */
static __attribute__((noinline)) void store(const real *sums, real *out, int64_t columns, int add)
{
    int64_t c = 0;
    for (; c + FEW_LANES <= columns; c += FEW_LANES) {
        few_lanes before = {0}, sum;
        if (add)
            memcpy(&before, out + c, sizeof before);
        memcpy(&sum, sums + c, sizeof sum);
        sum += before;
        memcpy(out + c, &sum, sizeof sum);
    }
    for (; c < columns; c++)
        out[c] = (add ? out[c] : 0) + sums[c];
}

/* Stores (or adds) the sums of a tile. */
static ALWAYS_INLINE void store_tile(const int rows, const int vectors, const vector (*sum)[VECTORS], const tile_arguments *a)
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        real *out = a->out + r * a->out_row;
        if (a->columns == vectors * VECTOR) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                vector before = {0};
                if (a->add)
                    memcpy(&before, out + v * VECTOR, sizeof before);
                const vector after = before + sum[r][v];
                memcpy(out + v * VECTOR, &after, sizeof after);
            }
        } else {
            real row[LANES];
            UNROLL
            for (int v = 0; v < vectors; v++)
                memcpy(row + v * VECTOR, &sum[r][v], sizeof(vector));
            store(row, out, a->columns, a->add);
        }
    }
}

static ALWAYS_INLINE void tile(const int rows, const int vectors, const tile_arguments *arguments)
{
    tile_arguments a = *arguments;
    for (; a.more >= 0; a.more--, a.x += a.x_tile, a.y += a.y_tile, a.out += a.out_tile) {
        vector sum[TILE_ROWS][VECTORS] = {0};
        for (int64_t s = 0; s < a.segments; s++) {
            const real *first = a.x + s * a.x_segment, *y = a.y + s * a.y_segment;
            const real *x[] = {first, first + NEAR * a.x_row, first + 2 * NEAR * a.x_row};
            for (int64_t k = 0; k < a.K; k++, y += a.y_row) {
                vector y_row[VECTORS];
                UNROLL
                for (int v = 0; v < vectors; v++) /* one memcpy of all vectors would go through the stack */
                    memcpy(&y_row[v], y + v * VECTOR, sizeof y_row[v]);
                UNROLL
                for (int r = 0; r < rows; r++) {
                    UNROLL
                    for (int v = 0; v < vectors; v++)
                        sum[r][v] += x[r / NEAR][r % NEAR * a.x_row] * y_row[v];
                }
                x[0] += a.x_column, x[1] += a.x_column, x[2] += a.x_column;
            }
        }
        store_tile(rows, vectors, sum, &a);
    }
}

/* Each tile size is a separate function, because the sums are kept in registers only if the numbers of
   rows and vectors are constants. There are tiles of 1 to TILE_ROWS rows. */
#define EACH_OF_2(f) f(1) f(2)
#define EACH_OF_6(f) EACH_OF_2(f) f(3) f(4) f(5) f(6)
#define EACH_OF_14(f) EACH_OF_6(f) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14)
#define EACH_OF(rows, f) EACH_OF_##rows(f)
#define EACH_TILE(rows, f) EACH_OF(rows, f)

#define TILE(rows) static void tile_##rows(const tile_arguments *a) { tile(rows, VECTORS, a); }
#define HALF_TILE(rows) static void half_tile_##rows(const tile_arguments *a) { tile(rows, VECTORS / 2, a); }
EACH_TILE(TILE_ROWS, TILE)
EACH_TILE(TILE_ROWS, HALF_TILE)

#define TILE_NAME(rows) tile_##rows,
#define HALF_TILE_NAME(rows) half_tile_##rows,
static void (*const TILES[2][TILE_ROWS + 1])(const tile_arguments *) = {
    {0, EACH_TILE(TILE_ROWS, TILE_NAME)},
    {0, EACH_TILE(TILE_ROWS, HALF_TILE_NAME)},
};

/* The arguments are passed by address: to pass 17 words by value takes as long as 50 multiplications. */
static inline void tile_of(int64_t rows, const tile_arguments *a)
{
    TILES[a->columns <= LANES / 2][rows](a);
}

/* All tiles of `rows` rows, `height` rows each; `a` is the first one. */
static void tiles_of(int64_t rows, int64_t height, tile_arguments a)
{
    const int64_t complete = rows / height;
    a.out_tile = height * a.out_row;
    a.more = complete - 1;
    if (complete)
        tile_of(height, &a);
    a.x += complete * a.x_tile;
    a.out += complete * a.out_tile;
    a.more = 0;
    if (rows % height)
        tile_of(rows % height, &a);
}

#endif
