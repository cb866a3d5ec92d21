#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "interrupt.h"
#include "simd.h"

enum { MOST_THREADS = 64 };

/* How long the calling thread waits for the others before it checks for a signal. */
enum { WAIT_NANOSECONDS = 20 * 1000 * 1000 };
static const double A_WAIT = 1 << 24; /* that wait as `work` */

typedef struct {
    mf_chunk_function *run;
    const void *task;
    size_t bytes;
    mf_span reads;
    ptrdiff_t last;
    _Atomic ptrdiff_t next;
    atomic_int stop, lost;
    pthread_mutex_t lock; /* of `running` */
    pthread_cond_t left;
    int running; /* helpers that have not left yet */
} pool;

/* Flush subnormal floats to zero while the kernels run. They are negligible compared with the largest probability of a
 * row, and x86 arithmetic on them can be a hundred times slower. Arm has no such penalty. Returns the mode to restore.
 */
static unsigned flush_subnormals(void) {
#if MF_X86
    unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040);
    return mode;
#else
    return 0;
#endif
}

static void restore(unsigned mode) {
#if MF_X86
    __builtin_ia32_ldmxcsr(mode);
#else
    (void)mode;
#endif
}

/* Take chunks until none is left, the call must end, or the memory that they read is truncated. */
static void work(pool *p) {
    void *memory = malloc(p->bytes);
    if (!memory) return;
    const unsigned mode = flush_subnormals();
    mf_guard(p->reads);
    if (!sigsetjmp(mf_jump, 0)) {
        while (!mf_stopped() && !atomic_load(&p->lost)) {
            const ptrdiff_t chunk = atomic_fetch_add(&p->next, 1);
            if (chunk >= p->last) break;
            p->run(p->task, chunk, memory);
        }
    } else {
        atomic_store(&p->lost, 1);
    }
    mf_unguard();
    restore(mode);
    free(memory);
}

static void *help(void *argument) {
    pool *p = argument;
    mf_follow(&p->stop);
    work(p);
    pthread_mutex_lock(&p->lock);
    p->running--;
    pthread_cond_signal(&p->left);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Wait for the helpers, and stop them if this call must end. Python's handlers run without the lock. */
static void wait_for(pool *p) {
    pthread_mutex_lock(&p->lock);
    while (p->running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += WAIT_NANOSECONDS;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&p->left, &p->lock, &until);
        if (!p->running) break;
        pthread_mutex_unlock(&p->lock);
        if (mf_interrupted(A_WAIT)) atomic_store(&p->stop, 1);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

/* Work on this thread and on up to `others` helpers. */
static void work_together(pool *p, int others) {
    pthread_t helper[MOST_THREADS];
    int started = 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->left, NULL);
    /* The helpers are counted before they start, because one may leave before the next has started. */
    p->running = others;
    while (started < others && !pthread_create(&helper[started], NULL, help, p)) started++;
    if (started < others) {
        pthread_mutex_lock(&p->lock);
        p->running -= others - started;
        pthread_mutex_unlock(&p->lock);
    }
    work(p);
    if (mf_stopped()) atomic_store(&p->stop, 1);
    wait_for(p);
    for (int i = 0; i < started; i++) pthread_join(helper[i], NULL);
    pthread_cond_destroy(&p->left);
    pthread_mutex_destroy(&p->lock);
}

int mf_pool_run(mf_chunk_function *run, const void *task, mf_span reads, ptrdiff_t first, ptrdiff_t last, size_t bytes,
                int threads) {
    pool p = {.run = run, .task = task, .bytes = bytes, .reads = reads, .last = last, .next = first};
    if (threads > last - first) threads = (int)(last - first);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > 1)
        work_together(&p, threads - 1);
    else
        work(&p);
    /* A thread without memory leaves its chunks to the others; chunks are left over only when all threads failed. */
    if (atomic_load(&p.lost)) return MF_LOST;
    return atomic_load(&p.next) < last ? -1 : 0;
}
