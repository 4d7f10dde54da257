/* program.h: a list of kernel calls, made one after the other without coming back to Python.
   The first part is also read by cffi. */
#ifndef TT_PROGRAM_H
#define TT_PROGRAM_H
#include <stdint.h>

/* An argument of a kernel: an array, a size or flag, or a number. */
typedef union {
    void *p;
    int64_t i;
    double d;
} tt_value;
/* Calls one kernel of one variant with these arguments; build.py writes one for each. */
typedef void (*tt_runner)(const tt_value *values);
typedef struct {
    tt_runner run;
    const tt_value *values;
} tt_call;
/* At every step `bytes` bytes are copied; from one step to the next both places move on. */
typedef struct {
    const void *from;
    void *to;
    int64_t bytes, from_step, to_step;
} tt_copy;

/* The runner of a kernel, named as tt_add_float32_avx2; 0 if there is none. */
tt_runner tt_runner_of(const char *kernel);
/* At each of the steps: the copies before, then the calls, then the copies after. */
void tt_run(int64_t steps, int64_t befores, const tt_copy *before, int64_t count, const tt_call *calls, int64_t afters, const tt_copy *after);

/* Not for cffi: */

typedef struct {
    const char *kernel;
    tt_runner run;
} tt_named_runner;

#endif
