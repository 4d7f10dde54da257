/* sgd.c: one step of gradient descent. */
#include "kernels.h"

/* param = param - lr * grad */
void tt_sgd(const real *grad, const double *lr, real *param, int64_t n)
{
    const real rate = *lr;
    for (int64_t i = 0; i < n; i++)
        param[i] -= rate * grad[i];
}
