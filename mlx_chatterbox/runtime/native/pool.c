#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>

enum { MOST_HELPERS = 63, SPINS = 400 };

#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() (void)0
#endif

int (*blas_threads)(void);

typedef struct {
    void (*work)(void *, int);
    void *context;
    int count;
    atomic_int next;
} Job;

/* `owner` is held by the one caller that the helpers work for. */
static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int helpers, sleeping, registered;
static Job *current; /* under `lock` */
static atomic_int working;
static atomic_uint posted;

/* Any thread that has a core takes the next piece, so that a suspended one does not delay others. */
static void run(Job *job) {
    for (int i; (i = atomic_fetch_add(&job->next, 1)) < job->count;) job->work(job->context, i);
}

static void *help(void *unused) {
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&posted) == seen; i++) RELAX();
        pthread_mutex_lock(&lock);
        sleeping++;
        while (atomic_load(&posted) == seen) pthread_cond_wait(&wake, &lock);
        sleeping--;
        seen = atomic_load(&posted);
        Job *job = current;
        if (job) atomic_fetch_add(&working, 1);
        pthread_mutex_unlock(&lock);
        if (job) {
            run(job);
            atomic_fetch_sub(&working, 1);
        }
    }
    return unused;
}

/* A forked process has no helpers, and no thread is left to release a mutex. */
static void in_child(void) {
    pthread_mutex_init(&owner, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    helpers = sleeping = 0;
    current = NULL;
    atomic_store(&working, 0);
}

static void start_helpers(int wanted) {
    if (!registered) registered = !pthread_atfork(NULL, NULL, in_child);
    for (; helpers < wanted; helpers++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, NULL)) return;
        pthread_detach(thread);
    }
}

int thread_limit(void) {
    const int threads = blas_threads();
    return threads < 1 ? 1 : threads > MOST_HELPERS + 1 ? MOST_HELPERS + 1 : threads;
}

void in_parallel(void (*work)(void *, int), void *context, int count) {
    Job job = {.work = work, .context = context, .count = count};
    const int threads = thread_limit();
    if (threads == 1 || count < 2 || pthread_mutex_trylock(&owner)) {
        run(&job);
        return;
    }
    start_helpers(threads - 1);
    pthread_mutex_lock(&lock);
    current = &job;
    atomic_fetch_add(&posted, 1);
    if (sleeping) pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    run(&job);
    pthread_mutex_lock(&lock);
    current = NULL;
    pthread_mutex_unlock(&lock);
    while (atomic_load(&working)) sched_yield();
    pthread_mutex_unlock(&owner);
}
