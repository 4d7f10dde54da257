/* convolution.h: the sizes of a convolution or pooling as a struct, and the chunks of a batch. */
#ifndef TT_CONVOLUTION_H
#define TT_CONVOLUTION_H
#include <stdint.h>
#include <string.h>
#undef I /* complex.h defines it as the square root of -1 */

/* Images (N, H, W, I), windows KH x KW, results (N, OH, OW, O). */
typedef struct {
    int64_t N, H, W, I, KH, KW, O, OH, OW, stride_h, stride_w, pad_h, pad_w;
} conv_sizes;

static inline conv_sizes unpack_sizes(const int64_t *sizes)
{
    conv_sizes s;
    memcpy(&s, sizes, sizeof s);
    return s;
}

/* The gradient of the weights is a sum over the images. Each of CHUNKS parts of a batch has its own
   sums, for any number of threads, so that the order of the additions is always the same. */
enum { CHUNKS = 4 };

/* The first image (or group of images) of a chunk; that of CHUNKS is the number of images. */
static inline int64_t first_of_chunk(int64_t chunk, int64_t images) { return images * chunk / CHUNKS; }

/* Computes the parts [begin, end) of the sums of a chunk. */
typedef void (*chunk_function)(const void *arguments, int64_t chunk, int64_t begin, int64_t end);

/* [begin, end): the parts of chunk 0, then those of chunk 1, ... */
static inline void for_each_chunk(chunk_function function, const void *arguments, int64_t parts, int64_t begin, int64_t end)
{
    for (int64_t first, next; begin < end; begin = next) {
        first = begin / parts * parts;
        next = end < first + parts ? end : first + parts;
        function(arguments, begin / parts, begin - first, next - first);
    }
}

/* The sum of the chunks' sums, which are `next` elements apart. */
static inline real sum_of_chunks(const real *sums, int64_t next)
{
    real sum = sums[0];
    for (int chunk = 1; chunk < CHUNKS; chunk++)
        sum += sums[chunk * next];
    return sum;
}

#endif
