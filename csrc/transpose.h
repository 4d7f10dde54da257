/* transpose.h: a square of VECTOR x VECTOR numbers is transposed in registers.

   Blocks that mirror one another change places, at first the smallest ones, at last the quarters:
       a b c d       a e c g       a e i m
       e f g h  -->  b f d h  -->  b f j n
       i j k l       i m k o       c g k o
       m n o p       j n l p       d h l p
   Each step takes two rows `distance` apart and makes two new ones of their lanes. */
#ifndef TT_TRANSPOSE_H
#define TT_TRANSPOSE_H
#include "tile.h"

/* The lanes of two rows, the second row's counted on from the first's, that make the new rows. */
#define FIRST(lane, distance) ((lane) & (distance) ? VECTOR + (lane) - (distance) : (lane))
#define SECOND(lane, distance) ((lane) & (distance) ? VECTOR + (lane) : (lane) + (distance))

#define LANES_2(f, d) f(0, d), f(1, d)
#define LANES_4(f, d) LANES_2(f, d), f(2, d), f(3, d)
#define LANES_8(f, d) LANES_4(f, d), f(4, d), f(5, d), f(6, d), f(7, d)
#define LANES_16(f, d) LANES_8(f, d), f(8, d), f(9, d), f(10, d), f(11, d), f(12, d), f(13, d), f(14, d), f(15, d)
#define LANES_OF(vector, f, d) LANES_##vector(f, d)
#define EACH_LANE(vector, f, d) LANES_OF(vector, f, d)

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, f, d) __builtin_shufflevector(a, b, EACH_LANE(VECTOR, f, d))
#endif
#endif
#ifndef SHUFFLE /* gcc before 12 */
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 4, (int32_t)0, (int64_t)0)) lane_number;
typedef lane_number lane_numbers __attribute__((vector_size(VECTOR_BYTES)));
#define SHUFFLE(a, b, f, d) __builtin_shuffle(a, b, (lane_numbers){EACH_LANE(VECTOR, f, d)})
#endif

#define NEW_FIRST(a, b, distance) SHUFFLE(a, b, FIRST, (distance) % VECTOR)
#define NEW_SECOND(a, b, distance) SHUFFLE(a, b, SECOND, (distance) % VECTOR)

#define EXCHANGE(distance)                                          \
    UNROLL                                                          \
    for (int i = 0; i + (distance) < VECTOR; i++)                   \
        if (!(i & (distance))) {                                    \
            const vector a = square[i], b = square[i + (distance)]; \
            square[i] = NEW_FIRST(a, b, distance);                  \
            square[i + (distance)] = NEW_SECOND(a, b, distance);    \
        }

static ALWAYS_INLINE void transpose(vector square[VECTOR])
{
    EXCHANGE(1)
    EXCHANGE(2)
    EXCHANGE(4)
    EXCHANGE(8)
}

#define ADD_PAIRS(distance)                                                 \
    UNROLL                                                                  \
    for (int i = 0; i + (distance) < VECTOR; i += 2 * (distance)) {         \
        const vector a = square[i], b = square[i + (distance)];             \
        square[i] = NEW_FIRST(a, b, distance) + NEW_SECOND(a, b, distance); \
    }

/* Lane i of the result is the sum of the lanes of square[i]: the columns of its transpose, added up
   while it is made. */
static ALWAYS_INLINE vector sums_of_lanes(vector square[VECTOR])
{
    ADD_PAIRS(1)
    ADD_PAIRS(2)
    ADD_PAIRS(4)
    ADD_PAIRS(8)
    return square[0];
}

/* x[rows][VECTOR] becomes out[columns][VECTOR], whose lanes beyond `rows` are 0. Rows, up to VECTOR
   of them, lie x_row and out_row apart. */
static ALWAYS_INLINE void transpose_square(const real *x, int64_t x_row, int64_t rows, real *out, int64_t out_row, int64_t columns)
{
    vector square[VECTOR] = {0};
    UNROLL
    for (int i = 0; i < VECTOR; i++)
        if (i < rows)
            memcpy(&square[i], x + i * x_row, sizeof(vector));
    transpose(square);
    UNROLL
    for (int i = 0; i < VECTOR; i++)
        if (i < columns)
            memcpy(out + i * out_row, &square[i], sizeof(vector));
}

#endif
