/* wasm.c: all kernels in float, for WebAssembly with 128-bit vectors. tinytensor/web compiles this file.

   It has one thread, so this file has its own functions of threads.c. scratch.c is used as it is. */
#define real float
#define VECTOR_BYTES 16
#define VECTOR 4
#define ROW_BYTES 64
#define TILE_ROWS 2 /* 2 x 4 sums: browsers compile for CPUs with 16 registers of 16 bytes, too */
#include <stdint.h>
#include <string.h>
#include <tgmath.h>
#include "elementwise.c"
#include "reduce.c"
#include "layout.c"
#include "matmul.c"
#include "sparse_matmul.c"
#include "winograd.c"
#include "conv2d.c"
#include "pool2d.c"
#include "random.c"
#include "softmax.c"
#include "images.c"
#include "warp.c"
#include "normalize.c"
#include "optimizers.c"

/* threads.c, for one thread */

void tt_parallel_rows(tt_rows_function function, const void *arguments, int64_t rows, int64_t grain)
{
    (void)grain;
    function(arguments, 0, rows);
}

void tt_parallel_elements(tt_rows_function function, const void *arguments, int64_t rows, int64_t columns)
{
    tt_parallel_rows(function, arguments, rows, columns);
}

int tt_may_use_winograd(void)
{
    return 1;
}

int tt_get_threads(void)
{
    return 1;
}
