/* The complex spectrum of the magnitudes and phases that the vocoder predicts. */

#include <string.h>

#include "functions.h"
#include "pool.h"
#include "vectors.h"

typedef struct {
    const float *predicted;
    float *real, *imag;
    int bins;
    float highest, loudest;
} Spectrum;

static void frame(void *context, int t) {
    const Spectrum *job = context;
    const float *predicted = job->predicted + (size_t)t * 2 * job->bins;
    const Lanes zero = {0}, per_turn = zero + 0.159154943f;
    for (int i = 0; i < job->bins; i += LANES) {
        const int width = job->bins - i < LANES ? job->bins - i : LANES;
        Lanes magnitude = {0}, phase = {0}, cosine, sine;
        memcpy(&magnitude, predicted + i, width * sizeof(float));
        memcpy(&phase, predicted + job->bins + i, width * sizeof(float));
        /* The smaller of two is the negative of the larger negative. */
        magnitude = exponential(-larger(-magnitude, zero - job->highest));
        magnitude = -larger(-magnitude, zero - job->loudest);
        rotation(phase * per_turn, &cosine, &sine);
        rotation(sine * per_turn, &cosine, &sine);
        const Lanes real = magnitude * cosine, imag = magnitude * sine;
        memcpy(job->real + (size_t)t * job->bins + i, &real, width * sizeof(float));
        memcpy(job->imag + (size_t)t * job->bins + i, &imag, width * sizeof(float));
    }
}

/* predicted (frames, 2 bins), logarithms of magnitudes and then x of the phases sin(x), to result
 * (2, frames, bins), real and imaginary parts. Logarithms above `highest`, and magnitudes above
 * `loudest`, are those. Returns 0. */
EXPORTED int spectrum(const float *predicted, float *result, int frames, int bins, float highest,
                      float loudest) {
    Spectrum job = {.predicted = predicted, .real = result, .imag = result + (size_t)frames * bins,
                    .bins = bins, .highest = highest, .loudest = loudest};
    in_parallel(frame, &job, frames);
    return 0;
}
