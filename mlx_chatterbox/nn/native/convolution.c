/* One-dimensional convolution of stride 1 without copies: all taps of a tile of frames by channels
 * add up in registers.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "pool.h"
#include "vectors.h"

/* A tile of results: so many frames by so many vectors of channels. */
#if MANY_REGISTERS
enum { HIGH = 6, WIDE = 4 };
#else
enum { HIGH = 4, WIDE = 2 };
#endif
enum { CHANNELS = WIDE * LANES, FRAMES_AT_ONCE = 64 * HIGH };

typedef struct {
    int frames, in, out, taps, dilation; /* frames: of the result; in, out: channels */
    const float *x, *weight, *bias;
    float *result;
    float *packed;     /* for each block of channels: taps, inputs, channels */
    size_t block_size; /* of packed weights */
    int pieces;        /* of the frames */
} Convolution;

/* weight (out, taps, in) */
static void pack(void *context, int block) {
    const Convolution *job = context;
    float *to = job->packed + block * job->block_size;
    const size_t row = (size_t)job->taps * job->in;
    const float *from = job->weight + (size_t)block * CHANNELS * row;
    const int width = job->out - block * CHANNELS < CHANNELS ? job->out - block * CHANNELS : CHANNELS;
    for (int c = 0; c < CHANNELS; c++)
        for (size_t i = 0; i < row; i++) to[i * CHANNELS + c] = c < width ? from[c * row + i] : 0;
}

#define TILE(ROWS)                                                                              \
    static void tile_##ROWS(const Convolution *job, const float *x, const float *w,             \
                            const float *bias, float *out, int width) {                         \
        Lanes sum[ROWS][WIDE];                                                                  \
        for (int r = 0; r < ROWS; r++)                                                          \
            for (int v = 0; v < WIDE; v++) sum[r][v] = *(const Lanes *)(bias + v * LANES);      \
        for (int tap = 0; tap < job->taps; tap++) {                                             \
            const float *from = x + (size_t)tap * job->dilation * job->in;                      \
            for (int i = 0; i < job->in; i++, w += CHANNELS) {                                  \
                Lanes weights[WIDE];                                                            \
                for (int v = 0; v < WIDE; v++) {                                                \
                    weights[v] = *(const Lanes *)(w + v * LANES);                               \
                    IN_REGISTER(weights[v]);                                                    \
                }                                                                               \
                for (int r = 0; r < ROWS; r++) {                                                \
                    const float input = from[(size_t)r * job->in + i];                          \
                    for (int v = 0; v < WIDE; v++) sum[r][v] += weights[v] * input;             \
                }                                                                               \
            }                                                                                   \
        }                                                                                       \
        for (int r = 0; r < ROWS; r++) {                                                        \
            float *to = out + (size_t)r * job->out;                                             \
            for (int c = 0; c < width; c++) to[c] = ((const float *)sum[r])[c];                 \
        }                                                                                       \
    }
TILE(HIGH)
TILE(1)

static void piece(void *context, int i) {
    const Convolution *job = context;
    const int block = i / job->pieces, start = i % job->pieces * FRAMES_AT_ONCE;
    const int end = start + FRAMES_AT_ONCE < job->frames ? start + FRAMES_AT_ONCE : job->frames;
    const int first = block * CHANNELS;
    const int width = job->out - first < CHANNELS ? job->out - first : CHANNELS;
    const float *w = job->packed + block * job->block_size;
    float bias[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) bias[c] = job->bias && c < width ? job->bias[first + c] : 0;
    int t = start;
    for (; t + HIGH <= end; t += HIGH)
        tile_HIGH(job, job->x + (size_t)t * job->in, w, bias,
                  job->result + (size_t)t * job->out + first, width);
    for (; t < end; t++)
        tile_1(job, job->x + (size_t)t * job->in, w, bias,
               job->result + (size_t)t * job->out + first, width);
}

/* x (frames + dilation (taps - 1), in), weight (out, taps, in), bias (out) or NULL, to
 * result (frames, out). Returns 0, or 1 without memory. */
EXPORTED int convolve(const float *x, const float *weight, const float *bias, float *result,
                      int frames, int in, int out, int taps, int dilation) {
    Convolution job = {.frames = frames, .in = in, .out = out, .taps = taps,
                       .dilation = dilation, .x = x, .weight = weight, .bias = bias,
                       .result = result, .block_size = (size_t)taps * in * CHANNELS,
                       .pieces = (frames + FRAMES_AT_ONCE - 1) / FRAMES_AT_ONCE};
    const int blocks = (out + CHANNELS - 1) / CHANNELS;
    job.packed = malloc(blocks * job.block_size * sizeof(float));
    if (!job.packed) return 1;
    in_parallel(pack, &job, blocks);
    in_parallel(piece, &job, blocks * job.pieces);
    free(job.packed);
    return 0;
}
