/* scratch.c: temporary memory for the kernels, one block for each thread.

   A block grows to the largest size requested so far and is kept, so a training step allocates
   nothing. It is freed when its thread ends. */
#include "machine.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes in a cache line */

static _Thread_local void *memory;
static _Thread_local size_t size;

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
    if (bytes > size) {
        free(memory);
        size = (bytes + LINE - 1) / LINE * LINE;
        memory = aligned_alloc(LINE, size);
        if (!memory) {
            fprintf(stderr, "tinytensor: can't allocate %zu bytes of temporary memory\n", size);
            abort();
        }
        pthread_setspecific(key, memory);
    }
    return bytes ? memset(memory, 0, bytes) : memory; /* memset(NULL, 0, 0) is undefined in C */
}
