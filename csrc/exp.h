/* exp.h: e^x in plain arithmetic, so that the compiler can vectorise a loop over it.

   x = n ln 2 + r with an integer n and |r| <= ln 2 / 2, so e^x = 2^n e^r. For such a small r the
   Taylor series up to r^7 has an error of 5e-9, a tenth of a float's rounding error. */
#ifndef TT_EXP_H
#define TT_EXP_H
#include <stdint.h>
#include <string.h>
#include <math.h>

/* ln 2 in two parts. An integer times the first part is exact. */
#define LN_2 0.693145752f
#define REST_OF_LN_2 1.42860677e-6f

static inline float power_of_two(int32_t n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23; /* a float's exponent */
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* e^(x - rest) = 2^n (1 + q) for a small rest: returns q, between -0.3 and 0.5. If |x| is so large that n
   does not fit into a float's exponent, n is wrong. */
static inline float exp_parts(float x, float rest, int32_t *n)
{
    /* A float of this size has no fraction bits, so the low bits of the sum are x / ln 2, rounded. */
    const float large = 12582912;
    const float shifted = x * 1.44269504f + large;
    int32_t bits, large_bits;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&large_bits, &large, sizeof large_bits);
    *n = bits - large_bits;

    /* The sums of even and of odd powers do not wait for each other. */
    const float whole = shifted - large;
    const float r = (x - whole * LN_2) - whole * REST_OF_LN_2 - rest, z = r * r;
    const float even = 1 / 2.f + z * (1 / 24.f + z * (1 / 720.f));
    const float odd = 1 / 6.f + z * (1 / 120.f + z * (1 / 5040.f));
    return r + z * (even + r * odd);
}

static inline float exp_float(float x)
{
    /* Beyond these limits the result is +inf and 0. A NaN fails both comparisons and stays a NaN. */
    x = x > 89 ? 89 : x;
    x = x < -104 ? -104 : x;
    int32_t n;
    const float power = 1 + exp_parts(x, 0, &n);
    /* 2^n can overflow although e^x does not, so it is multiplied in two steps. */
    return power * power_of_two(n >> 1) * power_of_two(n - (n >> 1));
}

/* factor * e^(x - rest) for -150 <= x <= 0, rounded only once if the result is subnormal */
static inline float times_exp_below_0(float factor, float x, float rest)
{
    int32_t n;
    const float power = factor + factor * exp_parts(x, rest, &n);
    return power * power_of_two(n + 100) * 0x1p-100f; /* 2^n may be too small for a float */
}

/* e^x for x <= 0, in fewer steps. Results below the smallest normal float, 1.2e-38, become 0. */
static inline float exp_below_0(float x)
{
    int32_t n;
    const float power = 1 + exp_parts(x, 0, &n);
    return x < -87.3f ? 0 : power * power_of_two(n);
}

/* The function for the type of x. */
#define EXP(x) _Generic((x), float: exp_float, double: (exp))(x)
#define EXP_BELOW_0(x) _Generic((x), float: exp_below_0, double: (exp))(x)

#endif
