/* warp.c: shifts, rotates, scales and distorts images, for data augmentation.

   For each pixel of the new image, the kernel computes the point (y, x) of the old image that the pixel
   shows, and interpolates between the four pixels around that point.

   A thread copies each image into a frame of zeros, two pixels wide, and moves points outside the frame
   to its edge. So each point has four neighbours in memory, and no pixel needs a branch. The shifts are
   first interpolated to all columns, then, for each row, to the row. The loops over the pixels of a row
   have no branch, so the compiler turns them into vector instructions.

   In this file a * b + c is two instructions, because each operation must be rounded as in NumPy. */
#include "kernels.h"
#include "machine.h"
#include <string.h>

#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

enum { FRAME = 2 }; /* pixels */

typedef struct {
    const real *images, *affine, *shifts;
    real *out;
    int64_t N, H, W, C, G;
} warp_arguments;

/* Element i of an axis with `size` elements lies between the points `before` and `before` + 1 of the G
   points that are spread over the axis; `share` is the distance from the first of them. */
typedef struct {
    int64_t before;
    real share;
} between;

static between between_points(int64_t i, int64_t size, int64_t G)
{
    const real place = i * ((real)(G - 1) / (real)(size > 1 ? size - 1 : 1));
    const int64_t before = (int64_t)place < G - 2 ? (int64_t)place : G - 2;
    return (between){before, place - before};
}

/* columns (2 * G, W) = shifts (2 * G, G), interpolated along the second axis */
static void interpolate_columns(const real *shifts, real *columns, int64_t W, int64_t G)
{
    for (int64_t w = 0; w < W; w++) {
        const between b = between_points(w, W, G);
        for (int64_t g = 0; g < 2 * G; g++) {
            const real *s = shifts + g * G + b.before;
            columns[g * W + w] = s[0] * (1 - b.share) + s[1] * b.share;
        }
    }
}

/* The coordinates of the points that row h shows, counted from the frame's first pixel, and at most
   `size` + FRAME: in whole pixels, and the rest. affine (3), columns (G, W); h: from the centre */
static void points(const real *affine, const real *columns, between b, real h, int64_t W, int64_t size, int32_t *whole, real *rest)
{
    const real of_row = affine[0] * h, of_column = affine[1], constant = affine[2];
    const real center = (real)(W - 1) / 2, share = b.share, most = size;
    const real *above = columns + b.before * W, *below = above + W;
    for (int32_t w = 0; w < W; w++) {
        const real shift = above[w] * (1 - share) + below[w] * share;
        real point = of_row + of_column * (w - center) + constant + shift;
        point = point > -FRAME ? point : -FRAME; /* NaN too */
        point = (point < most ? point : most) + FRAME;
        whole[w] = (int32_t)point;
        rest[w] = point - whole[w];
    }
}

/* out (W, C) = the values of W points. The neighbours of a point are the pixel (top, left) of the frame,
   and those to its right and below it; their weights follow from `right` and `down`. */
static ALWAYS_INLINE void values(const real *frame, const int32_t *top, const int32_t *left, const real *down, const real *right, real *out, int64_t W, int64_t C)
{
    const int64_t row = (W + 2 * FRAME) * C;
    for (int64_t c = 0; c < C; c++)
        for (int64_t w = 0; w < W; w++) {
            const real *p = frame + top[w] * row + left[w] * C + c, *q = p + row;
            const real upper = p[0] * (1 - right[w]) + p[C] * right[w];
            const real lower = q[0] * (1 - right[w]) + q[C] * right[w];
            out[w * C + c] = upper * (1 - down[w]) + lower * down[w];
        }
}

static void warp_images(const void *arguments, int64_t begin, int64_t end)
{
    const warp_arguments d = *(const warp_arguments *)arguments;
    const int64_t H = d.H, W = d.W, C = d.C, G = d.G;
    const int64_t row = (W + 2 * FRAME) * C, pixels = (H + 2 * FRAME) * row;
    real *frame = tt_zeroed_scratch((pixels + (2 * G + 4) * W) * sizeof(real));
    if (!frame)
        return;
    real *columns = frame + pixels, *down = columns + 2 * G * W, *right = down + W;
    int32_t *top = (int32_t *)(right + W), *left = top + W;
    for (int64_t n = begin; n < end; n++) {
        const real *image = d.images + n * H * W * C, *affine = d.affine + n * 6;
        for (int64_t h = 0; h < H; h++)
            memcpy(frame + (h + FRAME) * row + FRAME * C, image + h * W * C, W * C * sizeof(real));
        interpolate_columns(d.shifts + n * 2 * G * G, columns, W, G);
        for (int64_t h = 0; h < H; h++) {
            const between b = between_points(h, H, G);
            const real from_center = h - (real)(H - 1) / 2;
            points(affine, columns, b, from_center, W, H, top, down);
            points(affine + 3, columns + G * W, b, from_center, W, W, left, right);
            real *out = d.out + (n * H + h) * W * C;
            if (C == 1) /* a constant, so that the loop is vectorised */
                values(frame, top, left, down, right, out, W, 1);
            else
                values(frame, top, left, down, right, out, W, C);
        }
    }
}

void tt_warp(const real *images, const real *affine, const real *shifts, real *out, int64_t N, int64_t H, int64_t W, int64_t C, int64_t G)
{
    const warp_arguments d = {images, affine, shifts, out, N, H, W, C, G};
    if (N && H && W && C)
        tt_parallel_elements(warp_images, &d, N, H * W * C);
}

#ifdef __clang__
#pragma clang fp contract(fast)
#else
#pragma GCC pop_options
#endif
