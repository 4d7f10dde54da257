/* ladder_conv2d.c: a convolution from the naive seven loops up to the tiles of conv2d.c.

       naive        seven loops, as the formula is written
       loop order   the channels of the result innermost, as they lie in memory
       im2col       every window copied into the row of a matrix: then it is a matrix product
       direct       matmul's tile straight on the image: the rows of the matrix are there already
       planes       few channels leave lanes empty, so the lanes are pixels, a plane for each channel
       threaded     the images are shared among threads: conv2d.c

   build.py compiles this behind conv2d.c and ladder_matmul.c, which are used here. */
#include "ladder.h"
#include "convolution.h"
#include "machine.h"
#include <string.h>

/* For each number of the result a sum over its window. What lies outside of x counts as 0. */
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

/* The loop over o has moved inside: it goes along a line of weights and a pixel of the result as they
   lie in memory, each number of x is loaded once for all o, and it is asked once whether it is there. */
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
                            const real *line = weight + ((a * s.KW + b) * s.I + i) * s.O;
                            for (int64_t o = 0; o < s.O; o++)
                                out[o] += factor * line[o];
                        }
                    }
            }
}

/* Each window becomes a row of a matrix, (OH * OW, KH * KW * I), image by image; times the weights,
   (KH * KW * I, O), that is the convolution, by the best matrix product there is. The price is the
   copy: each pixel is written as often as there are windows that it is in. */
static void conv2d_im2col(const real *x, const real *weight, real *out, conv_sizes s)
{
    const int64_t places = s.KH * s.KW * s.I, pixels = s.OH * s.OW;
    real *windows = tt_scratch(pixels * places * sizeof(real)); /* zeros: what lies outside stays so */
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
            .x = windows, .x_row = places, .x_column = 1,
            .y = weight, .y_row = s.O, .y_column = 1,
            .out = out, .out_row = s.O,
            .M = pixels, .K = places, .N = s.O,
        });
    }
}

/* What conv2d.c does, on one thread, where channels are many. The KW * I numbers of a window's row lie side by side in the
   image, as they would in im2col's matrix, so the tile reads them there and nothing is copied but
   the image once, into a frame of zeros. */
static void conv2d_direct(const real *x, const real *weight, real *out, conv_sizes s)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = s};
    conv2d_images(&a, 0, s.N);
}

/* And what it does where they are few (see planes.h). */
static void conv2d_by_planes(const real *x, const real *weight, real *out, conv_sizes s)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = s};
    conv2d_planes(&a, 0, s.N);
}

void tt_conv2d_naive(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_naive(x, weight, out, named(sizes));
}

void tt_conv2d_loop_order(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_loop_order(x, weight, out, named(sizes));
}

void tt_conv2d_im2col(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_im2col(x, weight, out, named(sizes));
}

void tt_conv2d_direct(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_direct(x, weight, out, named(sizes));
}

void tt_conv2d_planes(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    conv2d_by_planes(x, weight, out, named(sizes));
}
