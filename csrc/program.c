/* program.c: runs a list of kernel calls `steps` times. */
#include "machine.h"
#include "program.h"
#include <string.h>

static void copy_all(int64_t step, int64_t count, const tt_copy *copies)
{
    for (int64_t i = 0; i < count; i++) {
        const char *from = (const char *)copies[i].from + step * copies[i].from_step;
        memcpy((char *)copies[i].to + step * copies[i].to_step, from, copies[i].bytes);
    }
}

static int run_steps(int64_t steps, int64_t moving, const tt_pointer *pointers, int64_t befores, const tt_copy *before, int64_t count, const tt_call *calls, int64_t afters, const tt_copy *after)
{
    for (int64_t step = 0; step < steps; step++) {
        for (int64_t i = 0; i < moving; i++)
            pointers[i].argument->p = (char *)pointers[i].first_row + step * pointers[i].row_bytes;
        copy_all(step, befores, before);
        for (int64_t i = 0; i < count; i++) {
            calls[i].run(calls[i].values);
            if (tt_failed())
                return 1;
        }
        copy_all(step, afters, after);
    }
    return 0;
}

int tt_run(int threads, int64_t steps, int64_t moving, const tt_pointer *pointers, int64_t befores, const tt_copy *before, int64_t count, const tt_call *calls, int64_t afters, const tt_copy *after)
{
    const int limit = tt_limit_threads(threads);
    const int failed = run_steps(steps, moving, pointers, befores, before, count, calls, afters, after);
    tt_limit_threads(limit);
    return failed;
}
