/* machine.h: what is compiled once, whatever the precision and the instruction set.
   The first part is also read by cffi. */
#ifndef TT_MACHINE_H
#define TT_MACHINE_H
#include <stddef.h>
#include <stdint.h>

/* The widest instruction set that this build and this CPU both know: "avx512", "avx2", "baseline". */
const char *tt_simd(void);
/* The compiler's name and version. */
const char *tt_compiler(void);
/* How many threads a kernel may use, the calling one included (1 to 64). */
void tt_set_threads(int threads);
int tt_get_threads(void);

/* Not for cffi: */

/* The work on rows [begin, end). */
typedef void (*tt_rows_function)(const void *arguments, int64_t begin, int64_t end);
/* Split rows over the threads, in multiples of `grain` rows, and return when all are done. */
void tt_parallel_rows(tt_rows_function function, const void *arguments, int64_t rows, int64_t grain);

/* The same for work that is light on each number of rows x columns: below some, one thread does it. */
void tt_parallel_numbers(tt_rows_function function, const void *arguments, int64_t rows, int64_t columns);

/* Memory of this thread, zeroed, for the length of one kernel: the next call gives the same again. */
void *tt_scratch(size_t bytes);

/* Take a function's text into its caller, so that a function given as an argument is known there
   and the loop round it can be vectorised. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Keep the compiler from making vectors of a function's loops, so that a rung of the ladder shows its
   own idea alone. gcc only: clang can be told so for a loop, not for a function. */
#if defined(__clang__)
#define SCALAR
#else
#define SCALAR __attribute__((optimize("no-tree-vectorize")))
#endif

/* Unroll a loop whose length is known, so that its array lives in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
