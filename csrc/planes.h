/* planes.h: convolutions whose lanes are pixels, for conv2d.c.

   With four channels, twelve of sixteen lanes would be idle if the lanes were channels. There are more
   pixels. They are copied to planes, one for each channel; the rows of a tile are the channels of the
   result, and the lanes go along the pixels of a plane, from one image line into the next:

       plane of a channel    p00 p01 p02 --- p10 p11 p12 --- p20 p21 p22 ---
       lanes                [ .   .   .   .   .   .   .   . ]

   Between lines are columns of the frame: sums there come to nothing that anyone needs.
   A window's place is an offset: to the channel's plane, so many lines down and so many pixels on. With
   a stride, what a place meets lies that far apart; so there is a plane for each rest of the line's and
   of the column's number, in which it lies side by side. */
#ifndef TT_PLANES_H
#define TT_PLANES_H
#include "machine.h"
#include "tile.h"
#include "transpose.h"
#include <stdint.h>
#include <string.h>

enum {
    FEW_ROWS = TILE_ROWS / 2 - 1, /* have registers for lines twice as long */
    MOST_LANES = 2 * LANES,
};

/* The sums of the products of a window's places with what is `offset` from each lane's pixel. */
typedef struct {
    const real *pixels;
    const int64_t *offset; /* of each place */
    const real *weight;    /* weight[places][channels] */
    int64_t places, channels;
    real *sums; /* sums[rows][MOST_LANES] */
} plane_arguments;

static ALWAYS_INLINE void plane_tile(const int rows, const int vectors, plane_arguments a)
{
    vector sum[MOST_ROWS][2 * VECTORS] = {0};
    for (int64_t p = 0; p < a.places; p++, a.weight += a.channels) {
        const real *pixels = a.pixels + a.offset[p];
        vector line[2 * VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            memcpy(&line[v], pixels + v * VECTOR, sizeof line[v]);
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a.weight[r] * line[v];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            memcpy(a.sums + r * MOST_LANES + v * VECTOR, &sum[r][v], sizeof(vector));
    }
}

#define PLANE_TILE(rows) \
    static void half_plane_tile_##rows(plane_arguments a) { plane_tile(rows, VECTORS / 2, a); } \
    static void plane_tile_##rows(plane_arguments a) { plane_tile(rows, VECTORS, a); } \
    static void long_plane_tile_##rows(plane_arguments a) { plane_tile(rows, rows <= FEW_ROWS ? 2 * VECTORS : VECTORS, a); }
PLANE_TILE(1) PLANE_TILE(2) PLANE_TILE(3) PLANE_TILE(4) PLANE_TILE(5) PLANE_TILE(6) PLANE_TILE(7)
PLANE_TILE(8) PLANE_TILE(9) PLANE_TILE(10) PLANE_TILE(11) PLANE_TILE(12) PLANE_TILE(13) PLANE_TILE(14)

#define PLANE_TILES_OF(tile) \
    {0, tile##1, tile##2, tile##3, tile##4, tile##5, tile##6, tile##7, \
     tile##8, tile##9, tile##10, tile##11, tile##12, tile##13, tile##14}
static void (*const PLANE_TILES[3][MOST_ROWS + 1])(plane_arguments) = {
    PLANE_TILES_OF(half_plane_tile_), PLANE_TILES_OF(plane_tile_), PLANE_TILES_OF(long_plane_tile_),
};

/* planes[channels][stride_h][stride_w][lines][columns], the channels APART */
typedef struct {
    int64_t lines, columns, stride_h, stride_w;
} plane_sizes;

/* Where pixel (y, x) of a channel of the frame lies. */
static inline int64_t in_planes(plane_sizes s, int64_t channel, int64_t y, int64_t x)
{
    const int64_t size = s.lines * s.columns, plane = y % s.stride_h * s.stride_w + x % s.stride_w;
    return channel * (s.stride_h * s.stride_w * size + APART) + plane * size + y / s.stride_h * s.columns + x / s.stride_w;
}

/* Copy an image (H, W, C) to (top, left) of the frame; what doesn't fit is cut off. */
static void frame_planes(real *planes, plane_sizes s, int64_t top, int64_t left, const real *image, int64_t H, int64_t W, int64_t C)
{
    const int64_t height = H < s.lines * s.stride_h - top ? H : s.lines * s.stride_h - top;
    const int64_t width = W < s.columns * s.stride_w - left ? W : s.columns * s.stride_w - left;
    const int64_t next = in_planes(s, 1, 0, 0);
    for (int64_t x = 0; x < s.stride_w && x < width; x++)
        for (int64_t y = 0; y < s.stride_h && y < height; y++) {
            real *line = planes + in_planes(s, 0, top + y, left + x);
            const int64_t pixels = (width - x + s.stride_w - 1) / s.stride_w;
            for (int64_t h = y; h < height; h += s.stride_h, line += s.columns)
                transpose(line, next, image + (h * W + x) * C, s.stride_w * C, pixels, C);
        }
}

/* The results for height x width pixels, whose first one has its window's first places at `pixels`:
   out[height][width][channels], at these distances. */
typedef struct {
    int64_t height, width, columns; /* columns of a plane: from a pixel to that below */
    int64_t channels;
    real *out;
    int64_t out_line, out_pixel;
} plane_results;

static void sums_of_planes(plane_results t, plane_arguments a)
{
    const int64_t pixels = t.height > 0 && t.width > 0 ? (t.height - 1) * t.columns + t.width : 0;
    const int64_t in_tile = even_rows(t.channels), lanes = in_tile <= FEW_ROWS ? MOST_LANES : LANES;
    const real *first_pixel = a.pixels, *weight = a.weight;
    _Alignas(64) real sums[MOST_ROWS * MOST_LANES];
    a.sums = sums;
    a.channels = t.channels;
    for (int64_t first = 0, top = 0; first < pixels; first += lanes) {
        const int64_t last = first + lanes < pixels ? first + lanes : pixels;
        a.pixels = first_pixel + first;
        for (int64_t c = 0; c < t.channels; c += in_tile) {
            const int64_t rows = t.channels - c < in_tile ? t.channels - c : in_tile;
            a.weight = weight + c;
            PLANE_TILES[last - first > LANES ? 2 : last - first > LANES / 2][rows](a);
            for (int64_t y = top, line = y * t.columns; line < last; y++, line += t.columns) {
                const int64_t begin = first > line ? first : line, end = last < line + t.width ? last : line + t.width;
                if (begin < end)
                    transpose(t.out + y * t.out_line + (begin - line) * t.out_pixel + c, t.out_pixel,
                              sums + begin - first, MOST_LANES, rows, end - begin);
            }
        }
        while ((top + 1) * t.columns <= last)
            top++;
    }
}

#endif
