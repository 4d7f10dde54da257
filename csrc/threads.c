/* threads.c: a few threads that wait for rows to work on.

   A job is a function and a number of rows. The caller takes the first share, each worker one of
   the others. Whoever waits spins briefly (the next job usually comes at once), then yields the
   core, and a worker at last sleeps: a busy machine must not stand still for us.

   Which rows a thread gets changes nothing in the numbers: every row is computed the same way. */
#include "machine.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    MOST_THREADS = 64,
    SPINS = 2000,
    YIELDS = 200,
    LIGHT = 1 << 16, /* numbers: so few are done before another thread is awake */
};

static atomic_int wanted = 1; /* threads a job may use, the caller's included */
static int started = 0;       /* workers that exist */

static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER; /* held by the caller whose job runs */
static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER; /* guards `wake` */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static struct {
    tt_rows_function function;
    const void *arguments;
    int64_t rows, grain;
    int shares;
} job;
static atomic_uint job_number;  /* goes up with each job */
static atomic_int working;      /* workers that have not yet finished it */

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

static void wait_for_job(unsigned seen)
{
    for (int turn = 0; turn < SPINS + YIELDS; turn++) {
        if (atomic_load(&job_number) != seen)
            return;
        relax(turn);
    }
    pthread_mutex_lock(&asleep);
    while (atomic_load(&job_number) == seen)
        pthread_cond_wait(&wake, &asleep);
    pthread_mutex_unlock(&asleep);
}

typedef struct {
    int share;
    unsigned seen; /* the newest job that is not for it */
} worker_start;
static worker_start starts[MOST_THREADS];

static void *worker(void *start)
{
    const int share = ((worker_start *)start)->share;
    unsigned seen = ((worker_start *)start)->seen;
    for (;;) {
        wait_for_job(seen);
        seen++;
        /* No new job starts before every worker has passed here, so `job` holds still. */
        if (share < job.shares)
            do_share(share);
        atomic_fetch_sub(&working, 1);
    }
    return 0;
}

/* Start what is missing; where the system gives no more threads, fewer do the work. */
static void start_workers(int count)
{
    while (started < count) {
        pthread_t thread;
        starts[started] = (worker_start){.share = started + 1, .seen = atomic_load(&job_number)};
        if (pthread_create(&thread, 0, worker, &starts[started]))
            return;
        pthread_detach(thread);
        started++;
    }
}

/* A forked child has none of its parent's workers, and the locks as they happened to be. */
static void forget_workers(void)
{
    started = 0;
    atomic_store(&working, 0);
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
    job.shares = started + 1 < threads ? started + 1 : threads;
    atomic_store(&working, started);
    pthread_mutex_lock(&asleep);
    atomic_fetch_add(&job_number, 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&asleep);
    do_share(0);
    for (int turn = 0; atomic_load(&working) > 0; turn += turn < SPINS)
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
