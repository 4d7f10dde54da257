/* conv2d.c: convolution of images (N, H, W, C), and its gradients with respect to images and weights.

   All three are matrix products, so they use the tile of matmul (see tile.h), directly on the images:
   the KW * I elements of one row of a window are contiguous in the image, and so are the KW * I rows of
   weights that they are multiplied with. A window has KH such segments.

                             rows of the tile     lanes    summed over
       forward               pixels of out        O        elements of the window
       gradient of x         pixels of x          I        elements of out that the pixel is used for
       gradient of weight    elements of window   O        pixels of out

   If there are too few channels to fill the lanes, the lanes are images, or elements of the window for
   the gradient of the weights. Then the rows of the tile are channels.

   With many channels and small windows, Winograd's algorithm needs about half of the multiplications (see
   winograd.c).

   Each image is first copied into a frame of zeros, so that no window reaches outside of it. Weights
   are packed into panels of LANES columns, so that a tile can read complete rows. */
#include "kernels.h"
#include "convolution.h"
#include "machine.h"
#include "panels.h"
#include "tile.h"

typedef struct {
    const real *x, *weight, *grad;
    real *out;
    conv_sizes s;
} conv_arguments;

/* Copies an image (H, W, C) to (top, left) of a frame (rows, columns, C); what does not fit is cut. */
static void frame_image(real *frame, int64_t rows, int64_t columns, int64_t top, int64_t left, const real *image, int64_t H, int64_t W, int64_t C)
{
    const int64_t height = H < rows - top ? H : rows - top, width = W < columns - left ? W : columns - left;
    for (int64_t y = 0; y < height && width > 0; y++)
        memcpy(frame + ((top + y) * columns + left) * C, image + y * W * C, width * C * sizeof(real));
}

typedef struct {
    int64_t first, count;
} range;

/* The range of n with 0 <= n < size and 0 <= first + n * step < limit. */
static inline range valid_range(int64_t size, int64_t first, int64_t step, int64_t limit)
{
    const int64_t begin = first < 0 ? (step - 1 - first) / step : 0;
    const int64_t inside = first < limit ? (limit - first + step - 1) / step : 0, end = inside < size ? inside : size;
    return (range){begin, end > begin ? end - begin : 0};
}

/* Forward ------------------------------------------------------------------------------------- */

/* panel[p][e][lane] = weight[e][p * LANES + lane], for the elements e = (kh, kw, i) of a window */
static void pack_weight(real *panel, const real *weight, conv_sizes s)
{
    const int64_t window_size = s.KH * s.KW * s.I;
    for (int64_t first = 0; first < s.O; first += LANES) {
        const int64_t columns = s.O - first < LANES ? s.O - first : LANES;
        for (int64_t element = 0; element < window_size; element++, panel += LANES)
            memcpy(panel, weight + element * s.O + first, columns * sizeof(real));
    }
}

/* Lanes of images -------------------------------------------------------------------------------

   If the lanes were channels and there are 4 channels, 12 of 16 lanes would be unused. A batch has
   enough images to fill all lanes. So the elements of LANES images at one place of the image are copied
   next to each other. The rows of a tile are then output channels, and a weight is multiplied with the
   same place in all images:

       sum[o][image] += weight[kh][kw][i][o] * frame[y + kh][x + kw][i][image]

   The frame holds the lines that fit into the L2 cache ("a band"). The results of one line are
   collected, and then copied to the images. */

enum { BAND = 1 << 16 }; /* elements */

static inline int64_t lines_in_band(int64_t line) { return BAND / (line > 0 ? line : 1); }

/* True if lanes of images are faster than lanes of channels. The cost is the number of vectors of sums,
   including unused lanes. A tile with fewer than BUSY vectors takes as long as one with BUSY vectors,
   because each sum waits for the previous one. (A CPU with small tiles has no fused multiply-add; for
   it BUSY is half as large.) Images must save an eighth of the vectors, because it takes longer to copy
   them. */
enum { BUSY = TILE_ROWS * VECTORS > 8 ? 8 : 4 };

static inline int by_lanes(int64_t N, int64_t width, int64_t channels)
{
    const int64_t in_tile = even_rows(width), tiles = (width + in_tile - 1) / in_tile;
    const int64_t halves = half_panels_of(channels), half = in_tile * VECTORS / 2;
    const int64_t tile_pair = halves / 2 * 2 * half + halves % 2 * (half < BUSY ? BUSY : half);
    return 8 * channels * half_panels_of(N) * VECTORS / 2 * width < 7 * N * tiles * tile_pair;
}

/* The number of n images for which lanes of images are faster: all, those that fill the lanes, or
   none. The rest of the images have lanes of channels. Both compute the same sums in the same order. */
static inline int64_t images_by_lanes(int64_t n, int64_t width, int64_t channels)
{
    if (!by_lanes(LANES, width, channels))
        return 0;
    return by_lanes(n % LANES, width, channels) ? n : n - n % LANES;
}

/* frame[y][left + x][c][lane] = images[lane][first + y][x][c]. What lies outside of an image stays 0,
   and lines outside of it are not read. */
static void frame_lanes(real *frame, int64_t lines, int64_t columns, int64_t first, int64_t left, const real *images, int64_t count, int64_t H, int64_t W, int64_t C)
{
    const int64_t width = smaller_of(W, columns - left), last = smaller_of(H, first + lines);
    for (int64_t y = first < 0 ? 0 : first; y < last && width > 0; y++)
        transpose(frame + ((y - first) * columns + left) * C * LANES, LANES, images + y * W * C, H * W * C, count, width * C);
}

/* The tiles of one line: those of the first TILE_ROWS channels, or fewer, are given. */
static void sums_of_line(tile_arguments a, int64_t channels)
{
    const int64_t in_tile = even_rows(channels);
    for (int64_t c = 0; c < channels; c += in_tile, a.x += in_tile, a.out += in_tile * LANES)
        tile_of(smaller_of(in_tile, channels - c), &a);
}

static void conv2d_lanes(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    const int64_t columns = (s.OW - 1) * s.stride_w + s.KW, line = columns * s.I * LANES;
    const int64_t fitting = lines_in_band(line) > s.KH ? (lines_in_band(line) - s.KH) / s.stride_h + 1 : 1;
    const int64_t band = smaller_of(s.OH, fitting), lines = (band - 1) * s.stride_h + s.KH;
    real *frame = tt_zeroed_scratch((lines * line + s.OW * s.O * LANES) * sizeof(real));
    if (!frame)
        return;
    real *results = frame + lines * line;
    for (int64_t n = begin; n < end; n += LANES)
        for (int64_t top = 0; top < s.OH; top += band) {
            const int64_t count = smaller_of(LANES, end - n), first = top * s.stride_h - s.pad_h;
            frame_lanes(frame, lines, columns, first, s.pad_w, a->x + n * s.H * s.W * s.I, count, s.H, s.W, s.I);
            for (int64_t h = top; h < s.OH && h < top + band; h++) {
                const range kh = valid_range(s.KH, h * s.stride_h - s.pad_h, 1, s.H);
                sums_of_line((tile_arguments){
                    .x = a->weight + kh.first * s.KW * s.I * s.O,
                    .x_row = 1, .x_column = s.O, .x_segment = s.KW * s.I * s.O,
                    .y = frame + ((h - top) * s.stride_h + kh.first) * line,
                    .y_row = LANES, .y_segment = line, .y_tile = s.stride_w * s.I * LANES,
                    .K = s.KW * s.I, .segments = kh.count, .columns = count <= LANES / 2 ? LANES / 2 : LANES,
                    .out = results, .out_row = LANES, .out_tile = s.O * LANES, .more = s.OW - 1,
                }, s.O);
                transpose(a->out + (n * s.OH + h) * s.OW * s.O, s.OH * s.OW * s.O, results, LANES, s.OW * s.O, count);
            }
        }
}

/* Lanes of channels --------------------------------------------------------------------------- */

static void conv2d_images(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    const int64_t rows = (s.OH - 1) * s.stride_h + s.KH, columns = (s.OW - 1) * s.stride_w + s.KW;
    const int64_t window_size = s.KH * s.KW * s.I, frame_size = rows * columns * s.I + LANES;
    real *frame = tt_zeroed_scratch((frame_size + panels_of(s.O) * window_size * LANES) * sizeof(real));
    if (!frame)
        return;
    real *panel = frame + frame_size;
    pack_weight(panel, a->weight, s);
    const int64_t in_tile = even_rows(s.OW);
    for (int64_t n = begin; n < end; n++) {
        frame_image(frame, rows, columns, s.pad_h, s.pad_w, a->x + n * s.H * s.W * s.I, s.H, s.W, s.I);
        for (int64_t o = 0; o < s.O; o += LANES)
            for (int64_t h = 0; h < s.OH; h++) {
                const range kh = valid_range(s.KH, h * s.stride_h - s.pad_h, 1, s.H);
                tiles_of(s.OW, in_tile, (tile_arguments){
                    .x = frame + (h * s.stride_h + kh.first) * columns * s.I,
                    .x_row = s.stride_w * s.I, .x_column = 1, .x_segment = columns * s.I, .x_tile = in_tile * s.stride_w * s.I,
                    .y = panel + o * window_size + kh.first * s.KW * s.I * LANES,
                    .y_row = LANES, .y_segment = s.KW * s.I * LANES,
                    .K = s.KW * s.I, .segments = kh.count, .columns = s.O - o < LANES ? s.O - o : LANES,
                    .out = a->out + (n * s.OH + h) * s.OW * s.O + o, .out_row = s.O,
                });
            }
    }
}

/* The gradient of x ---------------------------------------------------------------------------

   Pixel y of x is in the windows h with y = h * stride - padding + a. The remainder of
   (y + padding) / stride is the phase of the pixel. Only the weights a = phase, phase + stride, ... are
   multiplied with it. So the pixels of one phase are a convolution of grad with stride 1 and these
   weights in reverse order. */

typedef struct {
    int64_t remainder; /* of (y + padding) / stride */
    int64_t taps;      /* the number of weights of this phase: remainder, remainder + stride, ... */
    int64_t first;     /* the first pixel of x with this phase */
    int64_t window;    /* the last window that contains this pixel */
    int64_t pixels;    /* the number of pixels with this phase */
} phase;

static phase phase_of(int64_t remainder, int64_t K, int64_t stride, int64_t padding, int64_t size)
{
    phase p = {.remainder = remainder, .taps = remainder < K ? (K - remainder + stride - 1) / stride : 0};
    p.first = ((remainder - padding) % stride + stride) % stride;
    p.window = (p.first + padding - remainder) / stride;
    p.pixels = p.first < size ? (size - p.first + stride - 1) / stride : 0;
    return p;
}

/* The arguments for one phase of an image: grad in a frame of zeros, and the packed weights of the
   phase. `top` and `left` are the rows and columns of zeros before grad. */
typedef struct {
    conv_sizes s;
    phase p, q; /* of rows and of columns */
    int64_t top, left, rows, columns;
    const real *frame, *panel;
    real *out; /* the image's gradient */
} phase_arguments;

/* panel[g][j][t][o][i] = weight[a][b][g * width + i][o], for i < width, with a = tap j of p and b = tap
   q.taps - 1 - t of q */
static void pack_phase(real *panel, int64_t width, const real *weight, conv_sizes s, phase p, phase q)
{
    for (int64_t first = 0; first < s.I; first += width) {
        const int64_t columns = smaller_of(width, s.I - first);
        for (int64_t j = 0; j < p.taps; j++)
            for (int64_t t = 1; t <= q.taps; t++) {
                const int64_t a = p.remainder + j * s.stride_h, b = q.remainder + (q.taps - t) * s.stride_w;
                const real *from = weight + ((a * s.KW + b) * s.I + first) * s.O;
                for (int64_t o = 0; o < s.O; o++, panel += width)
                    for (int64_t i = 0; i < columns; i++)
                        panel[i] = from[i * s.O + o];
            }
    }
}

static void phase_by_channels(phase_arguments a)
{
    const conv_sizes s = a.s;
    const phase p = a.p, q = a.q;
    const int64_t window_size = p.taps * q.taps * s.O, in_tile = even_rows(q.pixels);
    for (int64_t i = 0; i < s.I; i += LANES)
        for (int64_t y = 0; y < p.pixels; y++) {
            const range tap = valid_range(p.taps, s.OH - 1 - p.window - y, 1, s.OH);
            tiles_of(q.pixels, in_tile, (tile_arguments){
                .x = a.frame + ((a.top + p.window + y - tap.first) * a.columns + a.left + q.window - q.taps + 1) * s.O,
                .x_row = s.O, .x_column = 1, .x_segment = -a.columns * s.O, .x_tile = in_tile * s.O,
                .y = a.panel + i * window_size + tap.first * q.taps * s.O * LANES,
                .y_row = LANES, .y_segment = q.taps * s.O * LANES,
                .K = q.taps * s.O, .segments = tap.count, .columns = s.I - i < LANES ? s.I - i : LANES,
                .out = a.out + ((p.first + y * s.stride_h) * s.W + q.first) * s.I + i,
                .out_row = s.stride_w * s.I,
            });
        }
}

/* The number of weights of all phases before this one. */
static inline int64_t taps_before(int64_t remainder, int64_t K, int64_t stride)
{
    return remainder * (K / stride) + smaller_of(remainder, K % stride);
}

/* Lanes are images: every pixel of x is a sum over the weights of its phase. */
static void conv2d_grad_x_lanes(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    const int64_t left = s.KW / s.stride_w, columns = left + (s.W - 1 + s.pad_w) / s.stride_w + 1, line = columns * s.O * LANES;
    const int64_t windows = (s.KH - 1) / s.stride_h + 1; /* lines of grad for one line of x */
    const int64_t fitting = lines_in_band(line) > windows ? (lines_in_band(line) - windows) * s.stride_h : 1;
    const int64_t band = smaller_of(s.H, fitting), lines = (band + s.stride_h - 2) / s.stride_h + windows;
    real *frame = tt_zeroed_scratch((lines * line + s.W * s.I * LANES + s.KH * s.KW * s.O * s.I) * sizeof(real));
    if (!frame)
        return;
    real *results = frame + lines * line, *panels = results + s.W * s.I * LANES;
    for (int64_t v = 0; v < s.stride_h && v < s.KH; v++)
        for (int64_t u = 0; u < s.stride_w && u < s.KW; u++) {
            const phase p = phase_of(v, s.KH, s.stride_h, s.pad_h, s.H), q = phase_of(u, s.KW, s.stride_w, s.pad_w, s.W);
            const int64_t before = taps_before(v, s.KH, s.stride_h) * s.KW + p.taps * taps_before(u, s.KW, s.stride_w);
            pack_phase(panels + before * s.O * s.I, s.I, a->weight, s, p, q);
        }
    for (int64_t n = begin; n < end; n += LANES)
        for (int64_t top = 0; top < s.H; top += band) {
            const int64_t count = smaller_of(LANES, end - n);
            const int64_t first = (top + s.pad_h) / s.stride_h - windows + 1; /* the line of grad that is line 0 of the frame */
            frame_lanes(frame, lines, columns, first, left, a->grad + n * s.OH * s.OW * s.O, count, s.OH, s.OW, s.O);
            for (int64_t y = top; y < s.H && y < top + band; y++) {
                const int64_t v = (y + s.pad_h) % s.stride_h, window = (y + s.pad_h) / s.stride_h;
                const phase p = phase_of(v, s.KH, s.stride_h, s.pad_h, s.H);
                const range tap = valid_range(p.taps, s.OH - 1 - window, 1, s.OH);
                for (int64_t left_x = 0; left_x < s.W && left_x < s.stride_w; left_x++) {
                    const int64_t u = (left_x + s.pad_w) % s.stride_w;
                    const phase q = phase_of(u, s.KW, s.stride_w, s.pad_w, s.W);
                    const int64_t before = taps_before(v, s.KH, s.stride_h) * s.KW + p.taps * taps_before(u, s.KW, s.stride_w);
                    sums_of_line((tile_arguments){
                        .x = panels + (before + tap.first * q.taps) * s.O * s.I,
                        .x_row = 1, .x_column = s.I, .x_segment = q.taps * s.O * s.I,
                        .y = frame + (window - tap.first - first) * line + (left + q.window - q.taps + 1) * s.O * LANES,
                        .y_row = LANES, .y_segment = -line, .y_tile = s.O * LANES,
                        .K = q.taps * s.O, .segments = tap.count, .columns = count <= LANES / 2 ? LANES / 2 : LANES,
                        .out = results + left_x * s.I * LANES, .out_row = LANES,
                        .out_tile = s.stride_w * s.I * LANES, .more = q.pixels - 1,
                    }, s.I);
                }
                transpose(a->out + (n * s.H + y) * s.W * s.I, s.H * s.W * s.I, results, LANES, s.W * s.I, count);
            }
        }
}

static void conv2d_grad_x_images(const void *arguments, int64_t begin, int64_t end)
{
    const conv_arguments *a = arguments;
    const conv_sizes s = a->s;
    phase_arguments f = {.s = s, .top = s.KH / s.stride_h, .left = s.KW / s.stride_w};
    f.rows = f.top + (s.H - 1 + s.pad_h) / s.stride_h + 1;
    f.columns = f.left + (s.W - 1 + s.pad_w) / s.stride_w + 1;
    const int64_t frame_size = f.rows * f.columns * s.O + LANES; /* LANES longer: tiles read full rows */
    real *frame = tt_zeroed_scratch((frame_size + panels_of(s.I) * s.KH * s.KW * s.O * LANES) * sizeof(real));
    if (!frame)
        return;
    f.frame = frame;
    for (int64_t n = begin; n < end; n++) {
        real *panel = frame + frame_size;
        f.out = a->out + n * s.H * s.W * s.I;
        frame_image(frame, f.rows, f.columns, f.top, f.left, a->grad + n * s.OH * s.OW * s.O, s.OH, s.OW, s.O);
        for (int64_t remainder_h = 0; remainder_h < s.stride_h; remainder_h++)
            for (int64_t remainder_w = 0; remainder_w < s.stride_w; remainder_w++) {
                f.p = phase_of(remainder_h, s.KH, s.stride_h, s.pad_h, s.H);
                f.q = phase_of(remainder_w, s.KW, s.stride_w, s.pad_w, s.W);
                f.panel = panel;
                if (n == begin)
                    pack_phase(panel, LANES, a->weight, s, f.p, f.q);
                phase_by_channels(f);
                panel += f.p.taps * f.q.taps * s.O * panels_of(s.I) * LANES;
            }
    }
}

/* The gradient of the weights -----------------------------------------------------------------

   For each pixel of out, one row of its window (KW * I contiguous elements) is multiplied with the O
   elements of grad. One of the two is in the lanes of the tile, and the other one in its rows:

       lanes: the window   i0 i1 i2 i0 i1 i2       lanes: grad   o0 o1 o2 o3
                   o = 0   .  .  .  .  .  .           i0, kw=0   .  .  .  .
                   o = 1   .  .  .  .  .  .           i1, kw=0   .  .  .  .

   The version with fewer unused lanes is taken. With one channel a row of the window is too short. Then
   the KH rows of a window are copied next to each other ("stacked"), so that the complete window is
   contiguous.

   The images are divided into CHUNKS. Each chunk has its own sums, which are added up at the end. So the
   order of each sum does not depend on the number of threads, and a thread reads the images that it has
   also written. (After another core has read a cache line, writing to it takes about ten times as long.)
   The sums of a tile have rows of LANES until all images have been added. */

typedef struct {
    int64_t count;       /* contiguous elements for one pixel of out */
    int64_t next, below; /* strides to the elements for the next pixel and for the pixel below */
} extent;

typedef struct {
    extent rows, lanes;
    int lanes_are_grad, stacked;
    int64_t KH, panels, in_tile, tiles; /* the weights are KH x panels (of LANES) x tiles (of in_tile rows) */
} weight_tiles;

typedef struct {
    int64_t kh, row, lane; /* where the tile starts */
    int64_t rows, columns;
} weight_tile;

enum { COPIED = 8 }; /* the largest KH of stacked windows */

static weight_tiles tiles_of_weights(conv_sizes s)
{
    const int64_t columns = (s.OW - 1) * s.stride_w + s.KW;
    const extent grad = {s.O, s.O, s.OW * s.O};
    const extent row = {s.KW * s.I, s.stride_w * s.I, s.stride_h * columns * s.I};
    const extent stack = {s.KH * s.KW, s.KH * s.stride_w, s.KH * columns};
    const int64_t with_grad = s.KH * row.count * half_panels_of(s.O);
    const int64_t with_row = s.KH * s.O * half_panels_of(row.count), with_stack = s.O * half_panels_of(stack.count);
    weight_tiles w = {.rows = row, .lanes = grad, .KH = s.KH, .lanes_are_grad = 1};
    if (s.I == 1 && s.KH <= COPIED && with_stack < with_grad)
        w = (weight_tiles){.rows = grad, .lanes = stack, .KH = 1, .stacked = 1};
    else if (8 * with_row < 7 * with_grad)
        w = (weight_tiles){.rows = grad, .lanes = row, .KH = s.KH};
    w.panels = panels_of(w.lanes.count);
    w.in_tile = even_rows(w.rows.count);
    w.tiles = (w.rows.count + w.in_tile - 1) / w.in_tile;
    return w;
}

static weight_tile weight_tile_of(weight_tiles w, int64_t t)
{
    const int64_t row = t % w.tiles * w.in_tile, lane = t / w.tiles % w.panels * LANES;
    return (weight_tile){
        .kh = t / w.tiles / w.panels, .row = row, .lane = lane,
        .rows = w.rows.count - row < w.in_tile ? w.rows.count - row : w.in_tile,
        .columns = w.lanes.count - lane < LANES ? w.lanes.count - lane : LANES,
    };
}

/* stack[h][x][a] = frame[h * stride_h + a][x], for a < KH. The frame is first written transposed, to
   `upright`. Then COPIED elements are copied at a time; the next column overwrites those beyond KH. */
static void stack_image(real *stack, real *upright, const real *image, int64_t rows, int64_t columns, conv_sizes s)
{
    const int64_t height = s.H < rows - s.pad_h ? s.H : rows - s.pad_h, width = s.W < columns - s.pad_w ? s.W : columns - s.pad_w;
    for (int64_t x = 0; x < width; x++)
        for (int64_t y = 0; y < height; y++)
            upright[(s.pad_w + x) * rows + s.pad_h + y] = image[y * s.W + x];
    for (int64_t h = 0; h < s.OH; h++)
        for (int64_t x = 0; x < columns; x++)
            memcpy(stack + (h * columns + x) * s.KH, upright + x * rows + h * s.stride_h, sizeof(real[COPIED]));
}

typedef struct {
    const real *x, *grad;
    real *out;
    conv_sizes s;
    weight_tiles w;
    int64_t tiles; /* of all weights */
    real *sums;    /* [CHUNKS][tiles][in_tile][LANES] */
} grad_weight_arguments;

/* Adds the images of a chunk to its tiles [begin, end). */
static void add_chunk(const void *arguments, int64_t chunk, int64_t begin, int64_t end)
{
    const grad_weight_arguments *a = arguments;
    const conv_sizes s = a->s;
    const weight_tiles w = a->w;
    const int64_t rows = (s.OH - 1) * s.stride_h + s.KH, columns = (s.OW - 1) * s.stride_w + s.KW;
    const int64_t grad_size = s.OH * s.OW * s.O, tile_size = w.in_tile * LANES;
    /* each is LANES longer than its contents, because tiles read full rows */
    const int64_t frame_size = rows * columns * s.I + LANES, last_size = grad_size + LANES;
    const int64_t stack_size = w.stacked ? s.OH * w.lanes.below + LANES : 0;
    real *frame = tt_zeroed_scratch((frame_size + last_size + stack_size) * sizeof(real));
    if (!frame)
        return;
    real *last_grad = frame + frame_size, *stack = last_grad + last_size, *sums = a->sums + chunk * a->tiles * tile_size;
    memset(sums + begin * tile_size, 0, (end - begin) * tile_size * sizeof(real));
    for (int64_t n = first_of_chunk(chunk, s.N); n < first_of_chunk(chunk + 1, s.N); n++) {
        const real *image = a->x + n * s.H * s.W * s.I, *grad = a->grad + n * grad_size;
        if ((s.N - 1 - n) * grad_size < LANES) /* a full row would end outside of grad */
            grad = memcpy(last_grad, grad, grad_size * sizeof(real));
        if (w.stacked)
            stack_image(stack, frame, image, rows, columns, s);
        else
            frame_image(frame, rows, columns, s.pad_h, s.pad_w, image, s.H, s.W, s.I);
        for (int64_t t = begin, taken; t < end; t += taken) { /* tiles that differ only in their rows */
            const weight_tile at = weight_tile_of(w, t);
            const range h = w.stacked ? (range){0, s.OH} : valid_range(s.OH, at.kh - s.pad_h, s.stride_h, s.H);
            const real *window = w.stacked ? stack : frame + at.kh * columns * s.I;
            taken = smaller_of(end - t, w.tiles - t % w.tiles);
            tiles_of(smaller_of(taken * w.in_tile, w.rows.count - at.row), w.in_tile, (tile_arguments){
                .x = (w.lanes_are_grad ? window : grad) + h.first * w.rows.below + at.row,
                .x_row = 1, .x_column = w.rows.next, .x_segment = w.rows.below, .x_tile = w.in_tile,
                .y = (w.lanes_are_grad ? grad : window) + h.first * w.lanes.below + at.lane,
                .y_row = w.lanes.next, .y_segment = w.lanes.below,
                .K = s.OW, .segments = h.count, .columns = at.columns <= LANES / 2 ? LANES / 2 : LANES,
                .out = sums + t * tile_size, .out_row = LANES, .add = 1,
            });
        }
    }
}

/* [begin, end): the tiles of chunk 0, then those of chunk 1, ... */
static void conv2d_grad_weight_chunks(const void *arguments, int64_t begin, int64_t end)
{
    for_each_chunk(add_chunk, arguments, ((const grad_weight_arguments *)arguments)->tiles, begin, end);
}

/* [begin, end): tiles, whose sums of all chunks are added up and stored. */
static void conv2d_grad_weight_tiles(const void *arguments, int64_t begin, int64_t end)
{
    const grad_weight_arguments *a = arguments;
    const weight_tiles w = a->w;
    const conv_sizes s = a->s;
    const int64_t tile_size = w.in_tile * LANES;
    for (int64_t t = begin; t < end; t++) {
        const weight_tile at = weight_tile_of(w, t);
        for (int64_t r = 0; r < at.rows; r++)
            for (int64_t c = 0; c < at.columns; c++) {
                const int64_t o = w.lanes_are_grad ? at.lane + c : at.row + r;
                const int64_t input = w.lanes_are_grad ? at.row + r : at.lane + c;
                const int64_t element = w.stacked ? input % s.KH * s.KW + input / s.KH : at.kh * s.KW * s.I + input;
                a->out[element * s.O + o] = sum_of_chunks(a->sums + t * tile_size + r * LANES + c, a->tiles * tile_size);
            }
    }
}

/* [begin, end): images */
static void conv2d_rows(const void *arguments, int64_t begin, int64_t end)
{
    const conv_sizes s = ((const conv_arguments *)arguments)->s;
    const int64_t rest = begin + images_by_lanes(end - begin, s.OW, s.O);
    if (begin < rest)
        conv2d_lanes(arguments, begin, rest);
    if (rest < end)
        conv2d_images(arguments, rest, end);
}

static void conv2d_grad_x_rows(const void *arguments, int64_t begin, int64_t end)
{
    const conv_sizes s = ((const conv_arguments *)arguments)->s;
    const int64_t rest = begin + images_by_lanes(end - begin, (s.W + s.stride_w - 1) / s.stride_w, s.I);
    if (begin < rest)
        conv2d_grad_x_lanes(arguments, begin, rest);
    if (rest < end)
        conv2d_grad_x_images(arguments, rest, end);
}

void tt_conv2d(const real *x, const real *weight, real *out, const int64_t *sizes)
{
    const conv_arguments a = {.x = x, .weight = weight, .out = out, .s = unpack_sizes(sizes)};
    if (!winograd(winograd_forward, x, weight, 0, out, a.s))
        tt_parallel_rows(conv2d_rows, &a, a.s.N, 1);
}

void tt_conv2d_grad_x(const real *grad, const real *weight, real *out, const int64_t *sizes)
{
    const conv_arguments a = {.grad = grad, .weight = weight, .out = out, .s = unpack_sizes(sizes)};
    if (!winograd(winograd_grad_x, 0, weight, grad, out, a.s))
        tt_parallel_rows(conv2d_grad_x_rows, &a, a.s.N, 1);
}

void tt_conv2d_grad_weight(const real *x, const real *grad, real *out, const int64_t *sizes)
{
    grad_weight_arguments a = {.x = x, .grad = grad, .out = out, .s = unpack_sizes(sizes)};
    if (winograd_grad_weight(x, grad, out, a.s))
        return;
    a.w = tiles_of_weights(a.s);
    a.tiles = a.w.KH * a.w.panels * a.w.tiles;
    a.sums = tt_shared_scratch(CHUNKS * a.tiles * a.w.in_tile * LANES * sizeof(real));
    if (!a.sums)
        return;
    tt_parallel_rows(conv2d_grad_weight_chunks, &a, CHUNKS * a.tiles, 1);
    tt_parallel_elements(conv2d_grad_weight_tiles, &a, a.tiles, CHUNKS * a.w.in_tile * LANES);
}
