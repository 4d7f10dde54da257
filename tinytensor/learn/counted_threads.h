/* Measures the threads that an answer in C starts. `cc -include` reads this file before the answer.

   pthread_create becomes counted_create. When a thread ends, its CPU seconds are added to a list.
   counted_threads returns the list and empties it. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { COUNTED_MOST = 1024 };

static double counted_seconds[COUNTED_MOST];
static int64_t counted_number;

typedef struct {
    void *(*function)(void *);
    void *argument;
} counted_start;

static void counted_end(void *unused)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    int64_t i = __atomic_fetch_add(&counted_number, 1, __ATOMIC_RELAXED);
    if (i < COUNTED_MOST)
        counted_seconds[i] = (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
    (void)unused;
}

static void *counted_run(void *argument)
{
    counted_start start = *(counted_start *)argument;
    void *result;
    free(argument);
    pthread_cleanup_push(counted_end, NULL); /* also after pthread_exit */
    result = start.function(start.argument);
    pthread_cleanup_pop(1);
    return result;
}

static inline int counted_create(
    pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
    counted_start *start = malloc(sizeof *start);
    *start = (counted_start){function, argument};
    int error = pthread_create(thread, attributes, counted_run, start);
    if (error)
        free(start);
    return error;
}

int64_t counted_threads(double *seconds)
{
    int64_t number = counted_number < COUNTED_MOST ? counted_number : COUNTED_MOST;
    for (int64_t i = 0; i < number; i++)
        seconds[i] = counted_seconds[i];
    counted_number = 0;
    return number;
}

#define pthread_create counted_create
