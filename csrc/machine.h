/* machine.h: functions that are compiled once, not for each precision and instruction set.
   cffi reads the first part too. */
#ifndef TT_MACHINE_H
#define TT_MACHINE_H
#include <stddef.h>
#include <stdint.h>

/* The widest instruction set of this build that the CPU supports: "avx512", "avx2" or "baseline". */
const char *tt_simd(void);
/* The number of the instruction set that kernels use: 0 for "baseline", 1 for "avx2", 2 for "avx512". */
void tt_use_simd(int number);
int tt_simd_in_use(void);
/* 1 if convolutions may be computed by Winograd's algorithm, as at the start; 0 for plain sums. */
void tt_use_winograd(int may_use);
int tt_may_use_winograd(void);
/* The compiler's name and version. */
const char *tt_compiler(void);
/* The number of threads that a kernel may use, including the calling thread (1 to 64). */
void tt_set_threads(int threads);
int tt_get_threads(void);

/* 1 if a kernel of this thread has returned early since the last call, because there was no memory. */
int tt_failed(void);

/* Not for cffi: */

/* Sets the most threads of the jobs that this thread starts; returns the number before. */
int tt_limit_threads(int threads);

/* Computes the rows [begin, end). */
typedef void (*tt_rows_function)(const void *arguments, int64_t begin, int64_t end);
/* Divides the rows among the threads, in multiples of `grain` rows; returns when all are computed. */
void tt_parallel_rows(tt_rows_function function, const void *arguments, int64_t rows, int64_t grain);

/* The same for elementwise work on rows x columns: one thread computes small arrays alone. */
void tt_parallel_elements(tt_rows_function function, const void *arguments, int64_t rows, int64_t columns);

/* Returns memory of this thread for one kernel, at least one byte. The next call returns the same
   memory. Returns 0 without memory: the kernel returns then, and tt_failed returns 1. */
void *tt_scratch(size_t bytes);
void *tt_zeroed_scratch(size_t bytes); /* the same; all bytes are 0 */
void *tt_shared_scratch(size_t bytes); /* other memory, for results of several threads of a job */
void tt_fail(void); /* lets tt_failed return 1 in this thread */

/* Inlines a function into its caller. A function passed as an argument is then a constant, so the
   loop around it can be vectorised. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Prevents the compiler from vectorising a function's loops, so that a rung of the ladder shows only
   its own idea. gcc only, because clang has this setting for loops but not for functions. */
#if defined(__clang__)
#define SCALAR
#else
#define SCALAR __attribute__((optimize("no-tree-vectorize")))
#endif

/* Unrolls a loop of constant length, so that its array is kept in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
