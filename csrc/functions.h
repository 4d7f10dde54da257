/* functions.h: log, log1p, expm1, tanh, erf, sin and cos in plain arithmetic, so that the compiler can
   vectorise a loop over them.

   The functions are for floats, and compute in double. Their errors, about 1e-9 of the result, are then
   far below the rounding of the result to a float: at most 0.7 of its last place. For doubles the
   functions of the C library are used. Each function is reduced to a short range where a polynomial is
   exact enough. NaN, infinities, subnormal numbers and the sign of 0 are as in the C library.

   Sources: the series of e^r, sin, cos and artanh; Cody and Waite, "Software Manual for the Elementary
   Functions", 1980, for the reductions. */
#ifndef TT_FUNCTIONS_H
#define TT_FUNCTIONS_H
#include <math.h>
#include <stdint.h>
#include <string.h>

/* A double of this size has no fraction bits: x + ROUNDER - ROUNDER is x, rounded to an integer, and the
   low bits of x + ROUNDER are this integer. */
#define ROUNDER 6755399441055744.0 /* 1.5 * 2^52 */

static inline int64_t bits_of(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double from_bits(int64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1) with x = n ln 2 + r and |r| <= ln 2 / 2, for |x| < 700. The
   difference keeps all digits of a small x. The sums of even and of odd powers do not wait for each
   other. */
static inline double e_to_x_less_1(double x)
{
    const double shifted = x * 1.4426950408889634 + ROUNDER;
    const double r = x - (shifted - ROUNDER) * 0.6931471805599453;
    const double power = from_bits((uint64_t)(bits_of(shifted) + 1023) << 52); /* 2^n */
    const double z = r * r;
    const double even = 1 / 2. + z * (1 / 24. + z * (1 / 720. + z * (1 / 40320.)));
    const double odd = 1 / 6. + z * (1 / 120. + z * (1 / 5040.));
    return power * (r + z * (even + r * odd)) + (power - 1);
}

/* log x for a normal x > 0. x = m 2^e with m between sqrt(1/2) and sqrt(2), and with s = (m - 1) / (m + 1)
   log m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...) */
static inline double natural_log(double x)
{
    const int64_t sqrt_half = 0x3fe6a09e667f3bcd, mantissa = 0x000fffffffffffff;
    const int64_t above = bits_of(x) - sqrt_half;
    const double m = from_bits((above & mantissa) + sqrt_half);
    /* e = above >> 52. It is moved to positive numbers, because vectors of 64 bits have only a logical
       shift, and from the low bits of ROUNDER to a double. */
    const uint64_t moved = (uint64_t)(above + ((int64_t)1024 << 52)) >> 52;
    const double e = from_bits(bits_of(ROUNDER) + (int64_t)moved) - (ROUNDER + 1024);
    const double s = (m - 1) / (m + 1), z = s * s;
    return e * 0.6931471805599453 + 2 * s * (1 + z * (1 / 3. + z * (1 / 5. + z * (1 / 7. + z * (1 / 9. + z * (1 / 11.))))));
}

static inline float log_float(float x)
{
    const float result = natural_log(x);
    return x > 0 ? (x < INFINITY ? result : x) : x == 0 ? -INFINITY : NAN;
}

/* 1 + x loses digits of a small x: they are added again, because log'(1) = 1. */
static inline float log1p_float(float x)
{
    const double y = 1 + (double)x, lost = x - (y - 1);
    const float result = natural_log(y) + (fabsf(x) < 0.5f ? lost : 0);
    return x > -1 ? (x < INFINITY ? copysignf(result, x) : x) : x == -1 ? -INFINITY : NAN;
}

static inline float expm1_float(float x)
{
    const double limited = x > 100 ? 100 : x < -100 ? -100 : x; /* e^100 is beyond the floats */
    return copysignf(e_to_x_less_1(limited), x);
}

/* tanh x = (e^2x - 1) / (e^2x + 1) */
static inline float tanh_float(float x)
{
    const double size = fabsf(x), limited = size > 20 ? 20 : size, t = e_to_x_less_1(2 * limited);
    return copysignf(t / (t + 2), x);
}

/* erf x = 1 - e^(-x p(x)) for x >= 0. p(x) = -log(erfc x) / x is smooth; the polynomial was fitted to it
   at Chebyshev's points between 0 and 4. From 4 on, erf is 1 in float. */
static inline float erf_float(float x)
{
    const double size = fabsf(x), y = size > 4 ? 4 : size;
    const double z = y * y;
    const double even = 1.1283791784756861 + z * (0.10277583572557857 + z * (-0.00024718294977747122 + z * (-0.00076670694289216809 + z * (-2.8390299002961419e-5 - z * 9.9462808161350677e-8))));
    const double odd = 0.63661923437564218 + z * (-0.019128647886174757 + z * (0.0018134170890014088 + z * (0.00018635796688501115 + z * 2.5187375180880262e-6)));
    return copysignf(-e_to_x_less_1(-y * (even + y * odd)), x);
}

/* sin(x + quarters * pi / 2). x = n pi / 2 + r with |r| <= pi / 4, and n and `quarters` select the sine or
   the cosine of r, and the sign. pi / 2 is split into two parts, because n times the first part is
   exact. For |x| < FAR only. */
#define FAR 1e6f
static inline float sin_of_quarters(float x, int64_t quarters)
{
    const double shifted = x * 0.6366197723675814 + ROUNDER, n = shifted - ROUNDER;
    const double r = (x - n * 1.5707963267341256) - n * 6.077100506506192e-11, z = r * r;
    const double sine = r * (1 + z * (-1 / 6. + z * (1 / 120. + z * (-1 / 5040. + z * (1 / 362880.)))));
    const double cosine = 1 + z * (-1 / 2. + z * (1 / 24. + z * (-1 / 720. + z * (1 / 40320. + z * (-1 / 3628800.)))));
    const int64_t quarter = bits_of(shifted) + quarters;
    const double result = quarter & 1 ? cosine : sine;
    return quarter & 2 ? -result : result;
}

/* The function for the type of x. */
#define LOG(x) _Generic((x), float: log_float, double: (log))(x)
#define LOG1P(x) _Generic((x), float: log1p_float, double: (log1p))(x)
#define EXPM1(x) _Generic((x), float: expm1_float, double: (expm1))(x)
#define TANH(x) _Generic((x), float: tanh_float, double: (tanh))(x)
#define ERF(x) _Generic((x), float: erf_float, double: (erf))(x)

#endif
