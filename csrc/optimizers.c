/* optimizers.c: how parameters follow their gradients, in one pass over memory each.

   Numbers that are the same for all parameters are worked out in double, once. */
#include "kernels.h"
#include <tgmath.h>

void tt_sgd(const real *grad, const double *lr, real *param, double weight_decay, int64_t n)
{
    const real rate = *lr, w = weight_decay;
    for (int64_t i = 0; i < n; i++)
        param[i] -= rate * (grad[i] + w * param[i]);
}

void tt_sgd_momentum(const real *grad, const double *lr, real *velocity, real *param, double momentum, int nesterov, double weight_decay, int64_t n)
{
    const real mu = momentum, w = weight_decay, rate = *lr;
    for (int64_t i = 0; i < n; i++) {
        const real g = grad[i] + w * param[i];
        velocity[i] = mu * velocity[i] + g;
        param[i] -= rate * (nesterov ? g + mu * velocity[i] : velocity[i]);
    }
}

void tt_adam(const real *grad, const double *lr, const double *step, real *m, real *v, real *param, double beta1, double beta2, double epsilon, double weight_decay, int64_t n)
{
    const real b1 = beta1, b2 = beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, rate = *lr, w = weight_decay, e = epsilon;
    const real m_scale = 1 / (1 - pow(beta1, *step)), v_scale = 1 / (1 - pow(beta2, *step));
    for (int64_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + rest1 * grad[i];
        v[i] = b2 * v[i] + rest2 * grad[i] * grad[i];
        param[i] -= rate * (m[i] * m_scale / (sqrt(v[i] * v_scale) + e) + w * param[i]);
    }
}

void tt_rmsprop(const real *grad, const double *lr, real *square, real *param, double decay, double epsilon, int64_t n)
{
    const real d = decay, rest = 1 - decay, rate = *lr, e = epsilon;
    for (int64_t i = 0; i < n; i++) {
        square[i] = d * square[i] + rest * grad[i] * grad[i];
        param[i] -= rate * grad[i] / (sqrt(square[i]) + e);
    }
}

void tt_moving_average(const real *x, const double *decay, real *average, int64_t n)
{
    const real d = *decay, rest = 1 - *decay;
    for (int64_t i = 0; i < n; i++)
        average[i] = d * average[i] + rest * x[i];
}
