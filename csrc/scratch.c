/* scratch.c: memory that a kernel needs while it runs, one piece for each thread.

   It grows to the largest size asked for and is kept, so that a training step allocates nothing. */
#include "machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes in a cache line */

static _Thread_local void *memory;
static _Thread_local size_t size;

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
    }
    return bytes ? memset(memory, 0, bytes) : memory; /* C knows no memset of nowhere, not even by 0 */
}
