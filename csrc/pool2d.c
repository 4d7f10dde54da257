/* pool2d.c: windows of an image become one number each, channel by channel.

   A window that reaches over the edge of its image is cut there. The innermost loops go along the
   channels, which lie side by side. */
#include "kernels.h"
#include "convolution.h"

/* One window: rows [top, bottom), columns [left, right) of image n. */
typedef struct {
    int64_t n, top, bottom, left, right;
} window;

/* The windows are counted through as the results lie: n, then h, then w. */
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

void tt_argmax_pool2d(const real *x, int64_t *out, const int64_t *sizes)
{
    const conv_sizes s = named(sizes);
    for (int64_t count = 0; count < s.N * s.OH * s.OW; count++, out += s.I) {
        const window at = window_at(count, s);
        for (int64_t c = 0; c < s.I; c++)
            out[c] = pixel(at, at.top, at.left, s) + c;
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0, place = pixel(at, h, w, s); c < s.I; c++, place++)
                    if (x[out[c]] == x[out[c]] && !(x[place] <= x[out[c]])) /* a NaN stays */
                        out[c] = place;
    }
}

void tt_sum_pool2d(const real *x, real *out, const int64_t *sizes)
{
    const conv_sizes s = named(sizes);
    memset(out, 0, s.N * s.OH * s.OW * s.I * sizeof(real));
    for (int64_t count = 0; count < s.N * s.OH * s.OW; count++, out += s.I) {
        const window at = window_at(count, s);
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0; c < s.I; c++)
                    out[c] += x[pixel(at, h, w, s) + c];
    }
}

void tt_sum_pool2d_grad_x(const real *grad, real *out, const int64_t *sizes)
{
    const conv_sizes s = named(sizes);
    memset(out, 0, s.N * s.H * s.W * s.I * sizeof(real));
    for (int64_t count = 0; count < s.N * s.OH * s.OW; count++, grad += s.I) {
        const window at = window_at(count, s);
        for (int64_t h = at.top; h < at.bottom; h++)
            for (int64_t w = at.left; w < at.right; w++)
                for (int64_t c = 0; c < s.I; c++)
                    out[pixel(at, h, w, s) + c] += grad[c];
    }
}
