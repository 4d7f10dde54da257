/* scratch.c: temporary memory for the kernels, one block for each thread.

   A block grows to the largest size requested so far and is kept, so a training step allocates
   nothing. It is freed when its thread ends. Without memory the kernel returns at once, and tt_failed
   reports it to the caller of the kernel. */
#include "machine.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes in a cache line */

static _Thread_local void *memory;
static _Thread_local size_t size;
static _Thread_local int failed;

static pthread_key_t key; /* the value under this key is freed when the thread ends */

static void free_block(void *block)
{
    free(block);
    memory = 0;
    size = 0;
}

__attribute__((constructor)) static void create_key(void)
{
    pthread_key_create(&key, free_block);
}

void *tt_scratch(size_t bytes)
{
    bytes = bytes ? bytes : 1;
    if (bytes > size) {
        free(memory);
        size = (bytes + LINE - 1) / LINE * LINE;
        memory = aligned_alloc(LINE, size);
        pthread_setspecific(key, memory);
    }
    if (!memory) {
        size = 0;
        failed = 1;
        return 0;
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
