/* winograd.c: convolutions with about half of the multiplications (Winograd's algorithm).

   Two neighbouring results of a filter with three taps take 6 multiplications:

       y0 = d0 g0 + d1 g1 + d2 g2
       y1 = d1 g0 + d2 g1 + d3 g2

   4 are enough, one for each "point":

       m0 = (d0 - d2) g0                       y0 = m0 + m1 + m2
       m1 = (d1 + d2) (g0 + g1 + g2) / 2       y1 = m1 - m2 - m3
       m2 = (d2 - d1) (g0 - g1 + g2) / 2
       m3 = (d1 - d3) g2

   In two dimensions, a tile of 2 x 2 results takes 4 x 4 = 16 products instead of 36. Each product is
   summed over the input channels, so for each of the 16 points there is a matrix product: one row for
   each tile, I elements long, times a matrix (I, O) made from the weights. The additions before and
   after it are few if there are many channels.

   With stride 2, results use only every second pixel for each tap. So the even and odd rows and columns
   are separate images ("phases"), each with its own taps: 5 x 5 weights are 3 x 3, 3 x 2, 2 x 3 and 2 x 2
   taps. With two taps g2 is 0, so m3 is not needed. The phases are added up in the matrix product, whose
   rows become longer. The products for a tile, where they are clearly fewer:

       weights      stride    products    instead of
       2 x 2        1          9           16
       3 x 3        1         16           36
       4 x 4        2         36           64
       5 x 5        2         49          100
       6 x 6        2         64          144

   3 x 3 weights with stride 2 take 36 products instead of 36, so they are computed by plain sums.

   In matrices: Y = A^T [(B^T d B) * (G g G^T)] A. A gradient is the transposed algorithm:

                     points of               times points of      result
       forward       x: B^T d B              weights: G g G^T     A^T m A
       grad_x        grad: A y A^T           weights: G g G^T     B m B^T, added up
       grad_weight   x: B^T d B              grad: A y A^T        G^T m G, of the sums over all tiles

   With few channels the additions take longer than the products that they save, also if the lanes are
   images as in conv2d.c: for 5 x 5 weights, 6 to 12 channels and stride 2, the products took 0.52 of the
   time of the plain sums, and the additions 0.75.

   The error is larger than that of the plain sums, but below 1e-5 of the largest result. An infinity
   would become NaN in other results of its tile. So if a result is not finite, the convolution is
   computed again with plain sums. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural
   Networks, 2015. */
#include "kernels.h"
#include "convolution.h"
#include "machine.h"
#include "panels.h"
#include "tile.h"
#include <stdatomic.h>

enum {
    POINTS = 4,
    RESULTS = 2,       /* rows and columns of a tile of results */
    TAPS = 3,          /* the largest number of taps of a phase */
    MAX_STRIDE = 2,
    ENOUGH_TILES = 96,  /* rows of the matrix products: several small images, or a band of a large one */
    MANY_CHANNELS = 16, /* input and output channels from which the additions pay */
};

/* The taps of phase p: weights p, p + stride, ... */
static inline int64_t taps_of(int64_t p, int64_t K, int64_t stride) { return p < K ? (K - p + stride - 1) / stride : 0; }

typedef struct {
    conv_sizes s;
    int64_t tiles_h, tiles_w;            /* tiles of an image */
    int64_t images, band, tiles;         /* computed together: `band` lines of tiles of `images` images */
    int64_t rows, columns;               /* of the frame of a band */
    int64_t depth[POINTS][POINTS];       /* the length of a row of the matrix of a point */
    int64_t start[POINTS][POINTS], total; /* the sum of the depths of all points before it, and of all */
    int64_t place[MAX_STRIDE][MAX_STRIDE][POINTS][POINTS]; /* of a phase in this row; -1 if not needed */
} winograd_sizes;

static winograd_sizes winograd_sizes_of(conv_sizes s)
{
    winograd_sizes w = {.s = s};
    w.tiles_h = (s.OH + RESULTS - 1) / RESULTS;
    w.tiles_w = (s.OW + RESULTS - 1) / RESULTS;
    w.images = 1 + (ENOUGH_TILES - 1) / (w.tiles_h * w.tiles_w);
    w.band = w.images > 1 ? w.tiles_h : 1 + (ENOUGH_TILES - 1) / w.tiles_w;
    w.tiles = w.images * w.band * w.tiles_w;
    w.rows = (RESULTS * w.band + TAPS - 1) * s.stride_h;
    w.columns = (RESULTS * w.tiles_w + TAPS - 1) * s.stride_w;
    for (int a = 0; a < POINTS; a++)
        for (int b = 0; b < POINTS; b++) {
            w.start[a][b] = w.total;
            for (int64_t p = 0; p < s.stride_h; p++)
                for (int64_t q = 0; q < s.stride_w; q++) {
                    const int needed = (a < TAPS || taps_of(p, s.KH, s.stride_h) == TAPS) && (b < TAPS || taps_of(q, s.KW, s.stride_w) == TAPS);
                    w.place[p][q][a][b] = needed ? w.depth[a][b] : -1;
                    w.depth[a][b] += needed * s.I;
                }
            w.total += w.depth[a][b];
        }
    return w;
}

/* True if the windows have one to three taps in each phase. */
static int suits_winograd(conv_sizes s)
{
    const int strides = s.stride_h <= MAX_STRIDE && s.stride_w <= MAX_STRIDE;
    return strides && taps_of(0, s.KH, s.stride_h) <= TAPS && taps_of(0, s.KW, s.stride_w) <= TAPS && s.N * s.OH * s.OW * s.I * s.O > 0;
}

/* True if it may be used and pays: there are many channels, and the products, with those of incomplete
   tiles, are at most two thirds of all multiplications. */
static int by_winograd(conv_sizes s)
{
    if (!tt_may_use_winograd() || !suits_winograd(s) || s.I < MANY_CHANNELS || s.O < MANY_CHANNELS)
        return 0;
    const winograd_sizes w = winograd_sizes_of(s);
    return 3 * w.total * w.tiles_h * w.tiles_w <= 2 * s.KH * s.KW * s.I * s.OH * s.OW;
}

/* The number of groups of images that are computed together. */
static inline int64_t groups_of(const winograd_sizes *w) { return (w->s.N + w->images - 1) / w->images; }

/* The transformations of one dimension, for rows of n elements ------------------------------------ */

static void input_points(real *restrict m0, real *restrict m1, real *restrict m2, real *restrict m3, const real *d, int64_t next, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const real d0 = d[i], d1 = d[i + next], d2 = d[i + 2 * next], d3 = d[i + 3 * next];
        m0[i] = d0 - d2;
        m1[i] = d1 + d2;
        m2[i] = d2 - d1;
        m3[i] = d1 - d3;
    }
}

static void add_transposed_input_points(real *restrict d, int64_t next, const real *m0, const real *m1, const real *m2, const real *m3, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        d[i] += m0[i];
        d[i + next] += m1[i] - m2[i] + m3[i];
        d[i + 2 * next] += m1[i] + m2[i] - m0[i];
        d[i + 3 * next] -= m3[i];
    }
}

static void results_of_points(real *restrict y0, real *restrict y1, const real *m, int64_t next, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const real m0 = m[i], m1 = m[i + next], m2 = m[i + 2 * next], m3 = m[i + 3 * next];
        y0[i] = m0 + m1 + m2;
        y1[i] = m1 - m2 - m3;
    }
}

static void transposed_results(real *restrict m, int64_t next, const real *y0, const real *y1, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        m[i] = y0[i];
        m[i + next] = y0[i] + y1[i];
        m[i + 2 * next] = y0[i] - y1[i];
        m[i + 3 * next] = -y1[i];
    }
}

/* m[a] = the sum over t of FILTER[a][t] * g[t] */
static const real FILTER[POINTS][TAPS] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};

/* The transformations of images ------------------------------------------------------------------- */

/* The position of weight (p + t * stride, q + u * stride) */
static inline int64_t tap_of(conv_sizes s, int64_t p, int64_t q, int64_t t, int64_t u)
{
    return ((p + t * s.stride_h) * s.KW + q + u * s.stride_w) * s.I * s.O;
}

/* The matrix of each point of the weights: (depth, O), or transposed (O, depth). */
static void weight_points(real *matrices, int transposed, const winograd_sizes *w, const real *weight)
{
    const conv_sizes s = w->s;
    memset(matrices, 0, w->total * s.O * sizeof(real));
    for (int64_t p = 0; p < s.stride_h; p++)
        for (int64_t q = 0; q < s.stride_w; q++)
            for (int a = 0; a < POINTS; a++)
                for (int b = 0; b < POINTS; b++) {
                    const int64_t row = transposed ? 1 : s.O, column = transposed ? w->depth[a][b] : 1;
                    real *matrix = matrices + w->start[a][b] * s.O + w->place[p][q][a][b] * row;
                    if (w->place[p][q][a][b] < 0)
                        continue;
                    for (int64_t t = 0; t < taps_of(p, s.KH, s.stride_h); t++)
                        for (int64_t u = 0; u < taps_of(q, s.KW, s.stride_w); u++)
                            for (int64_t i = 0; i < s.I; i++)
                                for (int64_t o = 0; o < s.O; o++)
                                    matrix[i * row + o * column] += FILTER[a][t] * FILTER[b][u] * weight[tap_of(s, p, q, t, u) + i * s.O + o];
                }
}

/* The transposed transformation: the gradient of the weights for the outputs [begin, end), from
   matrices (depth, O). */
static void weights_of_points(real *weight, const winograd_sizes *w, const real *matrices, int64_t begin, int64_t end)
{
    const conv_sizes s = w->s;
    for (int64_t e = 0; e < s.KH * s.KW * s.I; e++)
        memset(weight + e * s.O + begin, 0, (end - begin) * sizeof(real));
    for (int64_t p = 0; p < s.stride_h; p++)
        for (int64_t q = 0; q < s.stride_w; q++)
            for (int a = 0; a < POINTS; a++)
                for (int b = 0; b < POINTS; b++) {
                    const real *matrix = matrices + (w->start[a][b] + w->place[p][q][a][b]) * s.O;
                    if (w->place[p][q][a][b] < 0)
                        continue;
                    for (int64_t t = 0; t < taps_of(p, s.KH, s.stride_h); t++)
                        for (int64_t u = 0; u < taps_of(q, s.KW, s.stride_w); u++)
                            for (int64_t i = 0; i < s.I; i++)
                                for (int64_t o = begin; o < end; o++)
                                    weight[tap_of(s, p, q, t, u) + i * s.O + o] += FILTER[a][t] * FILTER[b][u] * matrix[i * s.O + o];
                }
}

/* The work area of one thread */
typedef struct {
    real *points; /* the points of one dimension: (POINTS, columns, I), or for two columns (2, POINTS, O) */
    real *frame;  /* a band of an image, with the zeros around it: (rows, columns, I) */
    real *rest;   /* for points and results that are not needed */
    /* the matrices of all points: of the weights (or the sums for their gradient), of the image, and of
       the results (or their gradient) */
    real *weights, *images, *results;
} winograd_room;

/* The tiles of one image that are computed together: `lines` lines from line `top` on. The first one is
   tile `first` of the matrices. */
typedef struct {
    int64_t top, lines, first;
} tile_band;

static tile_band band_of(const winograd_sizes *w, int64_t top, int64_t image)
{
    const int64_t lines = smaller_of(w->band, w->tiles_h - top);
    return (tile_band){top, lines, image * lines * w->tiles_w};
}

/* The points (a, 0) to (a, 3) of a phase of a tile; those that are not needed are `rest`. */
static inline void points_of_tile(real *m[POINTS], const winograd_sizes *w, winograd_room room, real *matrices, int64_t p, int64_t q, int a, int64_t tile)
{
    for (int b = 0; b < POINTS; b++)
        m[b] = w->place[p][q][a][b] < 0 ? room.rest : matrices + w->start[a][b] * w->tiles + tile * w->depth[a][b] + w->place[p][q][a][b];
}

/* The lines of an image that a band reads: `lines` lines of `width` pixels from line y on. The first one
   is line `above` of the frame, below lines of zeros. */
typedef struct {
    int64_t above, y, lines, width;
} framed_lines;

static framed_lines lines_of(const winograd_sizes *w, tile_band band)
{
    const conv_sizes s = w->s;
    const int64_t first = RESULTS * band.top * s.stride_h - s.pad_h; /* the image's line for line 0 of the frame */
    framed_lines part = {.above = first < 0 ? -first : 0, .width = smaller_of(s.W, w->columns - s.pad_w)};
    part.y = first + part.above;
    part.lines = part.width > 0 ? smaller_of(s.H - first, w->rows) - part.above : 0;
    return part;
}

/* matrices[a][b][tile][place ...] = the points of a band of image x */
static void image_points(real *matrices, const winograd_sizes *w, winograd_room room, const real *x, tile_band band)
{
    const conv_sizes s = w->s;
    const int64_t line = w->columns * s.I;
    const framed_lines part = lines_of(w, band);
    memset(room.frame, 0, w->rows * line * sizeof(real));
    for (int64_t y = 0; y < part.lines; y++)
        memcpy(room.frame + (part.above + y) * line + s.pad_w * s.I, x + (part.y + y) * s.W * s.I, part.width * s.I * sizeof(real));
    for (int64_t h = 0; h < band.lines; h++)
        for (int64_t p = 0; p < s.stride_h; p++) {
            const real *d = room.frame + (RESULTS * h * s.stride_h + p) * line;
            input_points(room.points, room.points + line, room.points + 2 * line, room.points + 3 * line, d, s.stride_h * line, line);
            for (int64_t q = 0; q < s.stride_w; q++)
                for (int a = 0; a < POINTS; a++)
                    for (int64_t v = 0; v < w->tiles_w && w->place[p][q][a][0] >= 0; v++) {
                        real *m[POINTS];
                        points_of_tile(m, w, room, matrices, p, q, a, band.first + h * w->tiles_w + v);
                        input_points(m[0], m[1], m[2], m[3], room.points + a * line + (RESULTS * v * s.stride_w + q) * s.I, s.stride_w * s.I, s.I);
                    }
        }
}

/* The transposed transformation: adds the points of a band to the gradient of image x. */
static void add_points_to_image(real *x, const winograd_sizes *w, winograd_room room, real *matrices, tile_band band)
{
    const conv_sizes s = w->s;
    const int64_t line = w->columns * s.I;
    const framed_lines part = lines_of(w, band);
    memset(room.rest, 0, s.I * sizeof(real));
    memset(room.frame, 0, w->rows * line * sizeof(real));
    for (int64_t h = 0; h < band.lines; h++)
        for (int64_t p = 0; p < s.stride_h; p++) {
            memset(room.points, 0, POINTS * line * sizeof(real));
            for (int64_t q = 0; q < s.stride_w; q++)
                for (int a = 0; a < POINTS; a++)
                    for (int64_t v = 0; v < w->tiles_w && w->place[p][q][a][0] >= 0; v++) {
                        real *m[POINTS];
                        points_of_tile(m, w, room, matrices, p, q, a, band.first + h * w->tiles_w + v);
                        add_transposed_input_points(room.points + a * line + (RESULTS * v * s.stride_w + q) * s.I, s.stride_w * s.I, m[0], m[1], m[2], m[3], s.I);
                    }
            real *d = room.frame + (RESULTS * h * s.stride_h + p) * line;
            add_transposed_input_points(d, s.stride_h * line, room.points, room.points + line, room.points + 2 * line, room.points + 3 * line, line);
        }
    for (int64_t y = 0; y < part.lines; y++)
        for (int64_t i = 0; i < part.width * s.I; i++)
            x[(part.y + y) * s.W * s.I + i] += room.frame[(part.above + y) * line + s.pad_w * s.I + i];
}

/* out = the results of a band of an image; matrices[a][b] is (tiles, O) */
static void results_of_tiles(real *out, const winograd_sizes *w, winograd_room room, const real *matrices, tile_band band)
{
    const conv_sizes s = w->s;
    const int64_t point = w->tiles * s.O;
    for (int64_t h = 0; h < band.lines; h++)
        for (int64_t v = 0; v < w->tiles_w; v++) {
            const int64_t line = RESULTS * (band.top + h);
            const real *m = matrices + (band.first + h * w->tiles_w + v) * s.O;
            real *rows[RESULTS] = {room.points, room.points + POINTS * s.O};
            for (int b = 0; b < POINTS; b++)
                results_of_points(rows[0] + b * s.O, rows[1] + b * s.O, m + b * point, POINTS * point, s.O);
            for (int r = 0; r < RESULTS && line + r < s.OH; r++) {
                real *to = out + ((line + r) * s.OW + RESULTS * v) * s.O;
                results_of_points(to, RESULTS * v + 1 < s.OW ? to + s.O : room.rest, rows[r], s.O, s.O);
            }
        }
}

/* The transposed transformation, for the outputs [begin, end): matrices[a][b] is (tiles, end - begin). */
static void tiles_of_results(real *matrices, const winograd_sizes *w, winograd_room room, const real *grad, tile_band band, int64_t begin, int64_t end)
{
    const conv_sizes s = w->s;
    const int64_t n = end - begin, point = w->tiles * n;
    memset(room.rest, 0, n * sizeof(real));
    for (int64_t h = 0; h < band.lines; h++)
        for (int64_t v = 0; v < w->tiles_w; v++) {
            const int64_t line = RESULTS * (band.top + h);
            real *m = matrices + (band.first + h * w->tiles_w + v) * n;
            for (int c = 0; c < RESULTS; c++) { /* columns of the tile */
                const real *y[RESULTS];
                for (int r = 0; r < RESULTS; r++) {
                    const int inside = line + r < s.OH && RESULTS * v + c < s.OW;
                    y[r] = inside ? grad + ((line + r) * s.OW + RESULTS * v + c) * s.O + begin : room.rest;
                }
                transposed_results(room.points + c * POINTS * n, n, y[0], y[1], n);
            }
            for (int a = 0; a < POINTS; a++)
                transposed_results(m + a * POINTS * point, point, room.points + a * n, room.points + (POINTS + a) * n, n);
        }
}

/* The kernels ------------------------------------------------------------------------------------- */

/* out (M, N) = (or +=) x (M, K) . y (K, N); rows of y are read in place, and LANES beyond them. */
static void small_product(real *out, int64_t out_row, const real *x, int64_t x_row, int64_t x_column, const real *y, int64_t M, int64_t K, int64_t N, int add)
{
    const int64_t height = even_rows(M);
    for (int64_t n = 0; n < N; n += LANES)
        tiles_of(M, height, (tile_arguments){
            .x = x, .x_row = x_row, .x_column = x_column, .x_tile = height * x_row,
            .y = y + n, .y_row = N, .K = K, .segments = 1, .columns = smaller_of(LANES, N - n),
            .out = out + n, .out_row = out_row, .add = add,
        });
}

/* Divides the scratch memory of this thread, for some outputs of the results, and
   `weight_outputs` outputs of the weights. `images` is 0 if there is no memory. */
static winograd_room room_of(const winograd_sizes *w, int64_t outputs, int64_t weight_outputs)
{
    const int64_t widest = w->s.I > w->s.O ? w->s.I : w->s.O, lines = POINTS * (w->columns + RESULTS) * widest;
    const int64_t weights = w->total * weight_outputs, images = w->total * w->tiles, frame = w->rows * w->columns * w->s.I;
    const int64_t results = POINTS * POINTS * w->tiles * outputs + 2 * LANES; /* tiles read complete rows */
    real *all = tt_scratch((weights + images + results + lines + frame + widest) * sizeof(real));
    winograd_room room = {.weights = all};
    if (all) {
        room.images = all + weights;
        room.results = room.images + images;
        room.points = room.results + results;
        room.frame = room.points + lines;
        room.rest = room.frame + frame;
    }
    return room;
}

typedef struct {
    const real *x, *weight, *grad;
    real *out;
    winograd_sizes w;
    atomic_int *overflow; /* 1 if a result is not finite */
    real *sums;           /* for the gradient of the weights: [CHUNKS][total][O] */
} winograd_arguments;

static void note_overflow(const winograd_arguments *a, const real *out, int64_t n)
{
    if (!all_finite(out, n))
        atomic_store(a->overflow, 1);
}

/* [begin, end): groups of images that are computed together */
static void winograd_forward(const void *arguments, int64_t begin, int64_t end)
{
    const winograd_arguments *a = arguments;
    const winograd_sizes *w = &a->w;
    const conv_sizes s = w->s;
    const winograd_room room = room_of(w, s.O, s.O);
    if (!room.images)
        return;
    weight_points(room.weights, 0, w, a->weight);
    for (int64_t group = begin; group < end; group++) {
        const int64_t first = group * w->images, count = smaller_of(w->images, s.N - first), image = s.OH * s.OW * s.O;
        for (int64_t top = 0; top < w->tiles_h; top += w->band) {
            const int64_t tiles = band_of(w, top, count).first;
            for (int64_t n = 0; n < count; n++)
                image_points(room.images, w, room, a->x + (first + n) * s.H * s.W * s.I, band_of(w, top, n));
            for (int i = 0; i < POINTS; i++)
                for (int j = 0; j < POINTS; j++)
                    small_product(room.results + (i * POINTS + j) * w->tiles * s.O, s.O, room.images + w->start[i][j] * w->tiles, w->depth[i][j], 1,
                                  room.weights + w->start[i][j] * s.O, tiles, w->depth[i][j], s.O, 0);
            for (int64_t n = 0; n < count; n++)
                results_of_tiles(a->out + (first + n) * image, w, room, room.results, band_of(w, top, n));
        }
        note_overflow(a, a->out + first * image, count * image);
    }
}

static void winograd_grad_x(const void *arguments, int64_t begin, int64_t end)
{
    const winograd_arguments *a = arguments;
    const winograd_sizes *w = &a->w;
    const conv_sizes s = w->s;
    const winograd_room room = room_of(w, s.O, s.O);
    if (!room.images)
        return;
    weight_points(room.weights, 1, w, a->weight);
    for (int64_t group = begin; group < end; group++) {
        const int64_t first = group * w->images, count = smaller_of(w->images, s.N - first), image = s.H * s.W * s.I;
        memset(a->out + first * image, 0, count * image * sizeof(real));
        for (int64_t top = 0; top < w->tiles_h; top += w->band) {
            const int64_t tiles = band_of(w, top, count).first;
            for (int64_t n = 0; n < count; n++)
                tiles_of_results(room.results, w, room, a->grad + (first + n) * s.OH * s.OW * s.O, band_of(w, top, n), 0, s.O);
            for (int i = 0; i < POINTS; i++)
                for (int j = 0; j < POINTS; j++)
                    small_product(room.images + w->start[i][j] * w->tiles, w->depth[i][j], room.results + (i * POINTS + j) * w->tiles * s.O, s.O, 1,
                                  room.weights + w->start[i][j] * s.O, tiles, s.O, w->depth[i][j], 0);
            for (int64_t n = 0; n < count; n++)
                add_points_to_image(a->out + (first + n) * image, w, room, room.images, band_of(w, top, n));
        }
        note_overflow(a, a->out + first * image, count * image);
    }
}

/* Adds a chunk of groups of images to its sums for the half panels [first_half, last_half) of outputs. */
static void winograd_add_chunk(const void *arguments, int64_t chunk, int64_t first_half, int64_t last_half)
{
    const winograd_arguments *a = arguments;
    const winograd_sizes *w = &a->w;
    const conv_sizes s = w->s;
    const int64_t begin = first_half * LANES / 2, end = smaller_of(last_half * LANES / 2, s.O);
    const int64_t outputs = end - begin, groups = groups_of(w);
    const winograd_room room = room_of(w, outputs, 0);
    if (!room.images)
        return;
    real *sums = a->sums + chunk * w->total * s.O + begin;
    for (int64_t row = 0; row < w->total; row++)
        memset(sums + row * s.O, 0, outputs * sizeof(real));
    for (int64_t group = first_of_chunk(chunk, groups); group < first_of_chunk(chunk + 1, groups); group++)
        for (int64_t top = 0; top < w->tiles_h; top += w->band) {
            const int64_t first = group * w->images, count = smaller_of(w->images, s.N - first), tiles = band_of(w, top, count).first;
            for (int64_t n = 0; n < count; n++) {
                image_points(room.images, w, room, a->x + (first + n) * s.H * s.W * s.I, band_of(w, top, n));
                tiles_of_results(room.results, w, room, a->grad + (first + n) * s.OH * s.OW * s.O, band_of(w, top, n), begin, end);
            }
            for (int i = 0; i < POINTS; i++)
                for (int j = 0; j < POINTS; j++)
                    small_product(sums + w->start[i][j] * s.O, s.O, room.images + w->start[i][j] * w->tiles, 1, w->depth[i][j],
                                  room.results + (i * POINTS + j) * w->tiles * outputs, w->depth[i][j], tiles, outputs, 1);
        }
}

/* [begin, end): the half panels of outputs of chunk 0, then those of chunk 1, ... */
static void winograd_grad_weight_chunks(const void *arguments, int64_t begin, int64_t end)
{
    for_each_chunk(winograd_add_chunk, arguments, half_panels_of(((const winograd_arguments *)arguments)->w.s.O), begin, end);
}

/* [begin, end): outputs, whose sums of all chunks are added up and transformed. */
static void winograd_grad_weight_results(const void *arguments, int64_t begin, int64_t end)
{
    const winograd_arguments *a = arguments;
    const int64_t total = a->w.total, O = a->w.s.O;
    for (int64_t row = 0; row < total; row++)
        for (int64_t o = begin; o < end; o++)
            a->sums[row * O + o] = sum_of_chunks(a->sums + row * O + o, total * O);
    weights_of_points(a->out, &a->w, a->sums, begin, end);
}

/* True if the convolution was computed by Winograd's algorithm, and all results are finite. */
static int winograd(tt_rows_function function, const real *x, const real *weight, const real *grad, real *out, conv_sizes s)
{
    if (!by_winograd(s))
        return 0;
    atomic_int overflow = 0;
    const winograd_arguments a = {.x = x, .weight = weight, .grad = grad, .out = out, .w = winograd_sizes_of(s), .overflow = &overflow};
    tt_parallel_rows(function, &a, groups_of(&a.w), 1);
    return !atomic_load(&overflow);
}

/* The same for the gradient of the weights. */
static int winograd_grad_weight(const real *x, const real *grad, real *out, conv_sizes s)
{
    if (!by_winograd(s))
        return 0;
    winograd_arguments a = {.x = x, .grad = grad, .out = out, .w = winograd_sizes_of(s)};
    a.sums = tt_shared_scratch(CHUNKS * a.w.total * s.O * sizeof(real));
    if (a.sums) {
        tt_parallel_rows(winograd_grad_weight_chunks, &a, CHUNKS * half_panels_of(s.O), 1);
        tt_parallel_elements(winograd_grad_weight_results, &a, s.O, CHUNKS * a.w.total);
    }
    return all_finite(out, s.KH * s.KW * s.I * s.O);
}
