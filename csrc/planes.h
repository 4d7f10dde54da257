/* planes.h: convolutions whose vector lanes are pixels, for conv2d.c.

   If the lanes were channels and there are 4 channels, 12 of 16 lanes would be unused. So the image is
   copied into planes, one for each channel. The rows of a tile are the output channels, and its lanes
   are successive pixels of a plane, from one image row into the next:

       plane of a channel    p00 p01 p02 --- p10 p11 p12 --- p20 p21 p22 ---
       lanes                [ .   .   .   .   .   .   .   . ]

   The dashes are padding columns between the image rows. The sums in their lanes are not used.

   An element (a, b, i) of the window is an offset from the lane's pixel: plane i, a rows down, b pixels
   to the right. With a stride, the pixels that one element reads are `stride` apart. So each channel has
   stride_h * stride_w planes, one for each (y % stride_h, x % stride_w), in which these pixels are
   contiguous. */
#ifndef TT_PLANES_H
#define TT_PLANES_H
#include "machine.h"
#include "tile.h"
#include "transpose.h"
#include <stdint.h>
#include <string.h>

enum {
    FEW_ROWS = TILE_ROWS / 2 - 1, /* tiles with at most this number of rows can be twice as wide */
    MAX_LANES = 2 * LANES,
};

/* sums[r][lane] = the sum over e of weight[e][r] * pixels[offset[e] + lane], for the elements e of a
   window. */
typedef struct {
    const real *pixels;
    const int64_t *offset; /* offset[window_size] */
    const real *weight;    /* weight[window_size][channels] */
    int64_t window_size, channels;
    real *sums; /* sums[rows][MAX_LANES] */
} plane_arguments;

static ALWAYS_INLINE void plane_tile(const int rows, const int vectors, const plane_arguments *arguments)
{
    plane_arguments a = *arguments;
    vector sum[MAX_ROWS][2 * VECTORS] = {0};
    for (int64_t p = 0; p < a.window_size; p++, a.weight += a.channels) {
        const real *pixels = a.pixels + a.offset[p];
        vector x[2 * VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            memcpy(&x[v], pixels + v * VECTOR, sizeof x[v]);
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a.weight[r] * x[v];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            memcpy(a.sums + r * MAX_LANES + v * VECTOR, &sum[r][v], sizeof(vector));
    }
}

#define PLANE_TILE(rows) \
    static void half_plane_tile_##rows(const plane_arguments *a) { plane_tile(rows, VECTORS / 2, a); } \
    static void plane_tile_##rows(const plane_arguments *a) { plane_tile(rows, VECTORS, a); } \
    static void long_plane_tile_##rows(const plane_arguments *a) { plane_tile(rows, rows <= FEW_ROWS ? 2 * VECTORS : VECTORS, a); }
PLANE_TILE(1) PLANE_TILE(2) PLANE_TILE(3) PLANE_TILE(4) PLANE_TILE(5) PLANE_TILE(6) PLANE_TILE(7)
PLANE_TILE(8) PLANE_TILE(9) PLANE_TILE(10) PLANE_TILE(11) PLANE_TILE(12) PLANE_TILE(13) PLANE_TILE(14)

#define PLANE_TILES_OF(tile) \
    {0, tile##1, tile##2, tile##3, tile##4, tile##5, tile##6, tile##7, \
     tile##8, tile##9, tile##10, tile##11, tile##12, tile##13, tile##14}
static void (*const PLANE_TILES[3][MAX_ROWS + 1])(const plane_arguments *) = {
    PLANE_TILES_OF(half_plane_tile_), PLANE_TILES_OF(plane_tile_), PLANE_TILES_OF(long_plane_tile_),
};

/* planes[channels][stride_h][stride_w][rows][columns], with APART elements between two channels */
typedef struct {
    int64_t rows, columns, stride_h, stride_w;
} plane_sizes;

/* The offset of pixel (y, x) of a channel of the padded image. */
static inline int64_t in_planes(plane_sizes s, int64_t channel, int64_t y, int64_t x)
{
    const int64_t size = s.rows * s.columns, plane = y % s.stride_h * s.stride_w + x % s.stride_w;
    return channel * (s.stride_h * s.stride_w * size + APART) + plane * size + y / s.stride_h * s.columns + x / s.stride_w;
}

/* Copies an image (H, W, C) to (top, left) of the padded image in planes; what does not fit is cut. */
static void frame_planes(real *planes, plane_sizes s, int64_t top, int64_t left, const real *image, int64_t H, int64_t W, int64_t C)
{
    const int64_t height = H < s.rows * s.stride_h - top ? H : s.rows * s.stride_h - top;
    const int64_t width = W < s.columns * s.stride_w - left ? W : s.columns * s.stride_w - left;
    const int64_t next = in_planes(s, 1, 0, 0);
    for (int64_t x = 0; x < s.stride_w && x < width; x++)
        for (int64_t y = 0; y < s.stride_h && y < height; y++) {
            real *row = planes + in_planes(s, 0, top + y, left + x);
            const int64_t pixels = (width - x + s.stride_w - 1) / s.stride_w;
            for (int64_t h = y; h < height; h += s.stride_h, row += s.columns)
                transpose(row, next, image + (h * W + x) * C, s.stride_w * C, pixels, C);
        }
}

/* out[height][width][channels] with these strides. The window of the first result starts at the first
   pixel. */
typedef struct {
    int64_t height, width, columns; /* columns of a plane: the distance to the pixel below */
    int64_t channels;
    real *out;
    int64_t out_row, out_pixel;
} plane_results;

static void sums_of_planes(plane_results t, plane_arguments a)
{
    const int64_t pixels = t.height > 0 && t.width > 0 ? (t.height - 1) * t.columns + t.width : 0;
    const int64_t in_tile = even_rows(t.channels), lanes = in_tile <= FEW_ROWS ? MAX_LANES : LANES;
    const real *first_pixel = a.pixels, *weight = a.weight;
    _Alignas(64) real sums[MAX_ROWS * MAX_LANES];
    a.sums = sums;
    a.channels = t.channels;
    for (int64_t first = 0, top = 0; first < pixels; first += lanes) {
        const int64_t last = first + lanes < pixels ? first + lanes : pixels;
        a.pixels = first_pixel + first;
        for (int64_t c = 0; c < t.channels; c += in_tile) {
            const int64_t rows = t.channels - c < in_tile ? t.channels - c : in_tile;
            a.weight = weight + c;
            PLANE_TILES[last - first > LANES ? 2 : last - first > LANES / 2][rows](&a);
            for (int64_t y = top, start = y * t.columns; start < last; y++, start += t.columns) {
                const int64_t begin = first > start ? first : start, end = last < start + t.width ? last : start + t.width;
                if (begin < end)
                    transpose(t.out + y * t.out_row + (begin - start) * t.out_pixel + c, t.out_pixel,
                              sums + begin - first, MAX_LANES, rows, end - begin);
            }
        }
        while ((top + 1) * t.columns <= last)
            top++;
    }
}

#endif
