/* A sum of harmonics of one phase, without an array for each of them. */

#include <string.h>

#include "functions.h"
#include "pool.h"
#include "vectors.h"

enum { SAMPLES_AT_ONCE = 4096 };

typedef struct {
    const float *turns, *reals, *imags;
    float *result;
    int samples, harmonics;
} Harmonics;

static void piece(void *context, int i) {
    const Harmonics *job = context;
    const int start = i * SAMPLES_AT_ONCE, after = start + SAMPLES_AT_ONCE;
    const int end = after < job->samples ? after : job->samples;
    for (int t = start; t < end; t += LANES) {
        const int width = end - t < LANES ? end - t : LANES;
        Lanes turn = {0}, cosine, sine;
        memcpy(&turn, job->turns + t, width * sizeof(float));
        rotation(turn, &cosine, &sine);
        /* Horner's scheme, from the highest harmonic down. */
        Lanes real = {0}, imag = {0};
        for (int h = job->harmonics - 1; h >= 0; h--) {
            const Lanes turned = real * cosine - imag * sine + job->reals[h];
            imag = real * sine + imag * cosine + job->imags[h];
            real = turned;
        }
        const Lanes sum = real * sine + imag * cosine;
        memcpy(job->result + t, &sum, width * sizeof(float));
    }
}

/* The imaginary part of the sum over h of (reals[h] + i imags[h]) z^(h + 1), z = exp(2 pi i turns),
 * for each of turns (samples). Returns 0. */
EXPORTED int add_harmonics(const float *turns, const float *reals, const float *imags,
                           float *result, int samples, int harmonics) {
    Harmonics job = {.turns = turns, .reals = reals, .imags = imags, .result = result,
                     .samples = samples, .harmonics = harmonics};
    in_parallel(piece, &job, (samples + SAMPLES_AT_ONCE - 1) / SAMPLES_AT_ONCE);
    return 0;
}
