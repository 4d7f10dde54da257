/* simd.c: the widest compiled instruction set that this CPU supports, the one in use, whether convolutions
   may be computed by Winograd's algorithm, and the compiler's name. */
#include "machine.h"

const char *tt_simd(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "avx2";
#endif
    return "baseline";
}

static int in_use; /* the baseline, until Python chooses */

void tt_use_simd(int number)
{
    __atomic_store_n(&in_use, number, __ATOMIC_RELAXED);
}

int tt_simd_in_use(void)
{
    return __atomic_load_n(&in_use, __ATOMIC_RELAXED);
}

static int winograd_in_use = 1;

void tt_use_winograd(int may_use)
{
    __atomic_store_n(&winograd_in_use, may_use, __ATOMIC_RELAXED);
}

int tt_may_use_winograd(void)
{
    return __atomic_load_n(&winograd_in_use, __ATOMIC_RELAXED);
}

const char *tt_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}
