/* images.c: converts a batch of images from bytes to real numbers between 0 and 1.

   The images of a batch are scattered over an array that is larger than the caches, so the wait for
   an image is longer than its conversion. The loop therefore prefetches the image AHEAD images later
   while it converts one.

   The next batch could be prefetched during the gradient of the weights. In lesson 1.0 load_images then
   takes 6 us instead of 15, but the gradient takes 22 us instead of 16, because its own data wait. This
   saves 3 us of a step of 60. It was left out, because each program would have to carry the distance to
   the next batch. */
#include "kernels.h"

enum {
    AHEAD = 4, /* images */
    LINE = 64, /* bytes in a cache line */
    LEVEL_2 = 2, /* prefetch into the L2 cache, because the images would fill the L1 cache */
};

void tt_load_images(const uint8_t *images, const int64_t *index, real *out, int64_t R, int64_t D)
{
    for (int64_t r = 0; r < R; r++, out += D) {
        if (r + AHEAD < R)
            for (int64_t d = 0; d < D; d += LINE)
                __builtin_prefetch(images + index[r + AHEAD] * D + d, 0, LEVEL_2);
        const uint8_t *image = images + index[r] * D;
        for (int64_t d = 0; d < D; d++)
            out[d] = image[d] * (real)(1.0 / 255);
    }
}
