/* probe.h: loops that measure the limits of this machine (probe.c). */
#ifndef TT_PROBE_H
#define TT_PROBE_H
#include <stdint.h>
#ifndef real
#define real float
#endif

/* operations (1): the number of additions and multiplications of all threads together; out (threads) */
void tt_probe_fma(real *out, int64_t *operations, int64_t steps, int64_t threads);
/* `rounds` times: read x; out = x; out = x + y. x, y, out (n), where n is a multiple of 1024 */
void tt_probe_read(const real *x, real *out, int64_t n, int64_t rounds);
void tt_probe_copy(const real *x, real *out, int64_t n, int64_t rounds);
void tt_probe_add(const real *x, const real *y, real *out, int64_t n, int64_t rounds);

#endif
