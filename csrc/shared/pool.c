#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "simd.h"

enum { MOST_THREADS = 64 };

typedef struct {
    mf_chunk_function *run;
    const void *task;
    size_t bytes;
    ptrdiff_t last;
    _Atomic ptrdiff_t next;
} pool;

/* Flush subnormal floats to zero while the kernels run: next to a row's largest probability they are negligible, and
 * x86 arithmetic on them can be a hundred times slower. Arm has no such penalty. Returns the mode to restore. */
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

static void *work(void *argument) {
    pool *p = argument;
    void *memory = malloc(p->bytes);
    if (!memory) return NULL;
    const unsigned mode = flush_subnormals();
    for (;;) {
        ptrdiff_t chunk = atomic_fetch_add(&p->next, 1);
        if (chunk >= p->last) break;
        p->run(p->task, chunk, memory);
    }
    restore(mode);
    free(memory);
    return NULL;
}

int mf_pool_run(mf_chunk_function *run, const void *task, ptrdiff_t first, ptrdiff_t last, size_t bytes, int threads) {
    pool p = {run, task, bytes, last, first};
    pthread_t helper[MOST_THREADS];
    int started = 0;
    if (threads > last - first) threads = (int)(last - first);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    while (started < threads - 1 && !pthread_create(&helper[started], NULL, work, &p)) started++;
    work(&p);
    for (int i = 0; i < started; i++) pthread_join(helper[i], NULL);
    /* A thread without memory leaves its chunks to the others; chunks are left over only when all threads failed. */
    return atomic_load(&p.next) < last ? -1 : 0;
}
