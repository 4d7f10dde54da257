/* ladder_matmul.c: out = x . y from the naive triple loop up to the tiles of matmul.c.

       naive        three loops, as the formula is written
       loop order   the same loops in an order that reads memory along its lines
       blocked      a block of sums stays in registers: a number that was loaded is used several times
       vectorised   each of the block's sums becomes a whole vector of sums
       packed       the lines of y that a block reads are copied to lie one behind the other
       threaded     the rows of x are shared among threads: matmul.c, which picks its way by the sizes

   A transposed matrix is read where it lies: its two strides have changed places. build.py compiles
   this behind matmul.c, whose matmul_arguments and pack are used here. */
#include "ladder.h"
#include "machine.h"
#include "tile.h"

/* Each result is a sum along K: a row of x meets a column of y. But a column's numbers lie a whole
   line of memory apart: for each, the cache fetches 64 bytes and 4 or 8 are used. And every addition
   waits for the one before it. */
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

/* The loops over k and n have changed places. The innermost one now goes along a row of y and a row
   of out, number by number as they lie in memory, and its additions don't wait for each other. */
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

/* The product of some rows of x and some columns of y, from (m, n) on. */
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

/* Loading and storing out took longer than multiplying. Here 4 x 4 sums stay in registers until they
   are done: 8 numbers are loaded for 16 multiplications, where it took 2 for one. */
SCALAR static void matmul_blocked(matmul_arguments whole)
{
    for (int64_t n = 0; n < whole.N; n += BLOCK_COLUMNS)
        for (int64_t m = 0; m < whole.M; m += BLOCK_ROWS) {
            const matmul_arguments a = part(whole, m, n, BLOCK_ROWS, BLOCK_COLUMNS);
            if (a.M < BLOCK_ROWS || a.N < BLOCK_COLUMNS) {
                matmul_naive(a); /* what is left at the edges */
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

/* The same block, but each column is now a vector: one instruction multiplies and adds 4, 8 or 16
   numbers, whatever the CPU's registers hold. The block is tile.h's, TILE_ROWS x LANES sums. It loads
   whole lines of y as they lie, so a transposed y and the edges are left to the rung before. */
static void matmul_vectorised(matmul_arguments whole)
{
    for (int64_t n = 0; n < whole.N; n += LANES)
        for (int64_t m = 0; m < whole.M; m += TILE_ROWS) {
            const matmul_arguments a = part(whole, m, n, TILE_ROWS, LANES);
            if (a.N < LANES || a.y_column != 1)
                matmul_blocked(a);
            else
                tile_of(a.M, (tile_arguments){
                    .x = a.x, .x_row = a.x_row, .x_column = a.x_column,
                    .y = a.y, .y_row = a.y_row, .K = a.K, .segments = 1, .columns = LANES,
                    .out = a.out, .out_row = a.out_row, .out_column = 1,
                });
        }
}

/* The tile's lines of y are a row of y apart: each on another page, and where a row's length is a
   power of two, all in the same few places of the cache, from which they push each other out. So they
   are copied once into a panel, DEPTH x LANES, that stays in a near cache while all rows of x pass by.
   A panel's lines are whole even where y's aren't. */
static void matmul_packed(matmul_arguments a)
{
    real panel[DEPTH * LANES];
    for (int64_t n = 0; n < a.N; n += LANES) {
        const int64_t columns = a.N - n < LANES ? a.N - n : LANES;
        int64_t k = 0;
        do { /* once also for K = 0: the sums are 0 then */
            const int64_t depth = a.K - k < DEPTH ? a.K - k : DEPTH;
            const real *y = a.y + k * a.y_row + n * a.y_column;
            pack(panel, y, a.y + a.K * a.N, a.y_row, a.y_column, depth, columns);
            for (int64_t m = 0; m < a.M; m += TILE_ROWS)
                tile_of(a.M - m < TILE_ROWS ? a.M - m : TILE_ROWS, (tile_arguments){
                    .x = a.x + m * a.x_row + k * a.x_column, .x_row = a.x_row, .x_column = a.x_column,
                    .y = panel, .y_row = LANES, .K = depth, .segments = 1, .columns = columns,
                    .out = a.out + m * a.out_row + n,
                    .out_row = a.out_row, .out_column = 1,
                    .add = k > 0,
                });
            k += DEPTH;
        } while (k < a.K);
    }
}

/* The rungs as kernels: B products, one behind the other. */
static void products(void (*product)(matmul_arguments), const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    for (int64_t b = 0; b < B; b++)
        product((matmul_arguments){
            .x = x + b * M * K, .x_row = transpose_x ? 1 : K, .x_column = transpose_x ? M : 1,
            .y = y + b * K * N, .y_row = transpose_y ? 1 : N, .y_column = transpose_y ? K : 1,
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
