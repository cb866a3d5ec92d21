#include "guard.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>

_Thread_local sigjmp_buf mf_jump;

static _Thread_local struct {
    uintptr_t first, last;
} here; /* the guarded memory; empty outside a sweep */

/* The previous handler; never our own. */
static struct sigaction before;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    const uintptr_t at = (uintptr_t)info->si_addr;
    if (at >= here.first && at < here.last) {
        here.first = here.last = 0;
        siglongjmp(mf_jump, 1);
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    } else if (before.sa_handler == SIG_DFL || info->si_code > 0) {
        /* After return, a failed access is tried again and ends the process; a signal that was sent is raised again. */
        signal(number, SIG_DFL);
        if (info->si_code <= 0) raise(number);
    }
}

void mf_guard(mf_span memory) {
    if (!memory.bytes) return;
    struct sigaction ours, old;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_bus_error;
    /* Not blocked while it runs, because it does not return; on the alternate stack if this thread has one. */
    ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    /* In every sweep, because another handler may have been set since, such as Python's faulthandler. */
    if (!sigaction(SIGBUS, &ours, &old) && !(old.sa_flags & SA_SIGINFO && old.sa_sigaction == on_bus_error))
        before = old;
    here.first = (uintptr_t)memory.data;
    here.last = here.first + memory.bytes;
}

void mf_unguard(void) { here.first = here.last = 0; }
