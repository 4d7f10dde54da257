/* scratch.c: memory that a kernel needs while it runs, one piece for each thread.

   It grows to the largest size asked for and is kept, so that a training step allocates nothing. It
   goes with its thread. */
#include "machine.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes in a cache line */

static _Thread_local void *memory;
static _Thread_local size_t size;

static pthread_key_t owner; /* a thread that has something under this key lets go of it as it ends */

static void let_go(void *owned)
{
    free(owned);
    memory = 0;
    size = 0;
}

__attribute__((constructor)) static void watch_threads(void)
{
    pthread_key_create(&owner, let_go);
}

void *tt_scratch(size_t bytes)
{
    if (bytes > size) {
        free(memory);
        size = (bytes + LINE - 1) / LINE * LINE;
        memory = aligned_alloc(LINE, size);
        if (!memory) {
            fprintf(stderr, "tinytensor: no memory for %zu bytes\n", size);
            abort();
        }
        pthread_setspecific(owner, memory);
    }
    return bytes ? memset(memory, 0, bytes) : memory; /* C knows no memset of nowhere, not even by 0 */
}
