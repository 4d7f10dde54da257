/* ladder_matmul.c: out = x . y, from the naive triple loop to the tiles of matmul.c.

       naive        three loops, as in the formula
       loop order   the same loops in an order that reads memory contiguously
       blocked      4 x 4 sums are kept in registers: each loaded element is used 4 times
       vectorised   each column of the block becomes a vector
       packed       the rows of y that a block reads are copied next to each other
       threaded     the rows of out are divided among threads: matmul.c, which also packs x, and adapts to the sizes

   A transposed matrix is not copied; its two strides are swapped. build.py compiles this file after
   matmul.c, because it uses matmul_arguments and pack_panels. */
#include "ladder.h"
#include "machine.h"
#include "tile.h"

/* out[m][n] = the sum over k of x[m][k] * y[k][n]. Two things make this slow. The elements of a column
   of y are far apart in memory: for each one the cache loads 64 bytes, of which 4 or 8 are used. And
   each addition waits for the previous one. */
SCALAR static void matmul_naive(matmul_arguments a)
{
    for (int64_t m = 0; m < a.M; m++)
        for (int64_t n = 0; n < a.N; n++) {
            real sum = 0;
            for (int64_t k = 0; k < a.K; k++)
                sum += a.x[m * a.x_row + k * a.x_column] * a.y[k * a.y_row + n * a.y_column];
            a.out[m * a.out_row + n] = sum;
        }
}

/* The loops over k and n are swapped. The innermost loop now goes along a row of y and a row of out,
   which are contiguous, and its additions do not wait for each other. */
SCALAR static void matmul_loop_order(matmul_arguments a)
{
    for (int64_t m = 0; m < a.M; m++) {
        real *out = a.out + m * a.out_row;
        for (int64_t n = 0; n < a.N; n++)
            out[n] = 0;
        for (int64_t k = 0; k < a.K; k++) {
            const real factor = a.x[m * a.x_row + k * a.x_column];
            for (int64_t n = 0; n < a.N; n++)
                out[n] += factor * a.y[k * a.y_row + n * a.y_column];
        }
    }
}

/* The arguments for the block of out that starts at (m, n). */
static matmul_arguments part(matmul_arguments a, int64_t m, int64_t n, int64_t rows, int64_t columns)
{
    a.x += m * a.x_row;
    a.y += n * a.y_column;
    a.out += m * a.out_row + n;
    a.M = a.M - m < rows ? a.M - m : rows;
    a.N = a.N - n < columns ? a.N - n : columns;
    return a;
}

enum { BLOCK_ROWS = 4, BLOCK_COLUMNS = 4 };

/* Loading and storing out took longer than multiplying. Here 4 x 4 sums are kept in registers until they
   are complete. 8 elements are loaded for 16 multiplications, not 2 for each. */
SCALAR static void matmul_blocked(matmul_arguments whole)
{
    for (int64_t n = 0; n < whole.N; n += BLOCK_COLUMNS)
        for (int64_t m = 0; m < whole.M; m += BLOCK_ROWS) {
            const matmul_arguments a = part(whole, m, n, BLOCK_ROWS, BLOCK_COLUMNS);
            if (a.M < BLOCK_ROWS || a.N < BLOCK_COLUMNS) {
                matmul_naive(a); /* incomplete blocks at the edges */
                continue;
            }
            real sum[BLOCK_ROWS][BLOCK_COLUMNS] = {0};
            for (int64_t k = 0; k < a.K; k++) {
                const real *x = a.x + k * a.x_column, *y = a.y + k * a.y_row;
                UNROLL
                for (int r = 0; r < BLOCK_ROWS; r++) {
                    UNROLL
                    for (int c = 0; c < BLOCK_COLUMNS; c++)
                        sum[r][c] += x[r * a.x_row] * y[c * a.y_column];
                }
            }
            UNROLL
            for (int r = 0; r < BLOCK_ROWS; r++) {
                UNROLL
                for (int c = 0; c < BLOCK_COLUMNS; c++)
                    a.out[r * a.out_row + c] = sum[r][c];
            }
        }
}

/* The same block with vectors of sums: one instruction multiplies and adds 4, 8 or 16 elements, depending
   on the CPU. The block is the tile of tile.h, TILE_ROWS x LANES sums. It loads LANES contiguous elements
   of y, so the previous rung computes transposed matrices y and the edges. */
static void matmul_vectorised(matmul_arguments whole)
{
    for (int64_t n = 0; n < whole.N; n += LANES)
        for (int64_t m = 0; m < whole.M; m += TILE_ROWS) {
            const matmul_arguments a = part(whole, m, n, TILE_ROWS, LANES);
            if (a.N < LANES || a.y_column != 1)
                matmul_blocked(a);
            else
                tile_of(a.M, &(tile_arguments){
                    .x = a.x, .x_row = a.x_row, .x_column = a.x_column,
                    .y = a.y, .y_row = a.y_row, .K = a.K, .segments = 1, .columns = LANES,
                    .out = a.out, .out_row = a.out_row,
                });
        }
}

/* The rows of y in a tile are a complete matrix row apart, each on another page. If the length of a row
   is a power of two, they all compete for the same few cache sets. So they are copied ("packed") once
   into a panel of DEPTH x LANES, which stays in the L1 cache while all rows of x are multiplied with it.
   The rows of a panel are complete, also at the edge of y. */
static void matmul_packed(matmul_arguments a)
{
    real panel[DEPTH * LANES];
    for (int64_t n = 0; n < a.N; n += LANES) {
        const int64_t columns = a.N - n < LANES ? a.N - n : LANES;
        int64_t k = 0;
        do { /* one iteration even if K = 0, to store zeros */
            const int64_t depth = a.K - k < DEPTH ? a.K - k : DEPTH;
            const real *y = a.y + k * a.y_row + n * a.y_column;
            pack_panels(panel, y, a.y_end, a.y_row, a.y_column, depth, columns);
            for (int64_t m = 0; m < a.M; m += TILE_ROWS)
                tile_of(a.M - m < TILE_ROWS ? a.M - m : TILE_ROWS, &(tile_arguments){
                    .x = a.x + m * a.x_row + k * a.x_column, .x_row = a.x_row, .x_column = a.x_column,
                    .y = panel, .y_row = LANES, .K = depth, .segments = 1, .columns = columns,
                    .out = a.out + m * a.out_row + n,
                    .out_row = a.out_row,
                    .add = k > 0,
                });
            k += DEPTH;
        } while (k < a.K);
    }
}

/* A rung as a kernel: B products. */
static void products(void (*product)(matmul_arguments), const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    for (int64_t b = 0; b < B; b++)
        product((matmul_arguments){
            .x = x + b * M * K, .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
            .y = y + b * K * N, .y_end = y + (b + 1) * K * N, .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
            .out = out + b * M * N, .out_row = N,
            .M = M, .K = K, .N = N,
        });
}

void tt_matmul_naive(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    products(matmul_naive, x, y, out, B, M, K, N, transpose_x, transpose_y);
}

void tt_matmul_loop_order(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    products(matmul_loop_order, x, y, out, B, M, K, N, transpose_x, transpose_y);
}

void tt_matmul_blocked(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    products(matmul_blocked, x, y, out, B, M, K, N, transpose_x, transpose_y);
}

void tt_matmul_vectorised(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    products(matmul_vectorised, x, y, out, B, M, K, N, transpose_x, transpose_y);
}

void tt_matmul_packed(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    products(matmul_packed, x, y, out, B, M, K, N, transpose_x, transpose_y);
}
