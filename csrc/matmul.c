/* matmul.c: out = x . y, by tiles that stay in registers.

   The naive triple loop reads two numbers from memory for every multiplication. Here a tile of
   TILE_ROWS x LANES sums is kept in registers, and each step along K adds
       TILE_ROWS numbers of x  times  one line of LANES numbers of y.
   To have those lines side by side in memory, whatever y's layout, a panel of y (DEPTH x LANES) is
   copied first, short columns filled with zeros; it stays in the nearest cache while all rows of x
   pass by. x is read where it lies: its transposition is a swap of two strides.

   build.py sets VECTOR_BYTES and TILE_ROWS to what each instruction set has registers for. */
#include "kernels.h"
#include "machine.h"
#include <string.h>

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#define TILE_ROWS 2
#endif

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));

enum {
    VECTOR = VECTOR_BYTES / sizeof(real), /* numbers in a register */
    VECTORS = 64 / VECTOR_BYTES,          /* registers in a line of the panel */
    LANES = VECTOR * VECTORS,
    DEPTH = 256, /* lines in a panel: 16 KiB, half of a first-level cache */
    PARALLEL_FROM = 1 << 21, /* multiplications; below, waking a thread costs more than it saves */
};

typedef struct {
    const real *x, *y;
    real *out;
    int64_t K, N;
    int64_t x_row, x_column, y_row, y_column; /* strides */
} matmul_arguments;

typedef struct {
    vector line[DEPTH][VECTORS];
} y_panel;

/* Lines k to k+K of y, columns n to n+columns, side by side; zeros up to LANES. */
static void pack(y_panel *panel, const real *y, int64_t y_row, int64_t y_column, int64_t K, int64_t columns)
{
    for (int64_t k = 0; k < K; k++) {
        real line[LANES] = {0};
        for (int64_t c = 0; c < columns; c++)
            line[c] = y[k * y_row + c * y_column];
        memcpy(panel->line[k], line, sizeof line);
    }
}

/* out[rows][columns] = or += x[rows][K] . panel[K][columns] */
static ALWAYS_INLINE void tile(const int rows, const real *x, int64_t x_row, int64_t x_column, const y_panel *panel,
                               int64_t K, real *out, int64_t out_row, int64_t columns, int add)
{
    vector sum[TILE_ROWS > 4 ? TILE_ROWS : 4][VECTORS] = {0};
    for (int64_t k = 0; k < K; k++, x += x_column) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] += x[r * x_row] * panel->line[k][v];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++, out += out_row) {
        real line[LANES];
        memcpy(line, sum[r], sizeof line);
        if (add)
            for (int64_t c = 0; c < columns; c++)
                out[c] += line[c];
        else
            memcpy(out, line, columns * sizeof(real));
    }
}

static void matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    y_panel panel;
    for (int64_t n = 0; n < a.N; n += LANES) {
        const int64_t columns = a.N - n < LANES ? a.N - n : LANES;
        for (int64_t k = 0; k < a.K; k += DEPTH) {
            const int64_t depth = a.K - k < DEPTH ? a.K - k : DEPTH;
            pack(&panel, a.y + k * a.y_row + n * a.y_column, a.y_row, a.y_column, depth, columns);
            const real *x = a.x + begin * a.x_row + k * a.x_column;
            real *out = a.out + begin * a.N + n;
            int64_t rows = end - begin;
            for (; rows >= TILE_ROWS; rows -= TILE_ROWS, x += TILE_ROWS * a.x_row, out += TILE_ROWS * a.N)
                tile(TILE_ROWS, x, a.x_row, a.x_column, &panel, depth, out, a.N, columns, k > 0);
            for (; rows >= 4; rows -= 4, x += 4 * a.x_row, out += 4 * a.N)
                tile(4, x, a.x_row, a.x_column, &panel, depth, out, a.N, columns, k > 0);
            for (; rows > 0; rows--, x += a.x_row, out += a.N)
                tile(1, x, a.x_row, a.x_column, &panel, depth, out, a.N, columns, k > 0);
        }
    }
}

void tt_matmul(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    const matmul_arguments arguments = {
        .x = x, .y = y, .out = out, .K = K, .N = N,
        .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
        .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
    };
    if (K == 0)
        memset(out, 0, M * N * sizeof(real));
    else if (M * K * N < PARALLEL_FROM)
        matmul_rows(&arguments, 0, M);
    else
        tt_parallel_rows(matmul_rows, &arguments, M, TILE_ROWS);
}
