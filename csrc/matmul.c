/* matmul.c: out = x . y, by tiles that stay in registers.

   The naive triple loop reads two numbers from memory for every multiplication. Here a tile of
   TILE_ROWS x LANES sums is kept in registers, and each step along K adds
       TILE_ROWS numbers of x  times  one line of LANES numbers of y.
   If y is transposed or there are many rows of x, a panel of y (DEPTH x LANES) is copied first, line
   by line; it stays in a near cache while all rows of x pass by. x is read where it lies: its
   transposition is a swap of two strides.

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
    PACK_FROM = 256, /* rows of x; fewer don't repay the copy */
    MOST_ROWS = 12,
    DEPTH = 1024, /* lines in a panel: 32 KiB */
    PARALLEL_FROM = 1 << 21, /* multiplications; below, waking a thread costs more than it saves */
};

typedef struct {
    const real *x, *y;
    real *out;
    int64_t x_row, x_column, y_row, y_column, out_row, out_column; /* strides */
    int64_t M, K, N;
} matmul_arguments;

typedef struct {
    _Alignas(64) real line[DEPTH][LANES];
} y_panel;

/* K lines of y, side by side. Lanes beyond `columns` may hold anything: nobody stores their sums.
   So a whole line is taken where y's memory, up to `end`, goes on that far. */
static void pack(y_panel *panel, const real *y, const real *end, int64_t y_row, int64_t y_column, int64_t K, int64_t columns)
{
    for (int64_t k = 0; k < K; k++, y += y_row) {
        if (y_column == 1 && end - y >= LANES) {
            memcpy(panel->line[k], y, sizeof panel->line[k]);
            continue;
        }
        real line[LANES] = {0};
        for (int64_t c = 0; c < columns; c++)
            line[c] = y[c * y_column];
        memcpy(panel->line[k], line, sizeof line);
    }
}

/* One tile: where its rows of x and its results are, and how large it is. */
typedef struct {
    const real *x;
    int64_t x_row, x_column;
    const real *y; /* K lines, y_row apart */
    int64_t y_row, K, columns;
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

/* out[rows][columns] = or += x[rows][K] . y[K][columns] */
static ALWAYS_INLINE void tile(const int rows, tile_arguments a)
{
    vector sum[MOST_ROWS][VECTORS] = {0};
    for (int64_t k = 0; k < a.K; k++, a.x += a.x_column, a.y += a.y_row) {
        vector line[VECTORS];
        memcpy(line, a.y, sizeof line);
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] += a.x[r * a.x_row] * line[v];
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

static void matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    y_panel panel;
    for (int64_t n = 0; n < a.N; n += LANES) {
        const int64_t columns = a.N - n < LANES ? a.N - n : LANES;
        for (int64_t k = 0; k < a.K; k += DEPTH) {
            const int64_t depth = a.K - k < DEPTH ? a.K - k : DEPTH;
            const real *y = a.y + k * a.y_row + n * a.y_column;
            int64_t y_row = a.y_row;
            if (a.y_column != 1 || columns < LANES || end - begin > PACK_FROM) {
                pack(&panel, y, a.y + a.K * a.N, a.y_row, a.y_column, depth, columns);
                y = panel.line[0];
                y_row = LANES;
            }
            for (int64_t m = begin; m < end; m += TILE_ROWS)
                tile_of(end - m < TILE_ROWS ? end - m : TILE_ROWS, (tile_arguments){
                    .x = a.x + m * a.x_row + k * a.x_column, .x_row = a.x_row, .x_column = a.x_column,
                    .y = y, .y_row = y_row, .K = depth, .columns = columns,
                    .out = a.out + m * a.out_row + n * a.out_column, .out_row = a.out_row, .out_column = a.out_column,
                    .add = k > 0,
                });
        }
    }
}

/* Few columns ---------------------------------------------------------------------------------

   With ten columns, such as the ten classes of a classifier, six of sixteen lanes would be idle
   above. Here the lanes run along K instead: y's columns are copied to rows, and each result is a
   sum of lanes. DOT_ROWS x DOT_COLUMNS results are made side by side. */

enum {
    DOT_ROWS = TILE_ROWS >= 12 ? 4 : 2,
    DOT_COLUMNS = 5,
    APART = DEPTH + LANES, /* of the copied columns; not DEPTH: powers of two share places in a cache */
};

/* Halves are added to halves, as often as it takes. */
static inline real lane_sum(vector lanes)
{
    real line[VECTOR];
    memcpy(line, &lanes, sizeof line);
    UNROLL
    for (int half = VECTOR / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++)
            line[lane] += line[lane + half];
    return line[0];
}

/* out[rows][columns] = or += x[rows][K] . y[columns][K]; y's rows are APART */
static ALWAYS_INLINE void dots(const int rows, const int columns, const real *x, int64_t x_row, const real *y, int64_t K, real *out, int64_t out_row, int add)
{
    vector sum[DOT_ROWS][DOT_COLUMNS] = {0};
    int64_t k = 0;
    for (; k + VECTOR <= K; k += VECTOR) {
        vector x_part[DOT_ROWS];
        UNROLL
        for (int r = 0; r < rows; r++)
            memcpy(&x_part[r], x + r * x_row + k, sizeof(vector));
        UNROLL
        for (int c = 0; c < columns; c++) {
            vector y_part;
            memcpy(&y_part, y + c * APART + k, sizeof y_part);
            UNROLL
            for (int r = 0; r < rows; r++)
                sum[r][c] += x_part[r] * y_part;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int c = 0; c < columns; c++) {
            real total = lane_sum(sum[r][c]);
            for (int64_t i = k; i < K; i++)
                total += x[r * x_row + i] * y[c * APART + i];
            out[r * out_row + c] = add ? out[r * out_row + c] + total : total;
        }
    }
}

static void matmul_few_columns(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    _Alignas(64) real columns[LANES][APART];
    for (int64_t k = 0; k < a.K; k += DEPTH) {
        const int64_t depth = a.K - k < DEPTH ? a.K - k : DEPTH;
        for (int64_t i = 0; i < depth; i++)
            for (int64_t n = 0; n < a.N; n++)
                columns[n][i] = a.y[(k + i) * a.y_row + n * a.y_column];
        for (int64_t m = begin, rows; m < end; m += rows) {
            const real *x = a.x + m * a.x_row + k;
            real *out = a.out + m * a.out_row;
            rows = end - m >= DOT_ROWS ? DOT_ROWS : 1;
            int64_t n = 0;
            for (; n + DOT_COLUMNS <= a.N; n += DOT_COLUMNS)
                if (rows == DOT_ROWS)
                    dots(DOT_ROWS, DOT_COLUMNS, x, a.x_row, columns[n], depth, out + n, a.out_row, k > 0);
                else
                    dots(1, DOT_COLUMNS, x, a.x_row, columns[n], depth, out + n, a.out_row, k > 0);
            for (; n < a.N; n++)
                if (rows == DOT_ROWS)
                    dots(DOT_ROWS, 1, x, a.x_row, columns[n], depth, out + n, a.out_row, k > 0);
                else
                    dots(1, 1, x, a.x_row, columns[n], depth, out + n, a.out_row, k > 0);
        }
    }
}

static void one_product(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    matmul_arguments a = {
        .x = x, .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
        .y = y, .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
        .out = out, .out_row = N, .out_column = 1,
        .M = M, .K = K, .N = N,
    };
    /* x^T . y with few columns, such as the gradient of ten neurons' weights, would leave lanes
       empty. Its transpose, y^T . x, has its lanes along the long side. */
    if (transpose_x && N < LANES && N < M)
        a = (matmul_arguments){
            .x = y, .x_row = a.y_column, .x_column = a.y_row,
            .y = x, .y_row = a.x_column, .y_column = a.x_row,
            .out = out, .out_row = 1, .out_column = N,
            .M = N, .K = K, .N = M,
        };
    const tt_rows_function rows = !transpose_x && N < LANES ? matmul_few_columns : matmul_rows;
    if (K == 0)
        memset(out, 0, M * N * sizeof(real));
    else if (M * K * N < PARALLEL_FROM)
        rows(&a, 0, a.M);
    else
        tt_parallel_rows(rows, &a, a.M, TILE_ROWS);
}

void tt_matmul(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    for (int64_t b = 0; b < B; b++)
        one_product(x + b * M * K, y + b * K * N, out + b * M * N, M, K, N, transpose_x, transpose_y);
}
