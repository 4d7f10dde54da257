/* wasm.c: all kernels in float, for WebAssembly with 128-bit vectors. tinytensor/web compiles this file.

   WebAssembly has one thread here, so a job of rows is a call. Its memory is one array that can grow at
   its end. A page puts its arrays into this memory and calls the kernels with their addresses. */
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

int tt_get_threads(void)
{
    return 1;
}

/* scratch.c: one block, from the end that the memory has at the first call. Nothing else may make the
   memory grow after that. */

enum { PAGE = 65536 };

static char *memory;
static size_t size;
static int failed;

void *tt_scratch(size_t bytes)
{
    if (!memory)
        memory = (char *)(__builtin_wasm_memory_size(0) * PAGE);
    if (bytes > size) {
        const size_t pages = (bytes - size + PAGE - 1) / PAGE;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) {
            failed = 1;
            return 0;
        }
        size += pages * PAGE;
    }
    return memory;
}

void *tt_zeroed_scratch(size_t bytes)
{
    void *block = tt_scratch(bytes);
    return block ? memset(block, 0, bytes) : 0;
}

void tt_fail(void)
{
    failed = 1;
}

int tt_failed(void)
{
    const int result = failed;
    failed = 0;
    return result;
}
