/* Conformer layers without convolutions, over (frames, channels), for one row: attention by content
 * and by distance, and a feed-forward, each after its norm.
 */

#include <string.h>

#include "few_rows.h"
#include "functions.h"
#include "pool.h"
#include "products.h"
#include "vectors.h"

enum { QUERIES = 64 }; /* at a time, whose scores stay in the cache */

/* Weights (out, in); u and v (heads, depth). */
typedef struct {
    const float *norm1, *norm1_bias, *query, *query_bias, *key, *key_bias, *value, *value_bias;
    const float *distance, *u, *v, *out, *out_bias;
    const float *norm2, *norm2_bias, *wide, *wide_bias, *narrow, *narrow_bias;
} Layer;

typedef struct {
    int frames, width, heads, depth, inner;
    float eps;
    const float *positions; /* (2 frames - 1, width) */
    float *normed, *queries, *keys, *values, *distances, *attended, *wide;
    float *moved, *scores, *by_distance; /* of some queries of a head */
} Job;

/* A head's queries from the first on, each plus one of the two biases. */
static void move(const Job *job, const float *bias, int head, int first, int rows) {
    const int depth = job->depth;
    for (int t = 0; t < rows; t++) {
        const float *from = job->queries + (size_t)(first + t) * job->width + head * depth;
        float *to = job->moved + (size_t)t * depth;
        for (int i = 0; i < depth; i++) to[i] = from[i] + bias[head * depth + i];
    }
}

/* Scores of a query to weights that add up to one. */
static void weigh(float *scores, const float *by_distance, int count, float scale) {
    const int whole = count - count % LANES;
    Lanes mosts = (Lanes){0} - 3.0e38f;
    for (int k = 0; k < whole; k += LANES) {
        Lanes *some = (Lanes *)(scores + k);
        *some = scale * (*some + *(const Lanes *)(by_distance + k));
        mosts = larger(*some, mosts);
    }
    float most = -3.0e38f, sum = 0;
    for (int i = 0; i < LANES; i++) most = mosts[i] > most ? mosts[i] : most;
    for (int k = whole; k < count; k++) {
        scores[k] = scale * (scores[k] + by_distance[k]);
        most = scores[k] > most ? scores[k] : most;
    }
    Lanes sums = {0};
    for (int k = 0; k < whole; k += LANES) {
        Lanes *some = (Lanes *)(scores + k);
        *some = exponential(*some - most);
        sums += *some;
    }
    sum = total(sums);
    for (int k = whole; k < count; k++) {
        scores[k] = exponential((Lanes){0} + (scores[k] - most))[0];
        sum += scores[k];
    }
    const float factor = 1 / sum;
    for (int k = 0; k < count; k++) scores[k] *= factor;
}

/* Some queries of a head, from the first on. Query t finds key k at distance frames - 1 - t + k: of
 * all distances, these queries need only some. */
static void attend(const Job *job, const Layer *layer, int head, int first, int rows) {
    const int frames = job->frames, depth = job->depth, width = job->width;
    const int columns = frames + rows - 1, side = head * depth;
    const float *distances = job->distances + (size_t)(frames - first - rows) * width + side;
    move(job, layer->v, head, first, rows);
    cblas_sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, columns, depth, 1, job->moved, depth, distances,
                width, 0, job->by_distance, columns);
    move(job, layer->u, head, first, rows);
    cblas_sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, frames, depth, 1, job->moved, depth,
                job->keys + side, width, 0, job->scores, frames);
    for (int t = 0; t < rows; t++)
        weigh(job->scores + (size_t)t * frames,
              job->by_distance + (size_t)t * columns + rows - 1 - t, frames,
              1.0f / __builtin_sqrtf(depth));
    cblas_sgemm(ROW_MAJOR, PLAIN, PLAIN, rows, depth, frames, 1, job->scores, frames,
                job->values + side, width, 0, job->attended + (size_t)first * width + side, width);
}

/* x (frames, width) in place. */
static void run(Job *job, const Layer *layer, float *x) {
    const int frames = job->frames, width = job->width;
    normalise_rows(x, job->normed, frames, width, layer->norm1, layer->norm1_bias, job->eps);
    project(job->normed, layer->query, layer->query_bias, job->queries, frames, width, width);
    project(job->normed, layer->key, layer->key_bias, job->keys, frames, width, width);
    project(job->normed, layer->value, layer->value_bias, job->values, frames, width, width);
    project(job->positions, layer->distance, NULL, job->distances, 2 * frames - 1, width, width);
    for (int head = 0; head < job->heads; head++)
        for (int t = 0; t < frames; t += QUERIES)
            attend(job, layer, head, t, frames - t < QUERIES ? frames - t : QUERIES);
    add_bias(x, layer->out_bias, frames, width);
    add_product(job->attended, layer->out, x, frames, width, width);

    normalise_rows(x, job->normed, frames, width, layer->norm2, layer->norm2_bias, job->eps);
    project(job->normed, layer->wide, layer->wide_bias, job->wide, frames, job->inner, width);
    apply(silu, job->wide, (size_t)frames * job->inner);
    add_bias(x, layer->narrow_bias, frames, width);
    add_product(job->wide, layer->narrow, x, frames, width, job->inner);
}

/* x (frames, heads * depth), and sinusoids of distances frames - 1 down to 1 - frames, through all
 * layers to result (frames, heads * depth). Returns 0, or 1 without memory. */
EXPORTED int conform(const float *x, const float *positions, float *result, const Layer *layers,
                     int layer_count, int frames, int heads, int depth, int inner, float eps) {
    const size_t n = frames, width = (size_t)heads * depth;
    Job job = {.frames = frames, .width = width, .heads = heads, .depth = depth, .inner = inner,
               .eps = eps, .positions = positions};
    float **const places[] = {&job.normed, &job.queries, &job.keys, &job.values, &job.distances,
                              &job.attended, &job.wide, &job.moved, &job.scores,
                              &job.by_distance};
    const size_t sizes[] = {n * width, n * width, n * width, n * width, 2 * n * width,
                            n * width, n * inner, QUERIES * depth, QUERIES * n,
                            QUERIES * (n + QUERIES)};
    float *scratch = carve(places, sizes, sizeof sizes / sizeof *sizes);
    if (!scratch) return 1;
    memcpy(result, x, n * width * sizeof(float));
    for (int i = 0; i < layer_count; i++) run(&job, layers + i, result);
    free(scratch);
    return 0;
}
