/* scratch.c: temporary memory for the kernels. Each thread has two blocks: one for its own use, and one
   for results that the threads of its job share.

   A block grows to the largest size requested so far and is kept, so a training step allocates
   nothing. It is freed when its thread ends. Without memory the kernel returns at once, and tt_failed
   reports it to the caller of the kernel. */
#include "machine.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32) /* Windows has the same functions under other names */
#include <malloc.h>
#define aligned_alloc(alignment, size) _aligned_malloc(size, alignment)
#define free _aligned_free
#endif

enum { LINE = 64 }; /* bytes in a cache line */

typedef struct {
    void *memory;
    size_t size;
} block;

static _Thread_local block own, shared;
static _Thread_local int failed;

static pthread_key_t key; /* a value under this key lets free_blocks run when the thread ends */

static void free_block(block *b)
{
    free(b->memory);
    *b = (block){0};
}

static void free_blocks(void *value)
{
    (void)value;
    free_block(&own);
    free_block(&shared);
}

__attribute__((constructor)) static void create_key(void)
{
    pthread_key_create(&key, free_blocks);
}

static void *at_least(block *b, size_t bytes)
{
    bytes = bytes ? bytes : 1;
    if (bytes > b->size) {
        free_block(b);
        const size_t size = (bytes + LINE - 1) / LINE * LINE;
        b->memory = aligned_alloc(LINE, size);
        b->size = b->memory ? size : 0;
        failed |= !b->memory;
        pthread_setspecific(key, &own);
    }
    return b->memory;
}

void *tt_scratch(size_t bytes)
{
    return at_least(&own, bytes);
}

void *tt_shared_scratch(size_t bytes)
{
    return at_least(&shared, bytes);
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
