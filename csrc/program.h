/* program.h: a list of kernel calls that C makes one after the other, without returning to Python.
   cffi reads the first part too. */
#ifndef TT_PROGRAM_H
#define TT_PROGRAM_H
#include <stdint.h>

/* An argument of a kernel: an array (p), a size or flag (i), or a floating-point number (d). */
typedef union {
    void *p;
    int64_t i;
    double d;
} tt_value;
/* Calls one kernel with these arguments. build.py writes a runner for each kernel. */
typedef void (*tt_runner)(const tt_value *values);
typedef struct {
    tt_runner run;
    const tt_value *values;
} tt_call;
/* A copy of `bytes` bytes in each step. After a step, `from` and `to` move on by from_step and to_step
   bytes. */
typedef struct {
    const void *from;
    void *to;
    int64_t bytes, from_step, to_step;
} tt_copy;

/* An argument that points to a row of a table. After a step it moves on by row_bytes to the next row. */
typedef struct {
    tt_value *argument;
    const void *first_row;
    int64_t row_bytes;
} tt_pointer;

/* The runner of a kernel with a name such as tt_add_float32; 0 if there is no such kernel. */
tt_runner tt_runner_of(const char *kernel);
/* Makes n steps with up to `threads` threads. Each step sets the pointers and makes the copies `before`,
   then the calls, then the copies `after`. Returns 0, or 1 after a call that had no memory. */
int tt_run(int threads, int64_t steps, int64_t moving, const tt_pointer *pointers, int64_t befores, const tt_copy *before, int64_t count, const tt_call *calls, int64_t afters, const tt_copy *after);

/* Not for cffi: */

typedef struct {
    const char *kernel;
    tt_runner run;
} tt_named_runner;

#endif
