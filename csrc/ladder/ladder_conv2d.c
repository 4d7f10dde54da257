/* ladder_conv2d.c: a convolution, from the naive seven loops to the tiles of conv2d.c.

       naive        seven loops, as in the formula
       loop order   the output channels innermost, because they are contiguous
       im2col       each window is copied to a row of a matrix: the convolution is a matrix product
       direct       the tile of matmul directly on the image, whose pixels are such rows already
       winograd     about half of the multiplications, by more additions: pays with many channels
       lanes        direct again, but few channels do not fill the lanes, so the lanes are images
       threaded     the images are divided among threads: conv2d.c, which chooses winograd, lanes or direct by
                    the sizes

   build.py compiles this file after conv2d.c and ladder_matmul.c, because it uses their functions. */
#include "ladder.h"
#include "convolution.h"
#include "machine.h"
#include <string.h>

/* Each element of out is a sum over a window of x. Pixels outside of x count as 0. */
SCALAR static void conv2d_naive(const real *x, const real *weight, real *out, conv_sizes s)
{
    for (int64_t n = 0; n < s.N; n++)
        for (int64_t h = 0; h < s.OH; h++)
            for (int64_t w = 0; w < s.OW; w++)
                for (int64_t o = 0; o < s.O; o++) {
                    real sum = 0;
                    for (int64_t a = 0; a < s.KH; a++)
                        for (int64_t b = 0; b < s.KW; b++)
                            for (int64_t i = 0; i < s.I; i++) {
                                const int64_t y = h * s.stride_h - s.pad_h + a, z = w * s.stride_w - s.pad_w + b;
                                if (0 <= y && y < s.H && 0 <= z && z < s.W)
                                    sum += x[((n * s.H + y) * s.W + z) * s.I + i] * weight[((a * s.KW + b) * s.I + i) * s.O + o];
                            }
                    out[((n * s.OH + h) * s.OW + w) * s.O + o] = sum;
                }
}

/* The loop over o is now the innermost one. It goes along a row of weights and a pixel of out, which are
   contiguous. Each element of x is loaded once for all o, and the test whether a pixel is inside of x is
   made once for all i and o. */
SCALAR static void conv2d_loop_order(const real *x, const real *weight, real *out, conv_sizes s)
{
    for (int64_t n = 0; n < s.N; n++)
        for (int64_t h = 0; h < s.OH; h++)
            for (int64_t w = 0; w < s.OW; w++, out += s.O) {
                memset(out, 0, s.O * sizeof(real));
                for (int64_t a = 0; a < s.KH; a++)
                    for (int64_t b = 0; b < s.KW; b++) {
                        const int64_t y = h * s.stride_h - s.pad_h + a, z = w * s.stride_w - s.pad_w + b;
                        if (y < 0 || y >= s.H || z < 0 || z >= s.W)
                            continue;
                        for (int64_t i = 0; i < s.I; i++) {
                            const real factor = x[((n * s.H + y) * s.W + z) * s.I + i];
                            const real *row = weight + ((a * s.KW + b) * s.I + i) * s.O;
                            for (int64_t o = 0; o < s.O; o++)
                                out[o] += factor * row[o];
                        }
                    }
            }
}

/* For each image the windows are copied to the rows of a matrix (OH * OW, KH * KW * I). The product of
   this matrix and the weights (KH * KW * I, O) is the convolution, so the fast matrix product can be
   used. But each pixel is copied once for each window that contains it. */
static void conv2d_im2col(const real *x, const real *weight, real *out, conv_sizes s)
{
    const int64_t window_size = s.KH * s.KW * s.I, pixels = s.OH * s.OW;
    real *windows = tt_zeroed_scratch(pixels * window_size * sizeof(real)); /* zeroed: pixels outside of x stay 0 */
    if (!windows)
        return;
    for (int64_t n = 0; n < s.N; n++, x += s.H * s.W * s.I, out += pixels * s.O) {
        real *to = windows;
        for (int64_t h = 0; h < s.OH; h++)
            for (int64_t w = 0; w < s.OW; w++)
                for (int64_t a = 0; a < s.KH; a++)
                    for (int64_t b = 0; b < s.KW; b++, to += s.I) {
                        const int64_t y = h * s.stride_h - s.pad_h + a, z = w * s.stride_w - s.pad_w + b;
                        if (0 <= y && y < s.H && 0 <= z && z < s.W)
                            memcpy(to, x + (y * s.W + z) * s.I, s.I * sizeof(real));
                    }
        matmul_packed((matmul_arguments){
            .x = windows, .x_row = window_size, .x_column = 1,
            .y = weight, .y_row = s.O, .y_column = 1,
            .out = out, .out_row = s.O,
            .M = pixels, .K = window_size, .N = s.O,
        });
    }
}

/* As conv2d.c, on one thread, for many channels. The KW * I elements of one row of a window are
   contiguous in the image, as in the matrix of im2col. So the tile reads them from the image, which is
   copied only once, into a frame of zeros. */
static void conv2d_direct(const real *x, const real *weight, real *out, conv_sizes s)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = s};
    conv2d_images(&a, 0, s.N);
}

/* As winograd.c, on one thread, for any number of channels. Sizes that do not suit are computed directly. */
static void conv2d_winograd(const real *x, const real *weight, real *out, conv_sizes s)
{
    atomic_int overflow = 0;
    if (suits_winograd(s)) {
        const winograd_arguments a = {.x = x, .weight = weight, .out = out, .w = winograd_sizes_of(s), .overflow = &overflow};
        winograd_forward(&a, 0, groups_of(&a.w));
    }
    if (!suits_winograd(s) || atomic_load(&overflow))
        conv2d_direct(x, weight, out, s);
}

/* As conv2d.c, on one thread, for few channels (the lanes are images). */
static void conv2d_by_lanes(const real *x, const real *weight, real *out, conv_sizes s)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = s};
    conv2d_lanes(&a, 0, s.N);
}

void tt_conv2d_naive(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_naive(x, weight, out, unpack_sizes(sizes));
}

void tt_conv2d_loop_order(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_loop_order(x, weight, out, unpack_sizes(sizes));
}

void tt_conv2d_im2col(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_im2col(x, weight, out, unpack_sizes(sizes));
}

void tt_conv2d_direct(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_direct(x, weight, out, unpack_sizes(sizes));
}

void tt_conv2d_winograd(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_winograd(x, weight, out, unpack_sizes(sizes));
}

void tt_conv2d_lanes(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_by_lanes(x, weight, out, unpack_sizes(sizes));
}
