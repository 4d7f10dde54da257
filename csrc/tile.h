/* tile.h: a tile of sums that stays in registers, the inner loop of matmul.c and conv2d.c.

   The naive triple loop of a product x . y reads two numbers from memory for every multiplication.
   Here a tile of up to TILE_ROWS x LANES sums is kept in registers, and each step along K adds
       TILE_ROWS numbers of x  times  one line of LANES numbers of y.
   A convolution sums over several such stretches of K, one for each row of its window: segments.

   build.py sets VECTOR_BYTES and TILE_ROWS to what each instruction set has registers for. */
#ifndef TT_TILE_H
#define TT_TILE_H
#include "machine.h"
#include <stdint.h>
#include <string.h>

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#define TILE_ROWS 2
#endif

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));

enum {
    VECTOR = VECTOR_BYTES / sizeof(real), /* numbers in a register */
    VECTORS = 64 / VECTOR_BYTES,          /* registers in a line */
    LANES = VECTOR * VECTORS,
    MOST_ROWS = 12,
};

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
    if (!add && out_column == 1 && columns == LANES)
        memcpy(out, line, sizeof(real[LANES]));
    else if (!add && columns == LANES) {
        UNROLL
        for (int c = 0; c < LANES; c++)
            out[c * out_column] = line[c];
    } else if (!add)
        for (int64_t c = 0; c < columns; c++)
            out[c * out_column] = line[c];
    else
        for (int64_t c = 0; c < columns; c++)
            out[c * out_column] += line[c];
}

static ALWAYS_INLINE void tile(const int rows, tile_arguments a)
{
    vector sum[MOST_ROWS][VECTORS] = {0};
    for (int64_t s = 0; s < a.segments; s++, a.x += a.x_segment, a.y += a.y_segment) {
        const real *x = a.x, *y = a.y;
        for (int64_t k = 0; k < a.K; k++, x += a.x_column, y += a.y_row) {
            vector line[VECTORS];
            UNROLL
            for (int v = 0; v < VECTORS; v++) /* each on its own: one copy of all would go by way of the stack */
                memcpy(&line[v], y + v * VECTOR, sizeof line[v]);
            UNROLL
            for (int r = 0; r < rows; r++) {
                UNROLL
                for (int v = 0; v < VECTORS; v++)
                    sum[r][v] += x[r * a.x_row] * line[v];
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        real line[LANES];
        memcpy(line, sum[r], sizeof line);
        store(line, a.out + r * a.out_row, a.out_column, a.columns, a.add);
    }
}

/* The number of rows must be known when the loops are compiled, for the sums to be registers. */
static void tile_of(int64_t rows, tile_arguments a)
{
    switch (rows) {
    case 1: tile(1, a); break;
    case 2: tile(2, a); break;
    case 3: tile(3, a); break;
    case 4: tile(4, a); break;
    case 5: tile(5, a); break;
    case 6: tile(6, a); break;
    case 7: tile(7, a); break;
    case 8: tile(8, a); break;
    case 9: tile(9, a); break;
    case 10: tile(10, a); break;
    case 11: tile(11, a); break;
    case 12: tile(12, a); break;
    }
}

#endif
