/* threads.c: a few threads that wait for rows to work on.

   A job is a function and a number of rows, in as many shares as there are threads. Each thread has a
   share of its own, the same rows in every job of that shape: what it wrote in one step is still in
   its core's cache in the next. Who is done with that takes what nobody has begun: a worker that the
   system has not let run yet is not waited for. Whoever waits spins briefly (the next job usually
   comes at once), then yields the core, and a worker at last sleeps: a busy machine must not stand
   still for us.

   Who computes a share changes nothing in the numbers: every row is computed the same way. */
#include "machine.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    MOST_THREADS = 64, /* bits of open_shares */
    SPINS = 2000,
    YIELDS = 2000,   /* about a millisecond: a step's short calls, between two jobs, are over by then */
    LIGHT = 1 << 16, /* numbers: so few are done before another thread is awake */
};

static atomic_int wanted = 1; /* threads a job may use, the caller's included */
static int started = 0;       /* workers that exist */

static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER; /* held by the caller whose job runs */
static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER; /* guards `wake` */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_int sleepers;

static struct {
    tt_rows_function function;
    const void *arguments;
    int64_t rows, grain;
    int shares;
} job;

/* The shares that nobody has taken yet, one bit each. To take one is to exchange this for a set without
   it. By then it may be another job's; if the same shares are open there, it is one of those that was
   taken. Who has taken one may read `job`, which holds still until the share is reported finished. */
static _Atomic uint64_t open_shares;
static atomic_int unfinished; /* shares */

static void relax(int turn)
{
    if (turn >= SPINS)
        sched_yield();
#if defined(__x86_64__)
    else
        __builtin_ia32_pause();
#endif
}

/* Do share `share` of the job: grains are dealt out evenly. */
static void do_share(int share)
{
    const int64_t grains = (job.rows + job.grain - 1) / job.grain;
    const int64_t begin = grains * share / job.shares * job.grain;
    const int64_t end = grains * (share + 1) / job.shares * job.grain;
    if (begin < job.rows)
        job.function(job.arguments, begin, end < job.rows ? end : job.rows);
}

/* Take shares until none is left, one's own before the others'. */
static void work(int rank)
{
    uint64_t open = atomic_load(&open_shares);
    while (open) {
        const uint64_t own = open & (uint64_t)1 << rank;
        const uint64_t taken = own ? own : open & -open;
        if (atomic_compare_exchange_weak(&open_shares, &open, open & ~taken)) {
            do_share(__builtin_ctzll(taken));
            atomic_fetch_sub(&unfinished, 1);
            open = atomic_load(&open_shares);
        }
    }
}

static int no_share_left(void)
{
    return atomic_load(&open_shares) == 0;
}

/* Fewer threads may be wanted than were started: the last of them sleep. */
static int too_many(int rank)
{
    return rank >= atomic_load(&wanted);
}

static void wait_for_shares(int rank)
{
    for (int turn = 0; turn < SPINS + YIELDS && !too_many(rank); turn++) {
        if (!no_share_left())
            return;
        relax(turn);
    }
    pthread_mutex_lock(&asleep);
    atomic_fetch_add(&sleepers, 1);
    if (no_share_left() || too_many(rank)) /* once: who wakes after a short job spins for the next */
        pthread_cond_wait(&wake, &asleep);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&asleep);
}

static void *worker(void *rank)
{
    for (;;) {
        wait_for_shares((intptr_t)rank);
        if (!too_many((intptr_t)rank))
            work((int)(intptr_t)rank);
    }
    return 0;
}

/* Start what is missing; where the system gives no more threads, fewer do the work. */
static void start_workers(int count)
{
    while (started < count) {
        pthread_t thread;
        if (pthread_create(&thread, 0, worker, (void *)(intptr_t)(started + 1)))
            return;
        pthread_detach(thread);
        started++;
    }
}

/* A forked child has none of its parent's workers, and the locks as they happened to be. */
static void forget_workers(void)
{
    started = 0;
    atomic_store(&open_shares, 0);
    atomic_store(&sleepers, 0);
    pthread_mutex_init(&in_use, 0);
    pthread_mutex_init(&asleep, 0);
    pthread_cond_init(&wake, 0);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(0, 0, forget_workers);
}

void tt_parallel_rows(tt_rows_function function, const void *arguments, int64_t rows, int64_t grain)
{
    const int threads = atomic_load(&wanted);
    /* If another thread's job runs, this one works alone rather than waiting for help. */
    if (threads == 1 || rows <= grain || pthread_mutex_trylock(&in_use)) {
        function(arguments, 0, rows);
        return;
    }
    start_workers(threads - 1);
    job.function = function;
    job.arguments = arguments;
    job.rows = rows;
    job.grain = grain;
    job.shares = threads;
    atomic_store(&unfinished, threads);
    atomic_store(&open_shares, ~(uint64_t)0 >> (MOST_THREADS - threads));
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&asleep);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&asleep);
    }
    work(0);
    for (int turn = 0; atomic_load(&unfinished) > 0; turn += turn < SPINS)
        relax(turn);
    pthread_mutex_unlock(&in_use);
}

void tt_parallel_numbers(tt_rows_function function, const void *arguments, int64_t rows, int64_t columns)
{
    if (rows * columns < LIGHT)
        function(arguments, 0, rows);
    else
        tt_parallel_rows(function, arguments, rows, 1);
}

void tt_set_threads(int threads)
{
    atomic_store(&wanted, threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads);
}

int tt_get_threads(void)
{
    return atomic_load(&wanted);
}
