/* random.c: random numbers that depend only on a seed and a counter.

   The i-th number is a hash of the seed and i, with the mixing steps of SplitMix64. So each thread can
   compute any part, and all backends compute the same numbers. */
#include "kernels.h"
#include "machine.h"

static inline uint64_t number(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + i * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

typedef struct {
    uint64_t seed, count, limit;
    real kept, *out;
} mask_arguments;

static void dropout_mask_elements(const void *arguments, int64_t begin, int64_t end)
{
    const mask_arguments a = *(const mask_arguments *)arguments;
    for (int64_t i = begin; i < end; i++)
        a.out[i] = number(a.seed, a.count + i + 1) >> 40 < a.limit ? a.kept : 0;
}

void tt_dropout_mask(uint64_t *state, real *out, double keep_prob, int64_t n)
{
    const mask_arguments a = {
        .seed = state[0], .count = state[1], .kept = 1 / keep_prob, .out = out,
        .limit = keep_prob * (1 << 24), /* 24 bits, because a float's mantissa has 24 bits */
    };
    tt_parallel_elements(dropout_mask_elements, &a, n, 1);
    state[1] += n;
}
