/* pool2d.c: the sum or the argmax of each window of an image, channel by channel.

   A window that reaches over the edge of its image is cut off there. The innermost loops go along the
   channels, which are contiguous. */
#include "kernels.h"
#include "convolution.h"
#include "machine.h"

/* A window: rows [top, bottom) and columns [left, right) of image n. */
typedef struct {
    int64_t n, top, bottom, left, right;
} window;

/* The window with the flat index `count` in (N, OH, OW). */
static window window_at(int64_t count, conv_sizes s)
{
    const int64_t w = count % s.OW, h = count / s.OW % s.OH;
    const int64_t y = h * s.stride_h - s.pad_h, x = w * s.stride_w - s.pad_w;
    return (window){
        .n = count / s.OW / s.OH,
        .top = y < 0 ? 0 : y, .bottom = y + s.KH < s.H ? y + s.KH : s.H,
        .left = x < 0 ? 0 : x, .right = x + s.KW < s.W ? x + s.KW : s.W,
    };
}

static inline int64_t pixel(window at, int64_t y, int64_t x, conv_sizes s)
{
    return ((at.n * s.H + y) * s.W + x) * s.I;
}

typedef struct {
    const real *x, *grad;
    void *out; /* real *, or int64_t * in argmax */
    conv_sizes s;
} pool_arguments;

/* Divides the windows among the threads. */
static void pool(tt_rows_function windows, const real *x, void *out, const int64_t *sizes)
{
    const pool_arguments a = {.x = x, .out = out, .s = unpack_sizes(sizes)};
    tt_parallel_elements(windows, &a, a.s.N * a.s.OH * a.s.OW, a.s.KH * a.s.KW * a.s.I);
}

static void argmax_windows(const void *arguments, int64_t begin, int64_t end)
{
    const pool_arguments *a = arguments;
    const real *x = a->x;
    const conv_sizes s = a->s;
    for (int64_t count = begin; count < end; count++) {
        int64_t *out = (int64_t *)a->out + count * s.I;
        const window at = window_at(count, s);
        for (int64_t c = 0; c < s.I; c++)
            out[c] = pixel(at, at.top, at.left, s) + c;
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0, index = pixel(at, h, w, s); c < s.I; c++, index++)
                    if (x[out[c]] == x[out[c]] && !(x[index] <= x[out[c]])) /* a NaN stays */
                        out[c] = index;
    }
}

void tt_argmax_pool2d(const real *x, int64_t *out, const int64_t *sizes)
{
    pool(argmax_windows, x, out, sizes);
}

static void sum_windows(const void *arguments, int64_t begin, int64_t end)
{
    const pool_arguments *a = arguments;
    const conv_sizes s = a->s;
    for (int64_t count = begin; count < end; count++) {
        real *out = (real *)a->out + count * s.I;
        memset(out, 0, s.I * sizeof(real));
        const window at = window_at(count, s);
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0; c < s.I; c++)
                    out[c] += a->x[pixel(at, h, w, s) + c];
    }
}

void tt_sum_pool2d(const real *x, real *out, const int64_t *sizes)
{
    pool(sum_windows, x, out, sizes);
}

/* Windows may overlap, so the images are divided among the threads. */
static void sum_grad_x_images(const void *arguments, int64_t begin, int64_t end)
{
    const pool_arguments *a = arguments;
    const conv_sizes s = a->s;
    const int64_t windows = s.OH * s.OW, image = s.H * s.W * s.I;
    real *out = a->out;
    memset(out + begin * image, 0, (end - begin) * image * sizeof(real));
    for (int64_t count = begin * windows; count < end * windows; count++) {
        const real *grad = a->grad + count * s.I;
        const window at = window_at(count, s);
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0; c < s.I; c++)
                    out[pixel(at, h, w, s) + c] += grad[c];
    }
}

void tt_sum_pool2d_grad_x(const real *grad, real *out, const int64_t *sizes)
{
    const pool_arguments a = {.grad = grad, .out = out, .s = unpack_sizes(sizes)};
    tt_parallel_elements(sum_grad_x_images, &a, a.s.N, a.s.H * a.s.W * a.s.I);
}
