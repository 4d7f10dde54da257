/* convolution.h: the sizes of a convolution or pooling as a struct. */
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

#endif
