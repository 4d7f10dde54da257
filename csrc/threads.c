/* threads.c: a pool of threads that divide the rows of a job.

   A job is a function and a number of rows. It is divided into one share for each thread. Share t
   belongs to thread t and has the same rows in every job of this size, so what a thread wrote in one
   training step is still in its core's cache in the next. A thread that finishes its share steals a
   share that has not started, so a worker that was never scheduled delays nobody else.

   A waiting thread first spins, because the next job usually comes at once. Then it yields the core,
   and at last a worker sleeps, because other programs may need the core. A job of n threads wakes only
   the workers 1 to n - 1, so workers that it does not use cost nothing.

   The results do not depend on which thread computes a share, because each row is computed in the same
   way. */
#include "machine.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    MAX_THREADS = 64, /* bits of open_shares */
    SPINS = 2000,
    YIELDS = 2000,   /* about 1 ms: longer than the short calls between two jobs of a step */
    LIGHT = 1 << 14, /* elements: one thread computes fewer before another one has started */
    HEAVY = 1 << 16, /* elements: one thread computes fewer before another one has woken up */
};

static atomic_int num_threads = 1;            /* the most threads of a job, including the calling thread */
static _Thread_local int limit = MAX_THREADS; /* of the jobs that this thread starts */
static atomic_int in_use = 1;                 /* threads of the latest job */
static int num_workers = 0;                   /* started threads */

static pthread_mutex_t job_lock = PTHREAD_MUTEX_INITIALIZER;   /* held by the caller while its job runs */
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER; /* guards `wake` */
static pthread_cond_t wake[MAX_THREADS];                        /* of each worker */
static _Atomic uint64_t sleepers;                               /* the sleeping workers, one bit each */

static struct {
    tt_rows_function function;
    const void *arguments;
    int64_t rows, grain;
    int shares;
    atomic_int failed; /* 1 if a share had no memory */
} job;

/* The shares that have not started, one bit each. A thread takes a share by a compare-and-exchange that
   clears its bit. In the meantime a new job may have set the same bits; then the thread has taken a
   share of the new job, which is correct too. A thread that has taken a share may read `job`, because
   `job` does not change before all shares are finished. */
static _Atomic uint64_t open_shares;
static atomic_int unfinished; /* the number of shares that are not finished */

static uint64_t bit(int rank)
{
    return (uint64_t)1 << rank;
}

/* One bit for each of the first `threads` threads. */
static uint64_t bits(int threads)
{
    return ~(uint64_t)0 >> (MAX_THREADS - threads);
}

static void relax(int turn)
{
    if (turn >= SPINS)
        sched_yield();
#if defined(__x86_64__)
    else
        __builtin_ia32_pause();
#endif
}

/* Computes the grains [grains * share / shares, grains * (share + 1) / shares). */
static void run_share(int share)
{
    const int64_t grains = (job.rows + job.grain - 1) / job.grain;
    const int64_t begin = grains * share / job.shares * job.grain;
    const int64_t end = grains * (share + 1) / job.shares * job.grain;
    if (begin < job.rows)
        job.function(job.arguments, begin, end < job.rows ? end : job.rows);
    if (tt_failed())
        atomic_store(&job.failed, 1);
}

/* Takes shares until all have been taken: first the thread's own share, then those of other threads. */
static void work(int rank)
{
    uint64_t open = atomic_load(&open_shares);
    while (open) {
        const uint64_t own = open & bit(rank);
        const uint64_t taken = own ? own : open & -open;
        if (atomic_compare_exchange_weak(&open_shares, &open, open & ~taken)) {
            run_share(__builtin_ctzll(taken));
            atomic_fetch_sub(&unfinished, 1);
            open = atomic_load(&open_shares);
        }
    }
}

static int no_share_left(void)
{
    return atomic_load(&open_shares) == 0;
}

/* True if the latest job uses fewer threads, so that this worker must sleep. */
static int is_unused(int rank)
{
    return rank >= atomic_load(&in_use);
}

static void wait_for_shares(int rank)
{
    for (int turn = 0; turn < SPINS + YIELDS && !is_unused(rank); turn++) {
        if (!no_share_left())
            return;
        relax(turn);
    }
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_or(&sleepers, bit(rank));
    if (no_share_left() || is_unused(rank)) /* `if`, not `while`: after a short job a worker spins again */
        pthread_cond_wait(&wake[rank], &sleep_lock);
    atomic_fetch_and(&sleepers, ~bit(rank));
    pthread_mutex_unlock(&sleep_lock);
}

static void *worker(void *rank)
{
    for (;;) {
        wait_for_shares((intptr_t)rank);
        if (!is_unused((intptr_t)rank))
            work((int)(intptr_t)rank);
    }
    return 0;
}

/* Starts workers until there are `count`. If the system can't start one, fewer threads do the work. */
static void start_workers(int count)
{
    while (num_workers < count) {
        pthread_t thread;
        if (pthread_create(&thread, 0, worker, (void *)(intptr_t)(num_workers + 1)))
            return;
        pthread_detach(thread);
        num_workers++;
    }
}

static void init_conditions(void)
{
    for (int rank = 0; rank < MAX_THREADS; rank++)
        pthread_cond_init(&wake[rank], 0);
}

/* A forked child process has no workers, and its locks may be locked. */
static __attribute__((unused)) void reset_after_fork(void) /* Windows has no fork */
{
    num_workers = 0;
    atomic_store(&open_shares, 0);
    atomic_store(&sleepers, 0);
    pthread_mutex_init(&job_lock, 0);
    pthread_mutex_init(&sleep_lock, 0);
    init_conditions();
}

__attribute__((constructor)) static void init(void)
{
    init_conditions();
    pthread_atfork(0, 0, reset_after_fork);
}

static void wake_up(uint64_t workers)
{
    pthread_mutex_lock(&sleep_lock);
    for (uint64_t asleep = atomic_load(&sleepers) & workers; asleep; asleep &= asleep - 1)
        pthread_cond_signal(&wake[__builtin_ctzll(asleep)]);
    pthread_mutex_unlock(&sleep_lock);
}

/* The number of threads of a job that this thread starts. */
static int threads_of_job(void)
{
    const int most = atomic_load(&num_threads);
    return limit < most ? limit : most;
}

void tt_parallel_rows(tt_rows_function function, const void *arguments, int64_t rows, int64_t grain)
{
    const int threads = threads_of_job();
    /* While the job of another caller runs, this thread computes its job alone instead of waiting. */
    if (threads == 1 || rows <= grain || pthread_mutex_trylock(&job_lock)) {
        function(arguments, 0, rows);
        return;
    }
    start_workers(threads - 1);
    job.function = function;
    job.arguments = arguments;
    job.rows = rows;
    job.grain = grain;
    job.shares = threads;
    atomic_store(&in_use, threads);
    atomic_store(&unfinished, threads);
    atomic_store(&open_shares, bits(threads));
    if (atomic_load(&sleepers) & bits(threads))
        wake_up(bits(threads));
    work(0);
    for (int turn = 0; atomic_load(&unfinished) > 0; turn += turn < SPINS)
        relax(turn);
    if (atomic_exchange(&job.failed, 0))
        tt_fail();
    pthread_mutex_unlock(&job_lock);
}

void tt_parallel_elements(tt_rows_function function, const void *arguments, int64_t rows, int64_t columns)
{
    const int64_t elements = rows * columns;
    const int are_awake = !(atomic_load(&sleepers) & bits(threads_of_job()));
    if (elements < LIGHT || (elements < HEAVY && !are_awake))
        function(arguments, 0, rows);
    else
        tt_parallel_rows(function, arguments, rows, 1);
}

void tt_set_threads(int threads)
{
    atomic_store(&num_threads, threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads);
}

int tt_limit_threads(int threads)
{
    const int before = limit;
    limit = threads;
    return before;
}

int tt_get_threads(void)
{
    return atomic_load(&num_threads);
}
