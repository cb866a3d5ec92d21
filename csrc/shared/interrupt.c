#include "interrupt.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

int (*mf_poll)(void) = NULL;

static const double WORK_PER_CLOCK = 1 << 18;
static const int64_t NANOSECONDS_PER_POLL = 50 * 1000 * 1000;

static _Thread_local struct {
    double work;            /* since the clock was read */
    int64_t polled;         /* when Python was last asked, in ns */
    const atomic_int *stop; /* of the pool that this thread helps, or NULL */
    int stopped;
} here;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int mf_interrupted(double work) {
    here.work += work;
    if (here.work < WORK_PER_CLOCK || here.stopped) return here.stopped;
    here.work = 0;
    if (here.stop) {
        here.stopped = atomic_load_explicit(here.stop, memory_order_relaxed);
    } else if (mf_poll) {
        const int64_t time = now();
        if (time - here.polled >= NANOSECONDS_PER_POLL) {
            /* A handler may call the core in turn: nothing of `here` is held across this call. */
            const int raised = mf_poll() != 0;
            here.polled = now();
            here.stopped = raised;
        }
    }
    return here.stopped;
}

int mf_stopped(void) { return here.stopped; }

int mf_ended(void) {
    const int stopped = here.stopped;
    here.stopped = 0;
    return stopped;
}

void mf_follow(const atomic_int *stop) {
    here.stop = stop;
    here.stopped = 0;
}
