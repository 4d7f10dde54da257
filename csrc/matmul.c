/* matmul.c: out = x . y, by tiles of sums in registers (see tile.h).

   The order of the tiles is chosen for the caches. y is cut into panels of LANES columns, and x into
   strips of TILE_ROWS rows. Both are at most DEPTH long, because a panel should stay in the L1 cache (with
   avx512 it is as large as the L1 cache of some CPUs); a longer sum is added up in pieces. They are copied
   ("packed") so that a tile reads them from one end to the other:

       for PANELS panels of y at a time: pack them
           for STRIPS strips of x at a time: pack them; they stay in the L2 cache
               for each of these panels
                   for each of these strips
                       tile

   A matrix is read in place where a copy takes longer than it saves: y if x has few rows, and x if y
   has few columns. The rows of x are copied only if there are many and x does not fit into
   the L2 cache.

   A transposition swaps two strides. */
#include "kernels.h"
#include "machine.h"
#include "panels.h"
#include "tile.h"
#include "transpose.h"
#include <string.h>

enum {
    STRIPS = 64 / sizeof(real),    /* strips that are packed at once: 96 KiB, with avx512 224 KiB */
    ROWS_IN_PLACE = 2 * TILE_ROWS, /* rows of x up to which y is read in place */
    MANY_ROWS = 256,               /* rows of x from which they are copied */
    MANY_COLUMNS = 4 * LANES,      /* columns of y from which x is packed */
    PARALLEL_FROM = 1 << 19,       /* multiplications; with fewer, one thread is faster */
    OFTEN = 16,                    /* multiplications for each element from which several threads pay */
    MANY_ELEMENTS = 1 << 18,       /* elements: they fill the private cache of a core */
    WIDE = 8,                      /* N / M from which threads share the columns of out, not its rows */
};

typedef struct {
    const real *x, *y, *x_end, *y_end;
    real *out;
    int64_t x_row, x_column, y_row, y_column, out_row; /* strides */
    int64_t M, K, N;
} matmul_arguments;

/* strips[m / TILE_ROWS][k][m % TILE_ROWS] = x[m][k] if the columns of x are contiguous. If its rows
   are, strips[m][k] = x[m][k], with padding between the rows. */
static void pack_strips(real *strips, const real *x, const real *end, int64_t row, int64_t column, int64_t rows, int64_t K)
{
    if (column != 1)
        pack(TILE_ROWS, strips, x, end, column, K, rows);
    else
        for (int64_t m = 0; m < rows; m++)
            memcpy(strips + m * (K + APART), x + m * row, K * sizeof(real));
}

static void multiply(const matmul_arguments a)
{
    const int many_rows = a.x_column == 1 && a.M >= MANY_ROWS && a.M * a.K >= MANY_ELEMENTS;
    const int pack_x = a.N >= MANY_COLUMNS && (a.x_column != 1 || many_rows);
    const int pack_y = a.y_column != 1 || a.M > ROWS_IN_PLACE;
    const int64_t pieces = (a.K + DEPTH - 1) / DEPTH, piece = (a.K + pieces - 1) / pieces;
    const int64_t height = pack_x ? TILE_ROWS : even_rows(a.M), block = smaller_of(STRIPS * height, rounded_up(a.M, height));
    const int64_t width = smaller_of(PANELS * LANES, rounded_up(a.N, LANES));
    real *panels = tt_scratch((width * piece + pack_x * block * (piece + APART)) * sizeof(real));
    if (!panels)
        return;
    real *strips = panels + width * piece;
    for (int64_t n = 0; n < a.N; n += width)
        for (int64_t k = 0; k < a.K; k += piece) {
            const int64_t columns = smaller_of(width, a.N - n), depth = smaller_of(piece, a.K - k);
            const int64_t in_place = pack_y ? 0 : columns - columns % LANES; /* columns */
            const real *y = a.y + k * a.y_row + n * a.y_column;
            pack_panels(panels + in_place * depth, y + in_place * a.y_column, a.y_end, a.y_row, a.y_column, depth, columns - in_place);
            for (int64_t m = 0; m < a.M; m += block) {
                const int64_t rows = smaller_of(block, a.M - m);
                const real *x = a.x + m * a.x_row + k * a.x_column;
                int64_t x_row = a.x_row, x_column = a.x_column, x_strip = height * a.x_row;
                if (pack_x) {
                    pack_strips(strips, x, a.x_end, x_row, x_column, rows, depth);
                    x = strips;
                    x_row = many_rows ? depth + APART : 1;
                    x_column = many_rows ? 1 : TILE_ROWS;
                    x_strip = height * (many_rows ? x_row : depth);
                }
                for (int64_t c = 0; c < columns; c += LANES)
                    tiles_of(rows, height, (tile_arguments){
                        .x = x, .x_row = x_row, .x_column = x_column, .x_tile = x_strip,
                        .y = c < in_place ? y + c : panels + c * depth,
                        .y_row = c < in_place ? a.y_row : LANES,
                        .K = depth, .segments = 1, .columns = smaller_of(LANES, columns - c),
                        .out = a.out + m * a.out_row + n + c,
                        .out_row = a.out_row, .add = k > 0,
                    });
            }
        }
}

/* Some rows of out. Each sum is the same if other rows or columns are computed with it. */
static void matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    matmul_arguments a = *(const matmul_arguments *)arguments;
    a.x += begin * a.x_row;
    a.out += begin * a.out_row;
    a.M = end - begin;
    multiply(a);
}

static void matmul_columns(const void *arguments, int64_t begin, int64_t end)
{
    matmul_arguments a = *(const matmul_arguments *)arguments;
    a.y += begin * a.y_column;
    a.out += begin;
    a.N = end - begin;
    multiply(a);
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
    BEYOND_CACHES = 1 << 21, /* elements */
    SHORT_DEPTH = 64,        /* rows of x whose rest is fetched before they leave the cache */
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
    const int64_t in_tile = even_rows(a.N), panels = (end - begin + LANES - 1) / LANES;
    const int64_t piece = a.K * a.M < BEYOND_CACHES ? DEPTH : SHORT_DEPTH;
    const int is_cut = (end - begin) % LANES != 0;
    real *sums = tt_scratch((panels * a.N + is_cut * piece) * LANES * sizeof(real)), *last = sums + panels * a.N * LANES;
    if (!sums)
        return;
    for (int64_t k = 0; k < a.K; k += piece) {
        const int64_t depth = smaller_of(piece, a.K - k);
        for (int64_t p = 0; p < panels; p++) {
            const real *x = a.x + k * a.M + begin + p * LANES;
            const int64_t rows = smaller_of(LANES, end - begin - p * LANES);
            if (rows < LANES)
                pack_panels(last, x, a.x_end, a.M, 1, depth, rows);
            for (int64_t n = 0; n < a.N; n += in_tile)
                tile_of(smaller_of(in_tile, a.N - n), &(tile_arguments){
                    .x = a.y + k * a.N + n, .x_row = 1, .x_column = a.N,
                    .y = rows < LANES ? last : x, .y_row = rows < LANES ? LANES : a.M,
                    .K = depth, .segments = 1, .columns = rows > LANES / 2 ? LANES : LANES / 2,
                    .out = sums + (p * a.N + n) * LANES, .out_row = LANES, .add = k > 0,
                });
        }
    }
    for (int64_t p = 0; p < panels; p++)
        transpose(a.out + (begin + p * LANES) * a.N, a.N, sums + p * a.N * LANES, LANES, a.N, smaller_of(LANES, end - begin - p * LANES));
}

/* True if several threads are faster for B products. A second thread first has to fetch from another core's
   cache what the first one wrote. This pays if it then uses each element often, or if the arrays are larger
   than the private cache of a core. */
static int is_worth_sharing(int64_t B, int64_t M, int64_t K, int64_t N)
{
    const int64_t multiplications = B * M * K * N, numbers = B * (M * K + K * N + M * N);
    return multiplications >= PARALLEL_FROM && (multiplications >= OFTEN * numbers || numbers >= MANY_ELEMENTS);
}

static matmul_arguments matmul_arguments_of(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    return (matmul_arguments){
        .x = x, .x_end = x + M * K, .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
        .y = y, .y_end = y + K * N, .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
        .out = out, .out_row = N,
        .M = M, .K = K, .N = N,
    };
}

static void one_product(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    const matmul_arguments a = matmul_arguments_of(x, y, out, M, K, N, transpose_x, transpose_y);
    const tt_rows_function rows =
        N >= FEW ? matmul_rows
        : transpose_x && !transpose_y && N < M ? matmul_few_columns_of_transposed
        : !transpose_x && K >= LONG_SUMS ? matmul_few_columns : matmul_rows;
    if (K == 0)
        memset(out, 0, M * N * sizeof(real));
    else if (!is_worth_sharing(1, M, K, N))
        rows(&a, 0, M);
    else if (rows == matmul_rows && N >= WIDE * M)
        tt_parallel_rows(matmul_columns, &a, N, LANES);
    else
        tt_parallel_rows(rows, &a, M, rows == matmul_few_columns_of_transposed ? LANES : TILE_ROWS);
}

typedef struct {
    const real *x, *y;
    real *out;
    int64_t M, K, N;
    int transpose_x, transpose_y;
} batch_arguments;

/* [begin, end): products */
static void matmul_products(const void *arguments, int64_t begin, int64_t end)
{
    const batch_arguments a = *(const batch_arguments *)arguments;
    for (int64_t b = begin; b < end; b++)
        one_product(a.x + b * a.M * a.K, a.y + b * a.K * a.N, a.out + b * a.M * a.N, a.M, a.K, a.N, a.transpose_x, a.transpose_y);
}

/* Threads share the rows of each product, or many small products, as in attention. */
void tt_matmul(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    const batch_arguments a = {x, y, out, M, K, N, transpose_x, transpose_y};
    if (is_worth_sharing(B, M, K, N) && !is_worth_sharing(1, M, K, N))
        tt_parallel_rows(matmul_products, &a, B, 1);
    else
        matmul_products(&a, 0, B);
}
