/* Attention of one row of a batch, frames along the last axis, its scores never leaving the cache.
 *
 * For a tile of queries the scores of all keys are computed, each vector holding some of the
 * queries, so that the softmax's maxima and sums need nothing across a vector; then the weighted
 * values.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "pool.h"
#include "vectors.h"

/* A tile of results in registers: keys or channels by vectors of queries. */
#if MANY_REGISTERS
enum { HIGH = 8, WIDE = 3 };
#else
enum { HIGH = 4, WIDE = 2 };
#endif
enum { QUERIES = WIDE * LANES };

typedef struct {
    int heads, depth, frames; /* depth: channels of a head */
    int sources, parts[2];    /* keys, which lie in two parts, the second perhaps empty */
    int tiles;                /* of queries */
    float scale;
    const float *queries, *keys[2], *values[2];
    float *out;
    float *packed_keys, *packed_values;
    size_t keys_size, values_size; /* of a head */
    atomic_int failed;
} Attention;

static int whole(int count, int step) { return (count + step - 1) / step * step; }

/* sums[i][q] = sum over k of a[k][i] * b[k][q], i to HIGH and q to QUERIES. */
static inline void products(const float *a, const float *b, int count, Lanes sums[HIGH][WIDE]) {
    Lanes sum[HIGH][WIDE] = {{{0}}};
    for (int k = 0; k < count; k++) {
        Lanes row[WIDE];
        for (int v = 0; v < WIDE; v++) {
            row[v] = *(const Lanes *)(b + (size_t)k * QUERIES + v * LANES);
            IN_REGISTER(row[v]);
        }
        for (int i = 0; i < HIGH; i++)
            for (int v = 0; v < WIDE; v++) sum[i][v] += row[v] * a[(size_t)k * HIGH + i];
    }
    memcpy(sums, sum, sizeof sum);
}

/* Keys by HIGH side by side, channel after channel. */
static void pack_keys(const Attention *job, int head, float *to) {
    for (int first = 0; first < job->sources; first += HIGH) {
        const int part = first >= job->parts[0], start = part ? first - job->parts[0] : first;
        const int left = job->parts[part] - start, here = left < HIGH ? left : HIGH;
        const int count = job->sources - first < HIGH ? job->sources - first : HIGH;
        const float *from = job->keys[part] + (size_t)head * job->depth * job->parts[part] + start;
        /* The rest of a group that begins in the first part and ends in the second. */
        const float *rest = job->keys[1] + (size_t)head * job->depth * job->parts[1];
        for (int d = 0; d < job->depth; d++, to += HIGH) {
            const float *row = from + (size_t)d * job->parts[part];
            if (here == HIGH) {
                memcpy(to, row, HIGH * sizeof(float));
                continue;
            }
            for (int i = 0; i < HIGH; i++)
                to[i] = i < here    ? row[i]
                        : i < count ? rest[(size_t)d * job->parts[1] + i - here]
                                    : 0;
        }
    }
}

/* Values by HIGH channels, key after key. */
static void pack_values(const Attention *job, int head, float *to) {
    for (int first = 0; first < job->depth; first += HIGH)
        for (int part = 0; part < 2; part++) {
            const size_t count = job->parts[part];
            const float *from = job->values[part] + ((size_t)head * job->depth + first) * count;
            for (size_t k = 0; k < count; k++)
                for (int i = 0; i < HIGH; i++)
                    *to++ = first + i < job->depth ? from[i * count + k] : 0;
        }
}

static void pack(void *context, int head) {
    const Attention *job = context;
    pack_keys(job, head, job->packed_keys + head * job->keys_size);
    pack_values(job, head, job->packed_values + head * job->values_size);
}

static void attend_tile(void *context, int i) {
    Attention *job = context;
    const int head = i / job->tiles, first = i % job->tiles * QUERIES;
    const int width = job->frames - first < QUERIES ? job->frames - first : QUERIES;
    const size_t depth = job->depth, rows = whole(job->sources, HIGH);
    float *scratch = floats((depth + rows) * QUERIES);
    if (!scratch) {
        atomic_store(&job->failed, 1);
        return;
    }
    float *queries = scratch, *scores = scratch + depth * QUERIES;
    for (size_t d = 0; d < depth; d++) {
        const float *from = job->queries + (head * depth + d) * job->frames + first;
        for (int q = 0; q < QUERIES; q++)
            queries[d * QUERIES + q] = q < width ? from[q] * job->scale : 0;
    }

    Lanes sums[HIGH][WIDE], most[WIDE], total[WIDE] = {{0}};
    for (int v = 0; v < WIDE; v++) most[v] = (Lanes){0} - 3.0e38f;
    const float *keys = job->packed_keys + head * job->keys_size;
    for (int k = 0; k < job->sources; k += HIGH) {
        products(keys + (size_t)k * depth, queries, job->depth, sums);
        memcpy(scores + (size_t)k * QUERIES, sums, sizeof sums);
        for (int r = 0; r < HIGH && k + r < job->sources; r++)
            for (int v = 0; v < WIDE; v++) most[v] = larger(sums[r][v], most[v]);
    }
    for (int k = 0; k < job->sources; k++)
        for (int v = 0; v < WIDE; v++) {
            Lanes *score = (Lanes *)(scores + (size_t)k * QUERIES + v * LANES);
            *score = exponential(*score - most[v]);
            total[v] += *score;
        }

    const float *values = job->packed_values + head * job->values_size;
    for (int c = 0; c < job->depth; c += HIGH) {
        products(values + (size_t)c * job->sources, scores, job->sources, sums);
        for (int r = 0; r < HIGH && c + r < job->depth; r++) {
            Lanes row[WIDE];
            for (int v = 0; v < WIDE; v++) row[v] = sums[r][v] / total[v];
            float *out = job->out + (head * depth + c + r) * job->frames + first;
            memcpy(out, row, width * sizeof(float));
        }
    }
    free(scratch);
}

/* Queries (heads * depth, frames) over keys and values (heads * depth, sources) and, where `later`
 * is not 0, more after them (heads * depth, later), row after row, to out (heads * depth, frames).
 * Returns 0, or 1 without memory. */
EXPORTED int attend_columns(const float *queries, const float *keys, const float *values,
                            const float *later_keys, const float *later_values, float *out,
                            int heads, int depth, int frames, int sources, int later,
                            float scale) {
    Attention job = {.heads = heads, .depth = depth, .frames = frames,
                     .sources = sources + later, .parts = {sources, later},
                     .tiles = (frames + QUERIES - 1) / QUERIES, .scale = scale,
                     .queries = queries, .keys = {keys, later_keys},
                     .values = {values, later_values}, .out = out,
                     .keys_size = (size_t)whole(sources + later, HIGH) * depth,
                     .values_size = (size_t)whole(depth, HIGH) * (sources + later)};
    float *packed = floats(heads * (job.keys_size + job.values_size));
    if (!packed) return 1;
    job.packed_keys = packed;
    job.packed_values = packed + heads * job.keys_size;
    in_parallel(pack, &job, heads);
    in_parallel(attend_tile, &job, heads * job.tiles);
    free(packed);
    return atomic_load(&job.failed);
}
