/* probe.c: loops that measure the limits of this machine: peak arithmetic and memory bandwidth.

   tinytensor/machine.py chooses the number of repetitions and measures the time. */
#include "machine.h"
#include "probe.h"
#include "tile.h"
#include <string.h>

/* Arithmetic. A fused multiply-add takes about four cycles, but a CPU can start two in each cycle. So
   twelve independent sums are kept in registers. The loop reads nothing from memory. */

enum { SUMS = 12 };

typedef struct {
    int64_t steps;
    real *out;
} fma_arguments;

static void fma_threads(const void *arguments, int64_t begin, int64_t end)
{
    const fma_arguments a = *(const fma_arguments *)arguments;
    for (int64_t thread = begin; thread < end; thread++) {
        vector sum[SUMS] = {0};
        UNROLL
        for (int i = 0; i < SUMS; i++)
            sum[i] += (real)i; /* different, so that the compiler can't merge the sums */
        for (int64_t step = 0; step < a.steps; step++) {
            UNROLL
            for (int i = 0; i < SUMS; i++)
                sum[i] = sum[i] * (real)0.5 + (real)0.5;
        }
        vector total = {0};
        UNROLL
        for (int i = 0; i < SUMS; i++)
            total += sum[i];
        a.out[thread] = total[0];
    }
}

void tt_probe_fma(real *out, int64_t *operations, int64_t steps, int64_t threads)
{
    const fma_arguments a = {.steps = steps, .out = out};
    tt_parallel_rows(fma_threads, &a, threads, 1);
    *operations = 2 * SUMS * VECTOR * steps * threads;
}

/* Memory. Each thread reads and writes its own part of the arrays `rounds` times. */

enum {
    AT_ONCE = 8,  /* vectors in a loop iteration */
    GROUP = 1024, /* elements: the unit in which arrays are divided among threads */
};

typedef struct {
    const real *x, *y;
    real *out;
    int64_t rounds;
} memory_arguments;

/* Forces the compiler to read memory again in the next round. */
#define FORGET __asm__ volatile("" ::: "memory")

static void read_groups(const void *arguments, int64_t begin, int64_t end)
{
    const memory_arguments a = *(const memory_arguments *)arguments;
    vector sum[AT_ONCE] = {0};
    for (int64_t round = 0; round < a.rounds; round++) {
        for (int64_t i = begin * GROUP; i < end * GROUP; i += AT_ONCE * VECTOR) {
            UNROLL
            for (int v = 0; v < AT_ONCE; v++) {
                vector x;
                memcpy(&x, a.x + i + v * VECTOR, sizeof x);
                sum[v] += x;
            }
        }
        FORGET;
    }
    UNROLL
    for (int v = 1; v < AT_ONCE; v++)
        sum[0] += sum[v];
    if (begin < end)
        a.out[begin * GROUP] = sum[0][0];
}

static void copy_groups(const void *arguments, int64_t begin, int64_t end)
{
    const memory_arguments a = *(const memory_arguments *)arguments;
    for (int64_t round = 0; round < a.rounds; round++) {
        for (int64_t i = begin * GROUP; i < end * GROUP; i++)
            a.out[i] = a.x[i];
        FORGET;
    }
}

static void add_groups(const void *arguments, int64_t begin, int64_t end)
{
    const memory_arguments a = *(const memory_arguments *)arguments;
    for (int64_t round = 0; round < a.rounds; round++) {
        for (int64_t i = begin * GROUP; i < end * GROUP; i++)
            a.out[i] = a.x[i] + a.y[i];
        FORGET;
    }
}

void tt_probe_read(const real *x, real *out, int64_t n, int64_t rounds)
{
    const memory_arguments a = {.x = x, .out = out, .rounds = rounds};
    tt_parallel_rows(read_groups, &a, n / GROUP, 1);
}

void tt_probe_copy(const real *x, real *out, int64_t n, int64_t rounds)
{
    const memory_arguments a = {.x = x, .out = out, .rounds = rounds};
    tt_parallel_rows(copy_groups, &a, n / GROUP, 1);
}

void tt_probe_add(const real *x, const real *y, real *out, int64_t n, int64_t rounds)
{
    const memory_arguments a = {.x = x, .y = y, .out = out, .rounds = rounds};
    tt_parallel_rows(add_groups, &a, n / GROUP, 1);
}
