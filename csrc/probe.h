/* probe.h: what probe.c offers: loops that measure what this machine can do at most. */
#ifndef TT_PROBE_H
#define TT_PROBE_H
#include <stdint.h>
#ifndef real
#define real float
#endif

/* operations (1): how many additions and multiplications the threads did together; out (threads) */
void tt_probe_fma(real *out, int64_t *operations, int64_t steps, int64_t threads);
/* `rounds` times: read x, or copy it, or add y to it; all n, a multiple of 1024; out (n) */
void tt_probe_read(const real *x, real *out, int64_t n, int64_t rounds);
void tt_probe_copy(const real *x, real *out, int64_t n, int64_t rounds);
void tt_probe_add(const real *x, const real *y, real *out, int64_t n, int64_t rounds);

#endif
