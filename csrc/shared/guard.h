/* Reading a mapped file that may be cut short: the pages behind its new end raise SIGBUS, which ends a process.
 *
 * A thread that reads such memory says so with mf_guard(), calls sigsetjmp(mf_jump, 0) in the function that does the
 * reading, and mf_unguard() afterwards. A SIGBUS of this thread, at an address within the memory, then comes back to
 * sigsetjmp with the value 1; functions in between are left as they are, so they must hold neither memory nor locks.
 * Every other SIGBUS goes to the handler that was there before. The cost is one system call and one sigsetjmp per
 * thread and sweep. */
#ifndef MIXFAST_GUARD_H
#define MIXFAST_GUARD_H

#include <setjmp.h>
#include <stddef.h>

/* Memory that a task reads and that may be lost; `bytes` is 0 where it cannot be. */
typedef struct {
    const void *data;
    size_t bytes;
} mf_span;

extern _Thread_local sigjmp_buf mf_jump;

/* From here on, a SIGBUS of this thread within the memory jumps to mf_jump, once. */
void mf_guard(mf_span memory);
void mf_unguard(void);

#endif
