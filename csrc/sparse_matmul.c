/* sparse_matmul.c: out = x . y, where most elements of x are 0, as in images of digits.

   A product with 0 adds nothing to a sum, so it can be skipped. But a test before each multiplication
   would take longer than the multiplication. So one test decides for many: a strip of TILE_ROWS rows of x
   gets a list of the k at which at least one of its rows is not 0, and each tile of the strip walks
   along this list:

       for (i = 0; i < length; i++)
           for (r = 0; r < TILE_ROWS; r++)
               for (c = 0; c < LANES; c++)
                   sum[r][c] += x[r][list[i]] * y[list[i]][c];

   In MNIST 19 % of the pixels are not 0. With strips of 6 rows, 44 % of the products are left in x . y,
   where a strip holds 6 images, and 34 % in x^T . y, where it holds 6 neighbouring pixels of all images.

   The sums are added in the order of matmul.c and have the same bits, except that a sum of 0 may have
   the other sign. If y holds an infinity or a NaN, nothing is skipped, because 0 times infinity is NaN. */
#include "kernels.h"
#include "machine.h"
#include "panels.h"
#include "tile.h"
#include <string.h>

enum {
    SAMPLES = 256, /* elements of x from which the share of zeros is estimated */
};

/* The k at which one of the TILE_ROWS rows of a strip is not 0, in ascending order */
typedef struct {
    int32_t *k;
    int64_t length;
} needed_list;

/* For a strip of x with contiguous rows: x[r][k] is x[r * row + k]. */
static void list_of_rows(needed_list *list, const real *x, int64_t row, int64_t K)
{
    lane_number is_needed[DEPTH];
    int64_t k = 0;
    for (; k + VECTOR <= K; k += VECTOR) {
        vector_bits any = {0}, part;
        for (int r = 0; r < TILE_ROWS; r++) {
            memcpy(&part, x + r * row + k, sizeof part);
            any |= part;
        }
        memcpy(is_needed + k, &any, sizeof any);
    }
    for (; k < K; k++) {
        is_needed[k] = 0;
        for (int r = 0; r < TILE_ROWS; r++)
            is_needed[k] |= x[r * row + k] != 0;
    }
    int64_t length = 0;
    for (k = 0; k < K; k++) {
        list->k[length] = (int32_t)k;
        length += is_needed[k] != 0;
    }
    list->length = length;
}

/* For `strips` strips of x with contiguous columns: x[r][k] is x[k * column + r]. */
static void lists_of_columns(needed_list *lists, int64_t strips, const real *x, int64_t column, int64_t K)
{
    for (int64_t k = 0; k < K; k++, x += column)
        for (int64_t s = 0; s < strips; s++) {
            uint64_t bits[TILE_ROWS * sizeof(real) / sizeof(uint64_t)], any = 0;
            memcpy(bits, x + s * TILE_ROWS, sizeof bits);
            UNROLL
            for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
                any |= bits[i];
            lists[s].k[lists[s].length] = (int32_t)k;
            lists[s].length += any != 0;
        }
}

/* The tile of tile.h for TILE_ROWS rows and the k of a list */
static ALWAYS_INLINE void sparse_tile(const int vectors, needed_list list, const tile_arguments *arguments)
{
    const tile_arguments a = *arguments;
    vector sum[TILE_ROWS][VECTORS] = {0};
    for (int64_t i = 0; i < list.length; i++) {
        const int64_t k = list.k[i];
        const real *y = a.y + k * LANES, *x[] = {a.x + k * a.x_column, a.x + k * a.x_column + NEAR * a.x_row, a.x + k * a.x_column + 2 * NEAR * a.x_row};
        vector y_row[VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            memcpy(&y_row[v], y + v * VECTOR, sizeof y_row[v]);
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[r][v] += x[r / NEAR][r % NEAR * a.x_row] * y_row[v];
        }
    }
    store_tile(TILE_ROWS, vectors, sum, &a);
}

/* Some rows of out, in the order of multiply() in matmul.c */
static void sparse_matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    const int64_t pieces = (a.K + DEPTH - 1) / DEPTH, piece = (a.K + pieces - 1) / pieces;
    const int64_t width = smaller_of(PANELS * LANES, rounded_up(a.N, LANES));
    real *panels = tt_scratch(width * piece * sizeof(real) + STRIPS * (piece + 1) * sizeof(int32_t));
    if (!panels)
        return;
    int32_t *room = (int32_t *)(panels + width * piece);
    for (int64_t n = 0; n < a.N; n += width)
        for (int64_t k = 0; k < a.K; k += piece) {
            const int64_t columns = smaller_of(width, a.N - n), depth = smaller_of(piece, a.K - k);
            pack_panels(panels, a.y + k * a.y_row + n * a.y_column, a.y_end, a.y_row, a.y_column, depth, columns);
            const int may_skip = all_finite(panels, rounded_up(columns, LANES) * depth);
            for (int64_t m = begin; m < end; m += STRIPS * TILE_ROWS) {
                const int64_t rows = smaller_of(STRIPS * TILE_ROWS, end - m), strips = may_skip ? rows / TILE_ROWS : 0;
                const real *x = a.x + m * a.x_row + k * a.x_column;
                needed_list lists[STRIPS];
                for (int64_t s = 0; s < strips; s++)
                    lists[s] = (needed_list){room + s * (piece + 1), 0};
                if (a.x_row == 1)
                    lists_of_columns(lists, strips, x, a.x_column, depth);
                else
                    for (int64_t s = 0; s < strips; s++)
                        list_of_rows(&lists[s], x + s * TILE_ROWS * a.x_row, a.x_row, depth);
                for (int64_t c = 0; c < columns; c += LANES)
                    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
                        const tile_arguments t = {
                            .x = x + r * a.x_row, .x_row = a.x_row, .x_column = a.x_column,
                            .y = panels + c * depth, .y_row = LANES,
                            .K = depth, .segments = 1, .columns = smaller_of(LANES, columns - c),
                            .out = a.out + (m + r) * a.out_row + n + c, .out_row = a.out_row, .out_column = 1, .add = k > 0,
                        };
                        if (r / TILE_ROWS >= strips)
                            tile_of(smaller_of(TILE_ROWS, rows - r), &t);
                        else if (t.columns > LANES / 2)
                            sparse_tile(VECTORS, lists[r / TILE_ROWS], &t);
                        else
                            sparse_tile(VECTORS / 2, lists[r / TILE_ROWS], &t);
                    }
            }
        }
}

/* True if at least half of some elements of x are 0. */
static int is_sparse(const real *x, int64_t n)
{
    const int64_t step = n / SAMPLES + 1;
    int64_t zeros = 0, samples = 0;
    for (int64_t i = 0; i < n; i += step, samples++)
        zeros += x[i] == 0;
    return 2 * zeros >= samples;
}

void tt_sparse_matmul(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    if (N < FEW || K == 0 || !is_sparse(x, M * K)) {
        tt_matmul(x, y, out, 1, M, K, N, transpose_x, transpose_y);
        return;
    }
    const matmul_arguments a = matmul_arguments_of(x, y, out, M, K, N, transpose_x, transpose_y);
    if (is_worth_sharing(M, K, N))
        tt_parallel_rows(sparse_matmul_rows, &a, M, TILE_ROWS);
    else
        sparse_matmul_rows(&a, 0, M);
}
