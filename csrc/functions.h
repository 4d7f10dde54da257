/* functions.h: log, log1p, expm1, tanh, sin, cos, pow, erf, gelu, silu and softplus in plain arithmetic,
   so that the compiler can vectorise a loop over them.

   The functions are for floats. For doubles the functions of the C library are used. Each function is
   reduced to a short range where a polynomial is exact enough. NaN, infinities, subnormal numbers and
   the sign of 0 are as in the C library.

   Sources: the series of e^r, sin, cos and artanh; Cody and Waite, "Software Manual for the Elementary
   Functions", 1980, for the reductions. */
#ifndef TT_FUNCTIONS_H
#define TT_FUNCTIONS_H
#include "exp.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Functions that compute in double. Their errors, about 1e-9 of the result, are far below the rounding of
   the result to a float: at most 0.7 of its last place. */

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

/* e^x = 2^n (1 + q) with x = n ln 2 + r and |r| <= ln 2 / 2, for |x| < 700: returns q, and sets power to
   2^n. The sums of even and of odd powers do not wait for each other. */
static inline double exp_parts_of_double(double x, double *power)
{
    const double shifted = x * 1.4426950408889634 + ROUNDER;
    const double r = x - (shifted - ROUNDER) * 0.6931471805599453;
    *power = from_bits((uint64_t)(bits_of(shifted) + 1023) << 52);
    const double z = r * r;
    const double even = 1 / 2. + z * (1 / 24. + z * (1 / 720. + z * (1 / 40320.)));
    const double odd = 1 / 6. + z * (1 / 120. + z * (1 / 5040.));
    return r + z * (even + r * odd);
}

static inline double exp_of_double(double x)
{
    double power;
    const double q = exp_parts_of_double(x, &power);
    return power + power * q;
}

/* e^x - 1 = 2^n q + (2^n - 1): the difference keeps all digits of a small x. */
static inline double exp_less_1_of_double(double x)
{
    double power;
    const double q = exp_parts_of_double(x, &power);
    return power * q + (power - 1);
}

/* log x for a normal x > 0. x = m 2^e with m between sqrt(1/2) and sqrt(2), and with s = (m - 1) / (m + 1)
   log m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...) */
static inline double natural_log(double x)
{
    const uint64_t sqrt_half = 0x3fe6a09e667f3bcd, mantissa = 0x000fffffffffffff;
    const uint64_t above = bits_of(x) - sqrt_half; /* unsigned, because it overflows for x <= 0 */
    const double m = from_bits((above & mantissa) + sqrt_half);
    /* e = above >> 52. It is moved to positive numbers, because vectors of 64 bits have only a logical
       shift, and from the low bits of ROUNDER to a double. */
    const uint64_t moved = (above + ((uint64_t)1024 << 52)) >> 52;
    const double e = from_bits(bits_of(ROUNDER) + (int64_t)moved) - (ROUNDER + 1024);
    const double s = (m - 1) / (m + 1), z = s * s;
    return e * 0.6931471805599453 + 2 * s * (1 + z * (1 / 3. + z * (1 / 5. + z * (1 / 7. + z * (1 / 9. + z * (1 / 11.))))));
}

static inline float log_float(float x)
{
    const float result = natural_log(x);
    return x > 0 ? (x < INFINITY ? result : x) : x == 0 ? -INFINITY : NAN;
}

static inline float expm1_float(float x)
{
    const double limited = x > 100 ? 100 : x < -100 ? -100 : x; /* e^100 is beyond the floats */
    return copysignf(exp_less_1_of_double(limited), x);
}

/* tanh x = (e^2x - 1) / (e^2x + 1) */
static inline float tanh_float(float x)
{
    const double size = fabsf(x), limited = size > 20 ? 20 : size, t = exp_less_1_of_double(2 * limited);
    return copysignf(t / (t + 2), x);
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

/* x^y = e^(y log |x|), negative if x is negative and y is odd */
static inline float pow_float(float x, float y)
{
    const float size = fabsf(x);
    const int whole = rintf(y) == y, odd = whole && rintf(y / 2) != y / 2;
    const double log_size = size > 0 ? (size < INFINITY ? natural_log(size) : size) : size == 0 ? -INFINITY : size;
    const double exponent = y * log_size, limited = exponent > 200 ? 200 : exponent < -200 ? -200 : exponent;
    const float power = exp_of_double(limited); /* e^200 is beyond the floats */
    const float result = x < 0 && size < INFINITY && !whole ? NAN : odd ? copysignf(power, x) : power;
    return y == 0 || x == 1 || (x == -1 && fabsf(y) == INFINITY) ? 1 : result;
}

/* Functions that compute in float, with twice the number of elements in a vector. The errors are at most 1.6
   units in the last place for log1p, 3 for erf, silu and softplus, and 7 for gelu far below 0. The
   coefficients of the polynomials were fitted. */

/* Near 0, erf x is x times a polynomial of x^2. For larger x it is 1 - erfc x, where -log(erfc x) is a
   polynomial. From 4 on, erf is 1 in float. */
static inline float erf_float(float x)
{
    const float size = fabsf(x), y = size > 4 ? 4 : size, z = y * y;
    const float small = y + y * (0.128379166f + z * (-0.376125723f + z * (0.112827174f + z * (-0.0268025491f + z * (0.0050510969f - z * 0.000631514005f)))));
    const float exponent = y + y * (0.128529549f + y * (0.63566637f + y * (0.105331019f + y * (-0.0229347534f + y * (0.0032290481f - y * 0.000215708496f)))));
    return copysignf(size < 0.85f ? small : 1 - exp_below_0(-exponent), x);
}

/* factor * e^(-x^2 / 2) for x >= 0. The rounding of x^2 would be an error of the exponent. So x is split:
   the first part has 12 bits, and its square is exact. */
static inline float times_bell(float factor, float x)
{
    uint32_t bits;
    float part;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xfffff000;
    memcpy(&part, &bits, sizeof part);
    return times_exp_below_0(factor, part * part / -2, (x - part) * (x + part) / 2);
}

/* P(-x) e^(x^2 / 2) for 0 <= x <= 15, where P(x) = (1 + erf(x / sqrt(2))) / 2 is the normal distribution */
static inline float normal_tail(float x)
{
    const float above = 0.500000003f + x * (0.439284475f + x * (0.183969946f + x * (0.0408814092f + x * 0.00415327367f)));
    const float below = 1 + x * (1.67645395f + x * (1.20555156f + x * (0.471410836f + x * (0.102480613f + x * 0.0104106016f))));
    return above / below;
}

/* gelu x = x P(x) = max(x, 0) - |x| P(-|x|). P(-15) is 0 in float. */
static inline float gelu_float(float x)
{
    const float size = fabsf(x), y = size > 15 ? 15 : size;
    return copysignf(x > 0 ? x : 0, x) - times_bell(y * normal_tail(y), y);
}

/* P(x) + x e^(-x^2 / 2) / sqrt(2 pi), which is 1 minus its value at -x */
static inline float gelu_slope_float(float x)
{
    const float size = fabsf(x), y = size > 15 ? 15 : size;
    const float below_0 = times_bell(normal_tail(y) - y * 0.398942280f, y);
    return x > 0 ? 1 - below_0 : below_0;
}

static inline double gelu_double(double x)
{
    const double y = x < -40 ? -40 : x; /* P(-40) is 0 in double */
    return y * erfc(-y * 0.70710678118654752) / 2;
}

static inline double gelu_slope_double(double x)
{
    const double y = x < -40 ? -40 : x > 40 ? 40 : x;
    return erfc(-y * 0.70710678118654752) / 2 + y * exp(-y * y / 2) * 0.3989422804014327;
}

/* log(1 + x) with 1 + x = 2^e (1 + f) and 1 + f between sqrt(1/2) and sqrt(2) is e ln 2 + log(1 + f), and
   log(1 + f) = f - f^2 / 2 + f^3 times a polynomial. 1 + x is rounded; what it loses is a part of f. */
static inline float log1p_float(float x)
{
    const float y = 1 + x, lost = x - (y - 1);
    const uint32_t sqrt_half = 0x3f3504f3, mantissa = 0x007fffff;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    bits -= sqrt_half; /* x > -1 here, so y has a sign of 0 */
    const int32_t e = (int32_t)bits >> 23;
    bits = (bits & mantissa) + sqrt_half;
    float m;
    memcpy(&m, &bits, sizeof m);

    const float f = (m - 1) + lost * power_of_two(e < 64 ? -e : -64), z = f * f; /* from 2^25 on, nothing is lost */
    const float even = 0.33333331f + z * (0.20001227f + z * (0.14201762f + z * 0.12761550f));
    const float odd = 0.25000823f + z * (0.16623357f + z * (0.13160194f + z * 0.07634430f));
    const float rest = z * (f * (even - f * odd) - 0.5f) + e * REST_OF_LN_2;
    const float result = e * LN_2 + (f + rest);
    return x > -1 ? (x < INFINITY ? copysignf(result, x) : x) : x == -1 ? -INFINITY : NAN;
}

/* silu x = x / (1 + e^-x). Numerator and denominator are multiplied by 2^-40, because e^-x overflows although
   x e^x is still a float. From 20 on silu x is x in float, and below -110 it is 0. */
static inline float silu_float(float x)
{
    int32_t n;
    const float y = x < -110 ? -110 : x > 20 ? 20 : x;
    const float power = 1 + exp_parts(-y, 0, &n);
    const float quotient = y / (0x1p-40f + power * power_of_two(n - 40)) * 0x1p-40f;
    return x > 20 ? x : quotient;
}

static inline double silu_double(double x)
{
    const double y = x < -800 ? -800 : x, half = exp(-fabs(y) / 2);
    return (y < 0 ? y * half * half : y) / (1 + half * half);
}

/* log(1 + e) for 0 <= e <= 1. With s = e / (2 + e) it is 2 artanh s = 2 s + s r, where r is the series
   2 (s^2 / 3 + s^4 / 5 + ...), and 2 s = e - s e. */
static inline float log1p_of_fraction(float e)
{
    const float s = e / (2 + e), z = s * s;
    const float r = z * (2 / 3.f + z * (2 / 5.f + z * (2 / 7.f + z * (2 / 9.f + z * (2 / 11.f + z * (2 / 13.f))))));
    return e - s * (e - r);
}

/* softplus x = log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
static inline float softplus_float(float x) { return (x > 0 ? x : 0) + log1p_of_fraction(exp_float(-fabsf(x))); }
static inline double softplus_double(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

/* The function for the type of x. */
#define LOG(x) _Generic((x), float: log_float, double: (log))(x)
#define LOG1P(x) _Generic((x), float: log1p_float, double: (log1p))(x)
#define EXPM1(x) _Generic((x), float: expm1_float, double: (expm1))(x)
#define TANH(x) _Generic((x), float: tanh_float, double: (tanh))(x)
#define ERF(x) _Generic((x), float: erf_float, double: (erf))(x)
#define POW(x, y) _Generic((x), float: pow_float, double: (pow))(x, y)
#define GELU(x) _Generic((x), float: gelu_float, double: gelu_double)(x)
#define GELU_SLOPE(x) _Generic((x), float: gelu_slope_float, double: gelu_slope_double)(x)
#define SILU(x) _Generic((x), float: silu_float, double: silu_double)(x)
#define SOFTPLUS(x) _Generic((x), float: softplus_float, double: softplus_double)(x)

#endif
