/* sparse_matmul.c: out = x . y, where most elements of x are 0, as in images of digits.

   A product with 0 adds nothing to a sum, so it can be skipped. But a test before each multiplication
   would take longer than the multiplication. So one test decides for many: a strip of STRIP rows of x
   gets a list of the k at which at least one of its rows is not 0, and each tile of the strip walks
   along this list:

       for (i = 0; i < length; i++)
           for (r = 0; r < STRIP; r++)
               for (c = 0; c < 2 * LANES; c++)
                   sum[r][c] += x[r][list[i]] * y[list[i]][c];

   The fewer rows a strip has, the fewer products are left. In MNIST 19 % of the pixels are not 0:

       rows of a strip          3     4     7
       products left, x . y    35 %  39 %  45 %   a strip holds images
       x^T . y                 26 %  28 %  37 %   a strip holds neighbouring pixels of all images

   So these tiles have fewer rows than those in tile.h, and twice the columns. The registers of AVX2 hold
   the sums of 3 rows. Those of AVX-512 hold 7, but 4 are fastest: with 3 or 7 rows the products take 1.1
   to 1.25 times as long.

   The sums are added in the order of matmul.c and have the same bits. (A sum of 0 is always +0: see
   store() in tile.h.) If y holds an infinity or a NaN, nothing is skipped, because 0 times infinity is
   NaN. */
#include "kernels.h"
#include "machine.h"
#include "panels.h"
#include "tile.h"
#include <string.h>

enum {
    STRIP = TILE_ROWS < 8 ? TILE_ROWS / 2 : 4, /* rows of x with one list */
    STRIPS_AT_ONCE = 64,   /* strips whose lists are kept: 64 KiB */
    SAMPLES = 256,         /* elements of x from which the share of zeros is estimated */
};

/* The k at which one of the STRIP rows of a strip is not 0, in ascending order */
typedef struct {
    int32_t *k;
    int64_t length;
} needed_list;

typedef int8_t flags __attribute__((vector_size(VECTOR)));

/* Sets is_needed[k] to -1 or 0 for a strip of x with contiguous rows: x[r][k] is x[r * row + k]. */
static void find_in_rows(int8_t *is_needed, const real *x, int64_t row, int64_t K)
{
    int64_t k = 0;
    for (; k + VECTOR <= K; k += VECTOR) {
        vector_bits any = {0}, part;
        for (int r = 0; r < STRIP; r++) {
            memcpy(&part, x + r * row + k, sizeof part);
            any |= part;
        }
        const flags found = __builtin_convertvector(any != 0, flags);
        memcpy(is_needed + k, &found, sizeof found);
    }
    for (; k < K; k++) {
        is_needed[k] = 0;
        for (int r = 0; r < STRIP; r++)
            is_needed[k] |= -(x[r * row + k] != 0);
    }
}

static void lists_of_rows(needed_list *lists, int64_t strips, const real *x, int64_t row, int64_t K)
{
    int8_t is_needed[STRIPS_AT_ONCE * DEPTH];
    for (int64_t s = 0; s < strips; s++)
        find_in_rows(is_needed + s * K, x + s * STRIP * row, row, K);
    for (int64_t s = 0; s < strips; s++) {
        int64_t length = 0;
        for (int64_t k = 0; k < K; k++) {
            lists[s].k[length] = (int32_t)k;
            length -= is_needed[s * K + k];
        }
        lists[s].length = length;
    }
}

/* The same for strips with contiguous columns: x[r][k] is x[k * column + r]. */
static void lists_of_columns(needed_list *lists, int64_t strips, const real *x, int64_t column, int64_t K)
{
    for (int64_t k = 0; k < K; k++, x += column)
        for (int64_t s = 0; s < strips; s++) {
            lane_number bits[STRIP], any = 0;
            memcpy(bits, x + s * STRIP, sizeof bits);
            UNROLL
            for (int r = 0; r < STRIP; r++)
                any |= bits[r];
            lists[s].k[lists[s].length] = (int32_t)k;
            lists[s].length += any != 0;
        }
}

/* For each of `strips` strips, the tile of tile.h with STRIP rows and the k of the strip's list, for one
   panel or for two */
static ALWAYS_INLINE void sparse_tiles(const int panels, const int vectors, const needed_list *lists, int64_t strips, tile_arguments a)
{
    for (int64_t s = 0; s < strips; s++, a.x += a.x_tile, a.out += a.out_tile) {
        vector sum[2][STRIP][VECTORS] = {0};
        for (int64_t i = 0; i < lists[s].length; i++) {
            const int64_t k = lists[s].k[i];
            const real *y = a.y + k * a.y_row, *x[] = {a.x + k * a.x_column, a.x + k * a.x_column + NEAR * a.x_row};
            UNROLL
            for (int p = 0; p < panels; p++) {
                UNROLL
                for (int v = 0; v < vectors; v++) {
                    vector y_part;
                    memcpy(&y_part, y + p * a.y_tile + v * VECTOR, sizeof y_part);
                    UNROLL
                    for (int r = 0; r < STRIP; r++)
                        sum[p][r][v] += x[r / NEAR][r % NEAR * a.x_row] * y_part;
                }
            }
        }
        tile_arguments panel = a;
        UNROLL
        for (int p = 0; p < panels; p++, panel.out += LANES)
            store_tile(STRIP, vectors, sum[p], &panel);
    }
}

static void two_panels(const needed_list *lists, int64_t strips, const tile_arguments *a) { sparse_tiles(2, VECTORS, lists, strips, *a); }
static void one_panel(const needed_list *lists, int64_t strips, const tile_arguments *a) { sparse_tiles(1, VECTORS, lists, strips, *a); }
static void half_panel(const needed_list *lists, int64_t strips, const tile_arguments *a) { sparse_tiles(1, VECTORS / 2, lists, strips, *a); }

/* All tiles of `rows` rows and one or two panels. The last rows may be too few for a strip. */
static void sparse_tiles_of(int64_t rows, int panels, const needed_list *lists, tile_arguments a)
{
    const int64_t strips = rows / STRIP;
    (panels == 2 ? two_panels : a.columns > LANES / 2 ? one_panel : half_panel)(lists, strips, &a);
    a.x += strips * a.x_tile;
    a.out += strips * a.out_tile;
    if (rows % STRIP)
        for (int p = 0; p < panels; p++, a.y += a.y_tile, a.out += LANES)
            tile_of(rows % STRIP, &a);
}

/* Some rows of out, in the order of multiply() in matmul.c. All elements of y are finite. */
static void sparse_matmul_rows(const void *arguments, int64_t begin, int64_t end)
{
    const matmul_arguments a = *(const matmul_arguments *)arguments;
    const int64_t pieces = (a.K + DEPTH - 1) / DEPTH, piece = (a.K + pieces - 1) / pieces;
    const int64_t width = smaller_of(PANELS * LANES, rounded_up(a.N, LANES));
    real *panels = tt_scratch(width * piece * sizeof(real) + STRIPS_AT_ONCE * piece * sizeof(int32_t));
    if (!panels)
        return;
    int32_t *room = (int32_t *)(panels + width * piece);
    for (int64_t n = 0; n < a.N; n += width)
        for (int64_t k = 0; k < a.K; k += piece) {
            const int64_t columns = smaller_of(width, a.N - n), depth = smaller_of(piece, a.K - k);
            const int64_t in_place = a.y_column == 1 ? columns - columns % LANES : 0;
            const real *y = a.y + k * a.y_row + n * a.y_column;
            pack_panels(panels, y + in_place * a.y_column, a.y_end, a.y_row, a.y_column, depth, columns - in_place);
            for (int64_t m = begin; m < end; m += STRIPS_AT_ONCE * STRIP) {
                const int64_t rows = smaller_of(STRIPS_AT_ONCE * STRIP, end - m);
                const real *x = a.x + m * a.x_row + k * a.x_column;
                needed_list lists[STRIPS_AT_ONCE];
                for (int64_t s = 0; s < STRIPS_AT_ONCE; s++)
                    lists[s] = (needed_list){room + s * piece, 0};
                if (a.x_row == 1)
                    lists_of_columns(lists, rows / STRIP, x, a.x_column, depth);
                else
                    lists_of_rows(lists, rows / STRIP, x, a.x_row, depth);
                for (int64_t c = 0, panels_here; c < columns; c += panels_here * LANES) {
                    panels_here = columns - c < 2 * LANES ? 1 : 2;
                    const int is_in_place = c + panels_here * LANES <= in_place;
                    sparse_tiles_of(rows, panels_here, lists, (tile_arguments){
                        .x = x, .x_row = a.x_row, .x_column = a.x_column, .x_tile = STRIP * a.x_row,
                        .y = is_in_place ? y + c : panels + (c - in_place) * depth,
                        .y_row = is_in_place ? a.y_row : LANES, .y_tile = is_in_place ? LANES : LANES * depth,
                        .K = depth, .segments = 1, .columns = smaller_of(LANES, columns - c),
                        .out = a.out + m * a.out_row + n + c, .out_row = a.out_row,
                        .out_tile = STRIP * a.out_row, .add = k > 0,
                    });
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
    if (N < FEW || K == 0 || !is_sparse(x, M * K) || !all_finite(y, K * N)) {
        tt_matmul(x, y, out, 1, M, K, N, transpose_x, transpose_y);
        return;
    }
    const matmul_arguments a = matmul_arguments_of(x, y, out, M, K, N, transpose_x, transpose_y);
    if (is_worth_sharing(1, M, K, N))
        tt_parallel_rows(sparse_matmul_rows, &a, M, STRIP);
    else
        sparse_matmul_rows(&a, 0, M);
}
