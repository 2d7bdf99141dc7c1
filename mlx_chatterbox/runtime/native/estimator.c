/* One evaluation of the flow's estimator for one row: a causal U-Net over (frames, channels).
 *
 * Its convolutions, attention and products are those that its layers use one by one; what lies
 * between them is done here while it is in the cache.
 */

#include <string.h>

#include "few_rows.h"
#include "functions.h"
#include "pool.h"
#include "products.h"
#include "vectors.h"

enum { TAPS = 3, BEFORE = TAPS - 1 };
#define EPS 1e-5f

/* convolution.c, attention.c */
int convolve(const float *x, const float *weight, const float *bias, float *result, int lines,
             int frames, int in, int out, int high, int taps, int dilation, int stride);
int attend_columns(const float *queries, const float *keys, const float *values,
                   const float *later_keys, const float *later_values, float *out, int heads,
                   int depth, int frames, int sources, int later, float scale);

/* Weights (out, in), of convolutions (out, 3, in); each with its bias after it. */
typedef struct {
    const float *time, *time_bias, *conv1, *conv1_bias, *norm1, *norm1_bias;
    const float *conv2, *conv2_bias, *norm2, *norm2_bias, *residual, *residual_bias;
} Resnet;
typedef struct {
    const float *norm1, *norm1_bias, *query, *key, *value, *out, *out_bias;
    const float *norm2, *norm2_bias, *wide, *wide_bias, *narrow, *narrow_bias;
} Transformer;
typedef struct {
    const float *down, *down_bias, *up, *up_bias;
    const float *last, *last_bias, *last_norm, *last_norm_bias, *out, *out_bias;
} Ends;

typedef struct {
    int frames, width, heads, depth, inner, time_width;
    const float *time; /* (time_width), after Mish */
    float *added, *normed, *hidden, *queries, *keys, *values, *attended, *wide;
    int failed;
} Job;

/* Norm over channels, Mish, and `added` (columns) or NULL, in place. */
static void norm_and_mish(float *x, const float *scale, const float *bias, const float *added,
                          int rows, int columns) {
    const int whole = columns - columns % LANES;
    for (int row = 0; row < rows; row++, x += columns) {
        normalise_row(x, x, columns, scale, bias, EPS);
        for (int i = 0; i < columns; i += LANES) {
            const int width = i < whole ? LANES : columns - whole;
            Lanes value = {0}, more = {0};
            memcpy(&value, x + i, width * sizeof(float));
            if (added) memcpy(&more, added + i, width * sizeof(float));
            value = mish(value) + more;
            memcpy(x + i, &value, width * sizeof(float));
        }
    }
}

/* x and out begin with BEFORE frames of zeros, which out must have already. */
static void causal(Job *job, const float *x, const float *weight, const float *bias, float *out,
                   int in) {
    const int width = job->width;
    job->failed |= convolve(x, weight, bias, out + BEFORE * width, 1, job->frames, in, width, 1,
                            TAPS, 1, 1);
}

static void run_resnet(Job *job, const Resnet *net, const float *x, float *out, int in) {
    const int frames = job->frames, width = job->width;
    float *rows = out + BEFORE * width, *hidden = job->hidden + BEFORE * width;
    project(job->time, net->time, net->time_bias, job->added, 1, width, job->time_width);
    causal(job, x, net->conv1, net->conv1_bias, job->hidden, in);
    norm_and_mish(hidden, net->norm1, net->norm1_bias, job->added, frames, width);
    causal(job, job->hidden, net->conv2, net->conv2_bias, out, width);
    norm_and_mish(rows, net->norm2, net->norm2_bias, NULL, frames, width);
    add_bias(rows, net->residual_bias, frames, width);
    add_product(x + BEFORE * in, net->residual, rows, frames, width, in);
}

/* In place. */
static void run_transformer(Job *job, const Transformer *net, float *x) {
    const int frames = job->frames, width = job->width, inside = job->heads * job->depth;
    normalise_rows(x, job->normed, frames, width, net->norm1, net->norm1_bias, EPS);
    const float *const weights[] = {net->query, net->key, net->value};
    float *const columns[] = {job->queries, job->keys, job->values};
    for (int i = 0; i < 3; i++)
        cblas_sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, inside, frames, width, 1, weights[i], width,
                    job->normed, width, 0, columns[i], frames);
    job->failed |= attend_columns(job->queries, job->keys, job->values, job->keys, job->values,
                                  job->attended, job->heads, job->depth, frames, frames, 0,
                                  1.0f / __builtin_sqrtf(job->depth));
    add_bias(x, net->out_bias, frames, width);
    cblas_sgemm(ROW_MAJOR, TRANSPOSED, TRANSPOSED, frames, width, inside, 1, job->attended, frames,
                net->out, inside, 1, x, width);

    normalise_rows(x, job->normed, frames, width, net->norm2, net->norm2_bias, EPS);
    project(job->normed, net->wide, net->wide_bias, job->wide, frames, job->inner, width);
    apply(gelu, job->wide, (size_t)frames * job->inner);
    add_bias(x, net->narrow_bias, frames, width);
    add_product(job->wide, net->narrow, x, frames, width, job->inner);
}

/* x, mu and cond (frames, bins), speaker (bins), side by side after frames of zeros. */
static void join(const float *x, const float *mu, const float *speaker, const float *cond,
                 float *to, int frames, int bins) {
    for (int t = 0; t < frames; t++) {
        const float *const parts[] = {x + (size_t)t * bins, mu + (size_t)t * bins, speaker,
                                      cond + (size_t)t * bins};
        for (int i = 0; i < 4; i++, to += bins) memcpy(to, parts[i], bins * sizeof(float));
    }
}

/* x, mu and cond (frames, bins), speaker (bins), and the embedded time after Mish (time_width) to
 * result (frames, bins). `resnets` are that of the way down, those of the middle and that of the
 * way up, each with `blocks` of `transformers` after it. Returns 0, or 1 without memory. */
EXPORTED int estimate(const float *x, const float *mu, const float *speaker, const float *cond,
                      const float *time, float *result, const Resnet *resnets,
                      const Transformer *transformers, const Ends *ends, int resnet_count,
                      int blocks, int frames, int bins, int width, int heads, int depth, int inner,
                      int time_width) {
    const size_t padded = frames + BEFORE, n = frames, inside = (size_t)heads * depth;
    const size_t first = 4 * bins > 2 * width ? 4 * bins : 2 * width;
    Job job = {.frames = frames, .width = width, .heads = heads, .depth = depth, .inner = inner,
               .time_width = time_width, .time = time};
    float *given, *even, *odd, *skip;
    float **const places[] = {&given,     &even,        &odd,      &skip,       &job.hidden,
                              &job.added, &job.normed,  &job.queries, &job.keys, &job.values,
                              &job.attended, &job.wide};
    const size_t sizes[] = {padded * first, padded * width, padded * width, padded * width,
                            padded * width, width,          n * width,      n * inside,
                            n * inside,     n * inside,     n * inside,     n * inner};
    float *scratch = carve(places, sizes, sizeof sizes / sizeof *sizes);
    if (!scratch) return 1;
    /* What convolutions see before the first frame. */
    memset(given, 0, BEFORE * first * sizeof(float));
    float *const seen[] = {even, odd, skip, job.hidden};
    for (int i = 0; i < 4; i++) memset(seen[i], 0, BEFORE * width * sizeof(float));

    join(x, mu, speaker, cond, given + BEFORE * 4 * bins, frames, bins);
    run_resnet(&job, resnets, given, skip, 4 * bins);
    for (int b = 0; b < blocks; b++)
        run_transformer(&job, transformers++, skip + BEFORE * width);
    causal(&job, skip, ends->down, ends->down_bias, even, width);
    for (int i = 1; i < resnet_count - 1; i++) {
        run_resnet(&job, resnets + i, even, odd, width);
        for (int b = 0; b < blocks; b++)
            run_transformer(&job, transformers++, odd + BEFORE * width);
        float *const swapped = even;
        even = odd;
        odd = swapped;
    }
    for (size_t t = 0; t < padded; t++) {
        memcpy(given + 2 * t * width, even + t * width, width * sizeof(float));
        memcpy(given + (2 * t + 1) * width, skip + t * width, width * sizeof(float));
    }
    run_resnet(&job, resnets + resnet_count - 1, given, odd, 2 * width);
    for (int b = 0; b < blocks; b++) run_transformer(&job, transformers++, odd + BEFORE * width);
    causal(&job, odd, ends->up, ends->up_bias, even, width);
    causal(&job, even, ends->last, ends->last_bias, odd, width);
    norm_and_mish(odd + BEFORE * width, ends->last_norm, ends->last_norm_bias, NULL, frames, width);
    project(odd + BEFORE * width, ends->out, ends->out_bias, result, frames, bins, width);
    free(scratch);
    return job.failed;
}
