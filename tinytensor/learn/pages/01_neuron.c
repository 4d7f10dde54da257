/* A neuron: the weighted sum of its inputs, plus a bias.

       out[0] = x[0] * weight[0] + x[1] * weight[1] + ... + bias[0]

   A neuron of lesson 1.0 has 784 inputs, the pixels of an image. Each input has a weight.

       x, weight   K floats
       bias        1 float
       out         1 float, to be written; it is not 0 before */
#include <stdint.h>
#include <stdio.h>

void neuron(const float *x, const float *weight, const float *bias, float *out, int64_t K)
{
    /* solution */
    float total = bias[0];
    for (int64_t k = 0; k < K; k++)
        total += x[k] * weight[k];
    out[0] = total;
    /* end of solution */
}

#ifdef TRY /* cc -DTRY neuron.c && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3}, weight[] = {10, 20, 30}, bias[] = {5};
    float out[1];
    neuron(x, weight, bias, out, 3);
    printf("expected 145, got %g\n", out[0]);
}
#endif
