/* The matrix product, fifth rung: threads.

   Each processor core can compute another part of out at the same time. The rows of out do not
   depend on each other, so each thread computes its own rows.

   `rows` computes the rows from first to end. pthread_create starts a thread with a function and
   one argument, a pointer. pthread_join waits for its end. THREADS threads are enough here. Two
   threads must never write to the same element.

       x     M x K floats
       y     K x N floats
       out   M x N floats */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 4 };

typedef struct {
    const float *x, *y;
    float *out;
    int64_t first, end, K, N;
} share; /* the rows of one thread */

static void *rows(void *argument)
{
    const share *s = argument;
    for (int64_t m = s->first; m < s->end; m++) {
        float *out = s->out + m * s->N;
        for (int64_t n = 0; n < s->N; n++)
            out[n] = 0;
        for (int64_t k = 0; k < s->K; k++)
            for (int64_t n = 0; n < s->N; n++)
                out[n] += s->x[m * s->K + k] * s->y[k * s->N + n];
    }
    return NULL;
}

void matmul(const float *x, const float *y, float *out, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    pthread_t threads[THREADS];
    share shares[THREADS];
    int started[THREADS];
    for (int i = 0; i < THREADS; i++) {
        shares[i] = (share){x, y, out, M * i / THREADS, M * (i + 1) / THREADS, K, N};
        started[i] = pthread_create(&threads[i], NULL, rows, &shares[i]) == 0;
        if (!started[i]) /* without another thread, this one computes the rows */
            rows(&shares[i]);
    }
    for (int i = 0; i < THREADS; i++)
        if (started[i])
            pthread_join(threads[i], NULL);
    /* end of solution */
}

#ifdef TRY /* cc -O2 -DTRY matmul_threaded.c -pthread && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6};
    float out[2];
    matmul(x, y, out, 2, 2, 1);
    printf("expected 17 39, got %g %g\n", out[0], out[1]);
}
#endif
