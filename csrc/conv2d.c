/* conv2d.c: convolution of images whose channels lie last, and both its gradients.

   All three walk the same way: for every place (h, w) of the result and every weight (a, b) that
   meets a pixel of x there, a product of `I` channels with a matrix I x O. What differs is which
   of the three arrays is summed up. The innermost loop goes along the O channels, which lie side by
   side in the weights and in the result. */
#include "kernels.h"
#include "machine.h"
#include "convolution.h"
typedef struct {
    const real *x, *weight, *grad;
    real *out;
    conv_sizes s;
} conv_arguments;

/* Rows h of all results, counted through: row is n * OH + h. */
static void conv2d_rows(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    for (int64_t row = begin; row < end; row++) {
        const int64_t n = row / s.OH, top = row % s.OH * s.stride_h - s.pad_h;
        real *out = a->out + row * s.OW * s.O;
        memset(out, 0, s.OW * s.O * sizeof(real));
        for (int64_t w = 0; w < s.OW; w++, out += s.O)
            for (int64_t kh = 0; kh < s.KH; kh++)
                for (int64_t kw = 0; kw < s.KW; kw++) {
                    const int64_t y = top + kh, left = w * s.stride_w - s.pad_w + kw;
                    if (y < 0 || y >= s.H || left < 0 || left >= s.W)
                        continue;
                    const real *x = a->x + ((n * s.H + y) * s.W + left) * s.I;
                    const real *weight = a->weight + (kh * s.KW + kw) * s.I * s.O;
                    for (int64_t i = 0; i < s.I; i++, weight += s.O)
                        for (int64_t o = 0; o < s.O; o++)
                            out[o] += x[i] * weight[o];
                }
    }
}

/* Images begin to end. */
static void conv2d_grad_x_images(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    memset(a->out + begin * s.H * s.W * s.I, 0, (end - begin) * s.H * s.W * s.I * sizeof(real));
    for (int64_t row = begin * s.OH; row < end * s.OH; row++) {
        const int64_t n = row / s.OH, top = row % s.OH * s.stride_h - s.pad_h;
        const real *grad = a->grad + row * s.OW * s.O;
        for (int64_t w = 0; w < s.OW; w++, grad += s.O)
            for (int64_t kh = 0; kh < s.KH; kh++)
                for (int64_t kw = 0; kw < s.KW; kw++) {
                    const int64_t y = top + kh, left = w * s.stride_w - s.pad_w + kw;
                    if (y < 0 || y >= s.H || left < 0 || left >= s.W)
                        continue;
                    real *out = a->out + ((n * s.H + y) * s.W + left) * s.I;
                    const real *weight = a->weight + (kh * s.KW + kw) * s.I * s.O;
                    for (int64_t i = 0; i < s.I; i++, weight += s.O) {
                        real total = 0;
#pragma omp simd reduction(+ : total)
                        for (int64_t o = 0; o < s.O; o++)
                            total += grad[o] * weight[o];
                        out[i] += total;
                    }
                }
    }
}

/* Weights begin to end, counted through: weight is kh * KW + kw. */
static void conv2d_grad_weight_places(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    memset(a->out + begin * s.I * s.O, 0, (end - begin) * s.I * s.O * sizeof(real));
    for (int64_t row = 0; row < s.N * s.OH; row++)
        for (int64_t place = begin; place < end; place++) {
            const int64_t n = row / s.OH, y = row % s.OH * s.stride_h - s.pad_h + place / s.KW;
            if (y < 0 || y >= s.H)
                continue;
            for (int64_t w = 0; w < s.OW; w++) {
                const int64_t left = w * s.stride_w - s.pad_w + place % s.KW;
                if (left < 0 || left >= s.W)
                    continue;
                const real *x = a->x + ((n * s.H + y) * s.W + left) * s.I;
                const real *grad = a->grad + (row * s.OW + w) * s.O;
                real *out = a->out + place * s.I * s.O;
                for (int64_t i = 0; i < s.I; i++, out += s.O)
                    for (int64_t o = 0; o < s.O; o++)
                        out[o] += x[i] * grad[o];
            }
        }
}

void tt_conv2d(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = named(sizes)};
    tt_parallel_rows(conv2d_rows, &a, a.s.N * a.s.OH, 1);
}

void tt_conv2d_grad_x(const real *grad, const real *weight, real *out, const int64_t *sizes)
{
    const conv_arguments a = {.grad = grad, .weight = weight, .out = out, .s = named(sizes)};
    tt_parallel_rows(conv2d_grad_x_images, &a, a.s.N, 1);
}

void tt_conv2d_grad_weight(const real *x, const real *grad, real *out, const int64_t *sizes)
{
    const conv_arguments a = {.x = x, .grad = grad, .out = out, .s = named(sizes)};
    tt_parallel_rows(conv2d_grad_weight_places, &a, a.s.KH * a.s.KW, 1);
}
