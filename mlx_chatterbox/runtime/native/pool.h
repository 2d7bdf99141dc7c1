/* Helper threads. */

#ifndef POOL_H
#define POOL_H

/* What other libraries may find; all else is hidden, so that two copies of this in one process, as in
 * the tests, have nothing to do with each other. */
#define EXPORTED __attribute__((visibility("default")))

/* Calls work(context, i) for every i from 0 to count - 1, on as many threads as the BLAS is to use
 * at the moment; returns when all are done. On this thread alone while the helpers are busy for
 * another one. */
void in_parallel(void (*work)(void *context, int i), void *context, int count);

/* How many threads that are at most. */
int thread_limit(void);

extern int (*blas_threads)(void);

#endif
