/* optimizers.c: the update rules of the optimisers, each in one pass over the parameters.

   Factors that are the same for all elements are computed once, in double. */
#include "kernels.h"
#include "machine.h"
#include <tgmath.h>

/* The arrays, and the factors that are computed once. */
typedef struct {
    const real *grad, *x;
    real *param, *m, *v; /* m: the velocity or an average, v: an average of squares */
    real rate, mu, b1, b2, one_minus_b1, one_minus_b2, m_scale, v_scale, e, w;
    int nesterov;
} update;

static void sgd_elements(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++)
        a.param[i] -= a.rate * (a.grad[i] + a.w * a.param[i]);
}

void tt_sgd(const real *grad, const double *lr, real *param, double weight_decay, int64_t n)
{
    const update a = {.grad = grad, .param = param, .rate = *lr, .w = weight_decay};
    tt_parallel_elements(sgd_elements, &a, n, 1);
}

static void sgd_momentum_elements(const void *arguments, int64_t begin, int64_t end)
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
    tt_parallel_elements(sgd_momentum_elements, &a, n, 1);
}

static void adam_elements(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++) {
        a.m[i] = a.b1 * a.m[i] + a.one_minus_b1 * a.grad[i];
        a.v[i] = a.b2 * a.v[i] + a.one_minus_b2 * a.grad[i] * a.grad[i];
        a.param[i] -= a.rate * (a.m[i] * a.m_scale / (sqrt(a.v[i] * a.v_scale) + a.e) + a.w * a.param[i]);
    }
}

void tt_adam(const real *grad, const double *lr, const double *step, real *m, real *v, real *param, double beta1, double beta2, double epsilon, double weight_decay, int64_t n)
{
    const update a = {
        .grad = grad, .m = m, .v = v, .param = param,
        .rate = *lr, .b1 = beta1, .b2 = beta2, .one_minus_b1 = 1 - beta1, .one_minus_b2 = 1 - beta2,
        .m_scale = 1 / (1 - pow(beta1, *step)), .v_scale = 1 / (1 - pow(beta2, *step)),
        .e = epsilon, .w = weight_decay,
    };
    tt_parallel_elements(adam_elements, &a, n, 1);
}

static void rmsprop_elements(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++) {
        a.v[i] = a.b2 * a.v[i] + a.one_minus_b2 * a.grad[i] * a.grad[i];
        a.param[i] -= a.rate * a.grad[i] / (sqrt(a.v[i]) + a.e);
    }
}

void tt_rmsprop(const real *grad, const double *lr, real *square, real *param, double decay, double epsilon, int64_t n)
{
    const update a = {
        .grad = grad, .v = square, .param = param,
        .rate = *lr, .b2 = decay, .one_minus_b2 = 1 - decay, .e = epsilon,
    };
    tt_parallel_elements(rmsprop_elements, &a, n, 1);
}

static void moving_average_elements(const void *arguments, int64_t begin, int64_t end)
{
    const update a = *(const update *)arguments;
    for (int64_t i = begin; i < end; i++)
        a.m[i] = a.b1 * a.m[i] + a.one_minus_b1 * a.x[i];
}

void tt_moving_average(const real *x, const double *decay, real *average, int64_t n)
{
    const update a = {.x = x, .m = average, .b1 = *decay, .one_minus_b1 = 1 - *decay};
    tt_parallel_elements(moving_average_elements, &a, n, 1);
}
