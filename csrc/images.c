/* images.c: a batch of images, from bytes to numbers between 0 and 1.

   The images lie all over a memory much larger than any cache: waiting for each would take longer
   than converting it. So memory is asked for an image while those before it are converted. */
#include "kernels.h"

enum {
    AHEAD = 4, /* images */
    LINE = 64, /* bytes that memory delivers at a time */
    LEVEL_2 = 2, /* the cache to deliver to: the first would be full at once */
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
