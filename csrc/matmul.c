/* matmul.c: out = x . y, by tiles of sums in registers (see tile.h).

   The order of the tiles is chosen for the caches. A panel of y, DEPTH rows of LANES columns, is copied
   ("packed") and stays in the L1 cache while all rows of x are multiplied with it:

       for each panel of y
           for each TILE_ROWS rows of x
               tile

   If x has many rows, PANELS panels are packed at once, and a block of x is copied too; the block stays
   in the L2 cache while all panels are multiplied with it. A transposed x is not copied, because the
   TILE_ROWS elements of a step are contiguous in it. With less than MANY_ROWS rows a copy of x takes
   longer than it saves:
   x is read in place, and so is y if the panel's rows are complete rows in it.

   A transposition swaps two strides. */
#include "kernels.h"
#include "machine.h"
#include "tile.h"
#include "transpose.h"
#include <string.h>

enum {
    DEPTH = 256,             /* rows of a panel: at most 32 KiB */
    PANELS = 16,             /* panels that are packed at once */
    MANY_ROWS = 256,         /* rows of x from which blocks are faster */
    BLOCK_TILES = 12,        /* tiles in a block of x: at most 168 KiB in float32 */
    PARALLEL_FROM = 1 << 19, /* multiplications; with fewer, one thread is faster */
    OFTEN = 16,              /* multiplications for each element */
    MANY_ELEMENTS = 1 << 18, /* elements: they fill the private cache of a core */
};

typedef struct {
    const real *x, *y;
    real *out;
    int64_t x_row, x_column, y_row, y_column, out_row; /* strides */
    int64_t M, K, N;
} matmul_arguments;

static inline int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }

/* panel[k][c] = y[k][c] for K rows. The lanes beyond `columns` may hold any values, because their sums
   are not stored. So LANES elements are copied if they are inside y's memory, which ends at `end`. */
static void pack(real *panel, const real *y, const real *end, int64_t y_row, int64_t y_column, int64_t K, int64_t columns)
{
    if (y_column != 1) {
        transpose(panel, LANES, y, y_column, columns, K);
        return;
    }
    for (int64_t k = 0; k < K; k++, y += y_row, panel += LANES)
        if (end - y >= LANES)
            memcpy(panel, y, sizeof(real[LANES]));
        else
            for (int64_t c = 0; c < LANES; c++)
                panel[c] = c < columns ? y[c] : 0;
}

/* Copies rows of x with this stride to rows with the stride length + APART. */
static void copy_block(real *block, const real *x, int64_t rows, int64_t length, int64_t stride)
{
    for (int64_t i = 0; i < rows; i++)
        memcpy(block + i * (length + APART), x + i * stride, length * sizeof(real));
}

static void matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    const int many = end - begin >= MANY_ROWS;
    const int64_t in_tile = even_rows(end - begin), in_block = many ? BLOCK_TILES * in_tile : end - begin;
    const int64_t wide = many ? PANELS * LANES : LANES, panels_size = smaller_of(wide, a.N + LANES) * smaller_of(DEPTH, a.K);
    real *panels = tt_scratch((panels_size + many * (in_block + APART) * (DEPTH + APART)) * sizeof(real));
    if (!panels)
        return;
    real *copy = panels + panels_size;
    for (int64_t first = 0; first < a.N; first += wide)
        for (int64_t k = 0; k < a.K; k += DEPTH) {
            const int64_t depth = smaller_of(DEPTH, a.K - k), beyond = smaller_of(first + wide, a.N);
            const int in_place = !many && a.y_column == 1 && beyond - first == LANES;
            for (int64_t n = first; n < beyond && !in_place; n += LANES)
                pack(panels + (n - first) * depth, a.y + k * a.y_row + n * a.y_column, a.y + a.K * a.N,
                     a.y_row, a.y_column, depth, smaller_of(LANES, beyond - n));
            for (int64_t block = begin; block < end; block += in_block) {
                const int64_t rows = smaller_of(in_block, end - block);
                const real *x = a.x + block * a.x_row + k * a.x_column;
                int64_t x_row = a.x_row;
                if (many && a.x_column == 1) {
                    copy_block(copy, x, rows, depth, x_row);
                    x = copy, x_row = depth + APART;
                }
                for (int64_t n = first; n < beyond; n += LANES)
                    for (int64_t m = 0; m < rows; m += in_tile)
                        tile_of(smaller_of(in_tile, rows - m), (tile_arguments){
                            .x = x + m * x_row, .x_row = x_row, .x_column = a.x_column,
                            .y = in_place ? a.y + k * a.y_row + n : panels + (n - first) * depth,
                            .y_row = in_place ? a.y_row : LANES,
                            .K = depth, .segments = 1, .columns = smaller_of(LANES, beyond - n),
                            .out = a.out + (block + m) * a.out_row + n,
                            .out_row = a.out_row, .out_column = 1, .add = k > 0,
                        });
            }
        }
}

/* Few columns ---------------------------------------------------------------------------------

   With 10 columns, such as the 10 classes of a classifier, 6 of 16 lanes would be unused above. Here
   the lanes go along K: y is transposed, and each result is the sum of the lanes of one vector.
   DOT_ROWS x DOT_COLUMNS results are computed at the same time. */

enum {
    FEW = 64 / sizeof(real), /* columns; matrices with FEW columns or more are computed as above */
    LONG_SUMS = 128,         /* K; in shorter sums, adding up the lanes at the end takes too long */
    DOT_ROWS = TILE_ROWS >= 12 ? 5 : 2,
    DOT_COLUMNS = 5,
    DOTS = (DOT_ROWS * DOT_COLUMNS + VECTOR - 1) / VECTOR * VECTOR,
    DOT_DEPTH = 1024,
};

/* out[r][c] = (or +=) the sum over k of x[r][k] * y[c][k]; y has the row stride DOT_DEPTH + APART */
static ALWAYS_INLINE void dots(const int rows, const int columns, const real *x, int64_t x_row, const real *y, int64_t K, real *out, int64_t out_row, int add)
{
    vector sum[DOTS] = {0};
    int64_t k = 0;
    for (; k + VECTOR <= K; k += VECTOR) {
        vector x_part[DOT_ROWS];
        UNROLL
        for (int r = 0; r < rows; r++)
            memcpy(&x_part[r], x + r * x_row + k, sizeof(vector));
        UNROLL
        for (int c = 0; c < columns; c++) {
            vector y_part;
            memcpy(&y_part, y + c * (DOT_DEPTH + APART) + k, sizeof y_part);
            UNROLL
            for (int r = 0; r < rows; r++)
                sum[r * columns + c] += x_part[r] * y_part;
        }
    }
    real totals[DOTS];
    UNROLL
    for (int i = 0; i < rows * columns; i += VECTOR) {
        const vector lane_sums = sums_of_lanes(sum + i);
        memcpy(totals + i, &lane_sums, sizeof lane_sums);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int c = 0; c < columns; c++) {
            real total = totals[r * columns + c];
            for (int64_t i = k; i < K; i++)
                total += x[r * x_row + i] * y[c * (DOT_DEPTH + APART) + i];
            out[r * out_row + c] = add ? out[r * out_row + c] + total : total;
        }
    }
}

static void matmul_few_columns(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    _Alignas(64) real columns[FEW][DOT_DEPTH + APART];
    for (int64_t k = 0; k < a.K; k += DOT_DEPTH) {
        const int64_t depth = smaller_of(DOT_DEPTH, a.K - k);
        if (a.y_column == 1)
            transpose(columns[0], DOT_DEPTH + APART, a.y + k * a.y_row, a.y_row, depth, a.N);
        else
            for (int64_t n = 0; n < a.N; n++)
                memcpy(columns[n], a.y + k + n * a.y_column, depth * sizeof(real));
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

/* x^T . y with few columns, such as the gradient of the weights of ten neurons. The transpose of the
   result, y^T . x, has its lanes along the long rows of x. Its sums are transposed when they are stored.
   In memory x is (K, M) and y is (K, N); `begin` and `end` are rows of out. */
static void matmul_few_columns_of_transposed(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    const int64_t in_tile = even_rows(a.N);
    _Alignas(64) real sums[FEW * LANES];
    const int is_cut = (end - begin) % LANES != 0;
    real *panel = is_cut ? tt_scratch(DEPTH * LANES * sizeof(real)) : 0; /* for the last rows */
    if (is_cut && !panel)
        return;
    for (int64_t m = begin; m < end; m += LANES) {
        const int64_t rows = smaller_of(LANES, end - m);
        for (int64_t k = 0; k < a.K; k += DEPTH) {
            const int64_t depth = smaller_of(DEPTH, a.K - k);
            const real *x = a.x + k * a.M + m;
            if (rows < LANES)
                pack(panel, x, a.x + a.K * a.M, a.M, 1, depth, rows);
            for (int64_t n = 0; n < a.N; n += in_tile)
                tile_of(smaller_of(in_tile, a.N - n), (tile_arguments){
                    .x = a.y + k * a.N + n, .x_row = 1, .x_column = a.N,
                    .y = rows < LANES ? panel : x, .y_row = rows < LANES ? LANES : a.M,
                    .K = depth, .segments = 1, .columns = rows > LANES / 2 ? LANES : LANES / 2,
                    .out = sums + n * LANES, .out_row = LANES, .out_column = 1, .add = k > 0,
                });
        }
        transpose(a.out + m * a.N, a.N, sums, LANES, a.N, rows);
    }
}

/* True if several threads are faster. A second thread first has to fetch from another core's cache what
   the first one wrote. This pays if it then uses each element often, or if the arrays are larger than
   the private cache of a core. */
static int is_worth_sharing(int64_t M, int64_t K, int64_t N)
{
    const int64_t multiplications = M * K * N, numbers = M * K + K * N + M * N;
    return multiplications >= PARALLEL_FROM && (multiplications >= OFTEN * numbers || numbers >= MANY_ELEMENTS);
}

static void one_product(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    matmul_arguments a = {
        .x = x, .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
        .y = y, .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
        .out = out, .out_row = N,
        .M = M, .K = K, .N = N,
    };
    const tt_rows_function rows =
        N >= FEW ? matmul_rows
        : transpose_x && !transpose_y && N < M ? matmul_few_columns_of_transposed
        : !transpose_x && K >= LONG_SUMS ? matmul_few_columns : matmul_rows;
    if (K == 0)
        memset(out, 0, M * N * sizeof(real));
    else if (!is_worth_sharing(M, K, N))
        rows(&a, 0, a.M);
    else
        tt_parallel_rows(rows, &a, a.M, rows == matmul_few_columns_of_transposed ? LANES : TILE_ROWS);
}

void tt_matmul(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    for (int64_t b = 0; b < B; b++)
        one_product(x + b * M * K, y + b * K * N, out + b * M * N, M, K, N, transpose_x, transpose_y);
}
