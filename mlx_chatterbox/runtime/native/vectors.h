/* Vectors of floats, as wide as the processor's registers. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <stdlib.h>

#if defined(__AVX512F__)
#define LANES 16
#define MANY_REGISTERS 1
#elif defined(__AVX__)
#define LANES 8
#define MANY_REGISTERS 0
#elif defined(__aarch64__)
#define LANES 4
#define MANY_REGISTERS 1
#else
#define LANES 4
#define MANY_REGISTERS 0
#endif

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Keeps the compiler from reading a vector again from memory for every use of it. */
#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x) (void)0
#endif

/* Memory for vectors, none of which lies across two lines of the cache, or NULL; for `free`. A load
 * across two takes twice as long, and a vector of 16 floats always does where MLX's arrays begin. */
enum { LINE = 64 };
static inline float *floats(size_t count) {
    return aligned_alloc(LINE, (count * sizeof(float) + LINE - 1) / LINE * LINE);
}

static inline float total(Lanes v) {
    typedef float Four __attribute__((vector_size(16)));
    union { Lanes v; Four fours[LANES / 4]; } parts = {v};
    Four sum = parts.fours[0];
    for (int i = 1; i < LANES / 4; i++) sum += parts.fours[i];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

#endif
