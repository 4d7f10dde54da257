/* Optimisers: from gradient descent (SGD) to Adam.

   SGD        p = p - rate * grad

   Momentum   velocity = 0.9 * velocity + grad
              p = p - rate * velocity

   Adam       m = 0.9 * m + 0.1 * grad
              v = 0.999 * v + 0.001 * grad * grad
              p = p - rate * (m / (1 - 0.9^step)) / (sqrt(v / (1 - 0.999^step)) + 1e-8)

   All arrays have N floats. p, velocity, m and v are changed in place, and grad is only read. step
   counts from 1. pow and sqrt are functions of doubles. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

void sgd(float *p, const float *grad, int64_t N, double rate)
{
    /* solution */
    for (int64_t n = 0; n < N; n++)
        p[n] -= rate * grad[n];
    /* end of solution */
}

void momentum(float *p, float *velocity, const float *grad, int64_t N, double rate)
{
    /* solution */
    for (int64_t n = 0; n < N; n++) {
        velocity[n] = 0.9f * velocity[n] + grad[n];
        p[n] -= rate * velocity[n];
    }
    /* end of solution */
}

void adam(float *p, float *m, float *v, const float *grad, int64_t N, double rate, int64_t step)
{
    /* solution */
    const float m_scale = 1 / (1 - pow(0.9, step)), v_scale = 1 / (1 - pow(0.999, step));
    for (int64_t n = 0; n < N; n++) {
        m[n] = 0.9f * m[n] + 0.1f * grad[n];
        v[n] = 0.999f * v[n] + 0.001f * grad[n] * grad[n];
        p[n] -= rate * (m[n] * m_scale) / (sqrtf(v[n] * v_scale) + 1e-8f);
    }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY optimizers.c -lm && ./a.out */
int main(void)
{
    const float grad[] = {1, -2};
    float p[2] = {0}, velocity[2] = {0}, m[2] = {0}, v[2] = {0};
    sgd(p, grad, 2, 0.5);
    printf("expected -0.5 1, got %g %g\n", p[0], p[1]);
    momentum(p, velocity, grad, 2, 0.5);
    printf("expected -1 2, got %g %g\n", p[0], p[1]);
    adam(p, m, v, grad, 2, 0.5, 1);
    printf("expected -1.5 2.5, got %g %g\n", p[0], p[1]);
}
#endif
