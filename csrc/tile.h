/* tile.h: a tile of sums that stays in registers, the inner loop of matmul.c and conv2d.c.

   The naive triple loop of a product x . y reads two numbers from memory for every multiplication.
   Here a tile of up to TILE_ROWS x LANES sums is kept in registers, and each step along K adds
       TILE_ROWS numbers of x  times  one line of LANES numbers of y.
   A convolution sums over several such stretches of K, one for each row of its window: segments.

   A line is what a row of the tile has in registers. Where half of it is enough for the columns that
   are left, the tile is half as wide. build.py sets VECTOR, VECTOR_BYTES, LINE_BYTES and TILE_ROWS to
   what each instruction set has registers for. */
#ifndef TT_TILE_H
#define TT_TILE_H
#include "machine.h"
#include <stdint.h>
#include <string.h>

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#define VECTOR 4 /* numbers in a register */
#define LINE_BYTES 64
#define TILE_ROWS 2
#endif

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));

enum {
    VECTORS = LINE_BYTES / VECTOR_BYTES, /* registers in a line */
    LANES = VECTOR * VECTORS,
    FEW_LANES = 4,                       /* stored at a time where a line isn't whole */
    MOST_ROWS = 14,
    NEAR = 5,                              /* rows of x that share a pointer: more have no registers for their distances */
    APART = 64 / sizeof(real),             /* between lines of a copy: a power of two would let them share places in a cache */
};

/* Rows in a tile, when `count` of them are split into tiles as even as can be. */
static inline int64_t even_rows(int64_t count)
{
    const int64_t tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    return tiles ? (count + tiles - 1) / tiles : 1;
}

/* out[rows][columns] = or += the sum over segments of x[rows][K] . y[K][columns].
   All strides count numbers. Whole lines of y are read, also where columns < LANES. */
typedef struct {
    const real *x;
    int64_t x_row, x_column, x_segment;
    const real *y;
    int64_t y_row, y_segment;
    int64_t K, segments, columns;
    real *out;
    int64_t out_row, out_column;
    int add; /* to what is in out already? */
} tile_arguments;

/* A line of sums goes to, or is added to, its place. Kept out of the tile: a loop of unknown length
   in there would move the sums out of the registers. */
static __attribute__((noinline)) void store(const real *line, real *out, int64_t out_column, int64_t columns, int add)
{
    int64_t c = 0;
    if (!add && out_column == 1) {
        for (; c + FEW_LANES <= columns; c += FEW_LANES)
            memcpy(out + c, line + c, sizeof(real[FEW_LANES]));
        for (; c < columns; c++)
            out[c] = line[c];
    } else if (!add)
        for (; c < columns; c++)
            out[c * out_column] = line[c];
    else
        for (; c < columns; c++)
            out[c * out_column] += line[c];
}

static ALWAYS_INLINE void tile(const int rows, const int vectors, tile_arguments a)
{
    vector sum[MOST_ROWS][VECTORS] = {0};
    for (int64_t s = 0; s < a.segments; s++, a.x += a.x_segment, a.y += a.y_segment) {
        const real *y = a.y, *x[] = {a.x, a.x + NEAR * a.x_row, a.x + 2 * NEAR * a.x_row};
        for (int64_t k = 0; k < a.K; k++, y += a.y_row) {
            vector line[VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++) /* each on its own: one copy of all would go by way of the stack */
                memcpy(&line[v], y + v * VECTOR, sizeof line[v]);
            UNROLL
            for (int r = 0; r < rows; r++) {
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[r][v] += x[r / NEAR][r % NEAR * a.x_row] * line[v];
            }
            x[0] += a.x_column, x[1] += a.x_column, x[2] += a.x_column;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        real *out = a.out + r * a.out_row;
        if (a.columns == vectors * VECTOR && a.out_column == 1) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                vector before = {0};
                if (a.add)
                    memcpy(&before, out + v * VECTOR, sizeof before);
                const vector after = before + sum[r][v];
                memcpy(out + v * VECTOR, &after, sizeof after);
            }
        } else {
            real line[LANES];
            UNROLL
            for (int v = 0; v < vectors; v++)
                memcpy(line + v * VECTOR, &sum[r][v], sizeof(vector));
            store(line, out, a.out_column, a.columns, a.add);
        }
    }
}

/* Numbers of rows and vectors must be known when the loops are compiled, for the sums to be
   registers: every tile is a function of its own. */
#define TILE(rows) \
    static void tile_##rows(tile_arguments a) { tile(rows, VECTORS, a); } \
    static void half_tile_##rows(tile_arguments a) { tile(rows, VECTORS / 2, a); }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)

static void (*const TILES[2][MOST_ROWS + 1])(tile_arguments) = {
    {0, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8,
     tile_9, tile_10, tile_11, tile_12, tile_13, tile_14},
    {0, half_tile_1, half_tile_2, half_tile_3, half_tile_4, half_tile_5, half_tile_6,
     half_tile_7, half_tile_8, half_tile_9, half_tile_10, half_tile_11, half_tile_12, half_tile_13, half_tile_14},
};

static inline void tile_of(int64_t rows, tile_arguments a)
{
    TILES[a.columns <= LANES / 2][rows](a);
}

#endif
