/* optimizers.c: how parameters follow their gradients, in one pass over memory each.

   Numbers that are the same for all parameters are worked out in double, once. */
#include "kernels.h"
#include "machine.h"
#include <tgmath.h>

/* What the kernels are given, and what they work out once. */
typedef struct {
    const real *grad, *x;
    real *param, *m, *v; /* m: a momentum or an average, v: an average of squares */
    real rate, mu, b1, b2, rest1, rest2, m_scale, v_scale, e, w;
    int nesterov;
} update;

static void sgd_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++)
        a.param[i] -= a.rate * (a.grad[i] + a.w * a.param[i]);
}

void tt_sgd(const real *grad, const double *lr, real *param, double weight_decay, int64_t n)
{
    const update a = {.grad = grad, .param = param, .rate = *lr, .w = weight_decay};
    tt_parallel_numbers(sgd_numbers, &a, n, 1);
}

static void sgd_momentum_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++) {
        const real g = a.grad[i] + a.w * a.param[i];
        a.m[i] = a.mu * a.m[i] + g;
        a.param[i] -= a.rate * (a.nesterov ? g + a.mu * a.m[i] : a.m[i]);
    }
}

void tt_sgd_momentum(const real *grad, const double *lr, real *velocity, real *param, double momentum, int nesterov, double weight_decay, int64_t n)
{
    const update a = {
        .grad = grad, .m = velocity, .param = param,
        .rate = *lr, .mu = momentum, .nesterov = nesterov, .w = weight_decay,
    };
    tt_parallel_numbers(sgd_momentum_numbers, &a, n, 1);
}

static void adam_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++) {
        a.m[i] = a.b1 * a.m[i] + a.rest1 * a.grad[i];
        a.v[i] = a.b2 * a.v[i] + a.rest2 * a.grad[i] * a.grad[i];
        a.param[i] -= a.rate * (a.m[i] * a.m_scale / (sqrt(a.v[i] * a.v_scale) + a.e) + a.w * a.param[i]);
    }
}

void tt_adam(const real *grad, const double *lr, const double *step, real *m, real *v, real *param, double beta1, double beta2, double epsilon, double weight_decay, int64_t n)
{
    const update a = {
        .grad = grad, .m = m, .v = v, .param = param,
        .rate = *lr, .b1 = beta1, .b2 = beta2, .rest1 = 1 - beta1, .rest2 = 1 - beta2,
        .m_scale = 1 / (1 - pow(beta1, *step)), .v_scale = 1 / (1 - pow(beta2, *step)),
        .e = epsilon, .w = weight_decay,
    };
    tt_parallel_numbers(adam_numbers, &a, n, 1);
}

static void rmsprop_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++) {
        a.v[i] = a.b2 * a.v[i] + a.rest2 * a.grad[i] * a.grad[i];
        a.param[i] -= a.rate * a.grad[i] / (sqrt(a.v[i]) + a.e);
    }
}

void tt_rmsprop(const real *grad, const double *lr, real *square, real *param, double decay, double epsilon, int64_t n)
{
    const update a = {
        .grad = grad, .v = square, .param = param,
        .rate = *lr, .b2 = decay, .rest2 = 1 - decay, .e = epsilon,
    };
    tt_parallel_numbers(rmsprop_numbers, &a, n, 1);
}

static void moving_average_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++)
        a.m[i] = a.b1 * a.m[i] + a.rest1 * a.x[i];
}

void tt_moving_average(const real *x, const double *decay, real *average, int64_t n)
{
    const update a = {.x = x, .m = average, .b1 = *decay, .rest1 = 1 - *decay};
    tt_parallel_numbers(moving_average_numbers, &a, n, 1);
}
