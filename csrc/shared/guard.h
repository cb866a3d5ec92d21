/* Read a mapped file that another process may truncate: the pages behind its new end raise SIGBUS, which ends a
 * process.
 *
 * A thread calls mf_guard() before it reads such memory, sigsetjmp(mf_jump, 0) in the function that reads, and
 * mf_unguard() afterwards. A SIGBUS of this thread at an address within the memory makes sigsetjmp return 1. The
 * functions in between do not return, so they must hold neither memory nor locks. Every other SIGBUS goes to the
 * handler that was installed before. The cost is one system call and one sigsetjmp for each thread and sweep. */
#ifndef MIXFAST_GUARD_H
#define MIXFAST_GUARD_H

#include <setjmp.h>
#include <stddef.h>

/* Memory that a task reads and that may be truncated; `bytes` is 0 if it cannot be. */
typedef struct {
    const void *data;
    size_t bytes;
} mf_span;

extern _Thread_local sigjmp_buf mf_jump;

/* Let the next SIGBUS of this thread within the memory jump to mf_jump. */
void mf_guard(mf_span memory);
void mf_unguard(void);

#endif
