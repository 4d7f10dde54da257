/* exp.h: e^x in plain arithmetic, so that the compiler can vectorise a loop over it.

   x = n ln 2 + r with an integer n and |r| <= ln 2 / 2, so e^x = 2^n e^r. For such a small r the
   Taylor series up to r^7 has an error of 5e-9, a tenth of a float's rounding error. */
#ifndef TT_EXP_H
#define TT_EXP_H
#include <stdint.h>
#include <string.h>
#include <math.h>

static inline float power_of_two(int32_t n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23; /* a float's exponent */
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* e^x = power * 2^n: returns the power, between 0.7 and 1.5. If |x| is so large that n does not fit
   into a float's exponent, n is wrong. */
static inline float exp_parts(float x, int32_t *n)
{
    /* A float of this size has no fraction bits, so the low bits of the sum are x / ln 2, rounded. */
    const float large = 12582912;
    const float shifted = x * 1.44269504f + large;
    int32_t bits, large_bits;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&large_bits, &large, sizeof large_bits);
    *n = bits - large_bits;

    /* ln 2 is split into two parts, because n times the first part is exact. */
    const float whole = shifted - large;
    const float r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    const float tail = 1 / 2.f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f + r * (1 / 5040.f)))));
    return 1 + (r + r * r * tail);
}

static inline float exp_float(float x)
{
    /* Beyond these limits the result is +inf and 0. A NaN fails both comparisons and stays a NaN. */
    x = x > 89 ? 89 : x;
    x = x < -104 ? -104 : x;
    int32_t n;
    const float power = exp_parts(x, &n);
    /* 2^n can overflow although e^x does not, so it is multiplied in two steps. */
    return power * power_of_two(n >> 1) * power_of_two(n - (n >> 1));
}

/* e^x for x <= 0, in fewer steps. Results below the smallest normal float, 1.2e-38, become 0. */
static inline float exp_below_0(float x)
{
    int32_t n;
    const float power = exp_parts(x, &n);
    return x < -87.3f ? 0 : power * power_of_two(n);
}

/* The function for the type of x. */
#define EXP(x) _Generic((x), float: exp_float, double: (exp))(x)
#define EXP_BELOW_0(x) _Generic((x), float: exp_below_0, double: (exp))(x)

#endif
