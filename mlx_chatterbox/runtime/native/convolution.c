/* Convolution without copies: all taps of a tile of frames by channels add up in registers.
 *
 * In two dimensions the input is lines of frames; a stride is along the lines alone.
 */

#include <stddef.h>
#include <stdlib.h>

#include "pool.h"
#include "vectors.h"

enum { WIDEST = 4 };           /* vectors of channels of a tile, at most */
enum { FRAMES_AT_ONCE = 384 }; /* a multiple of what a tile has */
enum { PACKED_AT_ONCE = 64 };  /* weights of each channel: their new places stay in the cache */

typedef struct Convolution Convolution;
typedef void Tile(const Convolution *job, const float *x, const float *w, const float *bias,
                  float *out, int width);
struct Convolution {
    int lines, frames, in, out; /* lines, frames: of the result; in, out: channels */
    int high, taps, dilation;   /* taps along lines and along frames, and the latter's distance */
    int stride, line;           /* stride along lines; frames of a line of the input */
    const float *x, *weight, *bias;
    float *result;
    Tile *tile, *single;
    int frames_of_tile, channels; /* of a tile */
    float *packed;                /* for each block of channels: taps, inputs, channels */
    size_t block_size;            /* of packed weights */
    int pieces;                   /* of a line */
};

/* weight (out, high, taps, in) */
static void pack(void *context, int block) {
    const Convolution *job = context;
    const int channels = job->channels, left = job->out - block * channels;
    const int width = left < channels ? left : channels;
    float *to = job->packed + block * job->block_size;
    const size_t row = (size_t)job->high * job->taps * job->in;
    const float *from = job->weight + (size_t)block * channels * row;
    for (size_t first = 0; first < row; first += PACKED_AT_ONCE) {
        const size_t end = first + PACKED_AT_ONCE < row ? first + PACKED_AT_ONCE : row;
        for (int c = 0; c < channels; c++)
            for (size_t i = first; i < end; i++)
                to[i * channels + c] = c < width ? from[c * row + i] : 0;
    }
}

/* A tile of results: frames by vectors of channels. */
#define TILE(ROWS, VECTORS)                                                                     \
    static void tile_##ROWS##_##VECTORS(const Convolution *job, const float *x, const float *w, \
                                        const float *bias, float *out, int width) {             \
        Lanes sum[ROWS][VECTORS];                                                               \
        for (int r = 0; r < ROWS; r++)                                                          \
            for (int v = 0; v < VECTORS; v++) sum[r][v] = *(const Lanes *)(bias + v * LANES);   \
        for (int tap = 0; tap < job->high * job->taps; tap++) {                                 \
            const size_t line = tap / job->taps, frame = tap % job->taps;                       \
            const float *from = x + (line * job->line + frame * job->dilation) * job->in;       \
            for (int i = 0; i < job->in; i++, w += VECTORS * LANES) {                           \
                Lanes weights[VECTORS];                                                         \
                for (int v = 0; v < VECTORS; v++) {                                             \
                    weights[v] = *(const Lanes *)(w + v * LANES);                               \
                    IN_REGISTER(weights[v]);                                                    \
                }                                                                               \
                for (int r = 0; r < ROWS; r++) {                                                \
                    const float input = from[(size_t)r * job->in + i];                          \
                    for (int v = 0; v < VECTORS; v++) sum[r][v] += weights[v] * input;          \
                }                                                                               \
            }                                                                                   \
        }                                                                                       \
        for (int r = 0; r < ROWS; r++) {                                                        \
            float *to = out + (size_t)r * job->out;                                             \
            for (int c = 0; c < width; c++) to[c] = ((const float *)sum[r])[c];                 \
        }                                                                                       \
    }
/* Where the channels are few, the tile is higher instead. */
#define BOTH(ROWS, VECTORS) TILE(ROWS, VECTORS) TILE(1, VECTORS)
#if MANY_REGISTERS
BOTH(6, 4)
BOTH(12, 2)
static const Convolution wide = {.tile = tile_6_4, .single = tile_1_4, .frames_of_tile = 6,
                                 .channels = 4 * LANES};
static const Convolution narrow = {.tile = tile_12_2, .single = tile_1_2, .frames_of_tile = 12,
                                   .channels = 2 * LANES};
#else
BOTH(4, 2)
BOTH(6, 1)
static const Convolution wide = {.tile = tile_4_2, .single = tile_1_2, .frames_of_tile = 4,
                                 .channels = 2 * LANES};
static const Convolution narrow = {.tile = tile_6_1, .single = tile_1_1, .frames_of_tile = 6,
                                   .channels = LANES};
#endif

static void piece(void *context, int i) {
    const Convolution *job = context;
    const int in_line = i / job->pieces % job->lines, block = i / job->pieces / job->lines;
    const int start = i % job->pieces * FRAMES_AT_ONCE;
    const int end = start + FRAMES_AT_ONCE < job->frames ? start + FRAMES_AT_ONCE : job->frames;
    const int first = block * job->channels, left = job->out - first;
    const int width = left < job->channels ? left : job->channels;
    const float *w = job->packed + block * job->block_size;
    const float *x = job->x + (size_t)in_line * job->stride * job->line * job->in;
    float *result = job->result + (size_t)in_line * job->frames * job->out + first;
    float bias[WIDEST * LANES];
    for (int c = 0; c < job->channels; c++)
        bias[c] = job->bias && c < width ? job->bias[first + c] : 0;
    int t = start;
    for (; t + job->frames_of_tile <= end; t += job->frames_of_tile)
        job->tile(job, x + (size_t)t * job->in, w, bias, result + (size_t)t * job->out, width);
    for (; t < end; t++)
        job->single(job, x + (size_t)t * job->in, w, bias, result + (size_t)t * job->out, width);
}

/* x (stride (lines - 1) + high, frames + dilation (taps - 1), in), weight (out, high, taps, in),
 * bias (out) or NULL, to result (lines, frames, out). Returns 0, or 1 without memory. */
EXPORTED int convolve(const float *x, const float *weight, const float *bias, float *result,
                      int lines, int frames, int in, int out, int high, int taps, int dilation,
                      int stride) {
    Convolution job = out <= narrow.channels ? narrow : wide;
    job.lines = lines;
    job.frames = frames;
    job.in = in;
    job.out = out;
    job.high = high;
    job.taps = taps;
    job.dilation = dilation;
    job.stride = stride;
    job.line = frames + dilation * (taps - 1);
    job.x = x;
    job.weight = weight;
    job.bias = bias;
    job.result = result;
    job.block_size = (size_t)high * taps * in * job.channels;
    job.pieces = (frames + FRAMES_AT_ONCE - 1) / FRAMES_AT_ONCE;
    const int blocks = (out + job.channels - 1) / job.channels;
    job.packed = floats(blocks * job.block_size);
    if (!job.packed) return 1;
    in_parallel(pack, &job, blocks);
    in_parallel(piece, &job, blocks * lines * job.pieces);
    free(job.packed);
    return 0;
}
