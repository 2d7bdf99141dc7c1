/* Depthwise convolution of stride 1: each channel by a kernel of its own. */

#include <stddef.h>

#include "pool.h"
#include "vectors.h"

/* A tile of frames by vectors of channels adds up in registers. */
enum { HIGH = 4, WIDE = 2, CHANNELS = WIDE * LANES };

typedef struct {
    int frames, channels, taps;
    const float *x, *weight;
    float *result;
} Depthwise;

static void alone(const Depthwise *job, int frame, int channel) {
    const size_t channels = job->channels;
    float sum = 0;
    for (int tap = 0; tap < job->taps; tap++)
        sum += job->x[(frame + tap) * channels + channel] * job->weight[tap * channels + channel];
    job->result[frame * channels + channel] = sum;
}

static void tile(const Depthwise *job, int frame, int channel) {
    const size_t channels = job->channels;
    Lanes sum[HIGH][WIDE] = {{{0}}};
    for (int tap = 0; tap < job->taps; tap++)
        for (int v = 0; v < WIDE; v++) {
            const size_t at = channel + v * LANES;
            const Lanes weight = *(const Lanes *)(job->weight + tap * channels + at);
            for (int r = 0; r < HIGH; r++)
                sum[r][v] += *(const Lanes *)(job->x + (frame + r + tap) * channels + at) * weight;
        }
    for (int r = 0; r < HIGH; r++)
        for (int v = 0; v < WIDE; v++)
            *(Lanes *)(job->result + (frame + r) * channels + channel + v * LANES) = sum[r][v];
}

static void piece(void *context, int i) {
    const Depthwise *job = context;
    const int first = i * CHANNELS;
    const int end = first + CHANNELS < job->channels ? first + CHANNELS : job->channels;
    int frame = 0;
    if (end - first == CHANNELS)
        for (; frame + HIGH <= job->frames; frame += HIGH) tile(job, frame, first);
    for (; frame < job->frames; frame++)
        for (int channel = first; channel < end; channel++) alone(job, frame, channel);
}

/* x (frames + taps - 1, channels), weight (taps, channels), to result (frames, channels). */
EXPORTED int convolve_depthwise(const float *x, const float *weight, float *result, int frames,
                                int channels, int taps) {
    Depthwise job = {frames, channels, taps, x, weight, result};
    in_parallel(piece, &job, (channels + CHANNELS - 1) / CHANNELS);
    return 0;
}
