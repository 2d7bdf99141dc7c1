/* One decoding step of a transformer: one position for each of a few rows, or a block of positions
 * for each of a few sentences, through all layers of a Llama or a GPT-2.
 */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "few_rows.h"
#include "functions.h"
#include "many_rows.h"
#include "pool.h"
#include "products.h"
#include "vectors.h"

/* Weights (out, in). Without `gate` the activation is GELU by tanh, with it SiLU times `up`; without
 * `norm_bias` a norm is that of the root mean square; any other bias may be NULL too. */
typedef struct {
    const float *norm, *norm_bias, *query, *query_bias, *key, *key_bias, *value, *value_bias;
    const float *out, *out_bias, *norm2, *norm2_bias, *gate, *up, *up_bias, *down, *down_bias;
} Layer;

typedef struct {
    int rows, width, heads, depth, inner, longest; /* depth: of a head; inner: of the MLP */
    int in_pairs;
    float eps;
    const int *slots;           /* of a row, where its new key and value go */
    const int *capacities;      /* of a row, the slots that it has */
    const int *ends;            /* of a row of a block, where the slots that it sees end; or NULL */
    const float *cosine, *sine; /* (rows, depth / 2), or NULL */
    const Layer *layer;
    float *const *keys, *const *values; /* of the layer: of each row (heads, its capacity, depth) */
    float *x, *normed, *packed, *queries, *new_keys, *new_values, *attended, *gates, *up;
    float *scores; /* (rows, heads, longest) */
    atomic_int *failed; /* no memory for a product */
} Step;

static void normalise(const Step *job, const float *scale, const float *bias) {
    normalise_rows(job->x, job->normed, job->rows, job->width, scale, bias, job->eps);
}

/* x, or what is there already, and a bias, to which a product will be added. */
static void begin(float *out, int rows, int columns, const float *bias, int empty) {
    for (int row = 0; row < rows; row++, out += columns) {
        if (empty) memset(out, 0, columns * sizeof(float));
        if (bias)
            for (int i = 0; i < columns; i++) out[i] += bias[i];
    }
}

static Product product(const Step *job, int depth, const float *w, float *out, int columns) {
    return (Product){.rows = job->rows, .columns = columns, .depth = depth, .alpha = 1, .beta = 1,
                     .x = job->packed, .w = w, .w_stride = depth, .out = out,
                     .out_stride = columns};
}

/* A row's sums are added up in one order, whatever the number of rows: here in that of `few_rows.c`
 * or, where that is as quick for the two rows of a guided sentence, in that of `many_rows.c`, which
 * is quicker for more. That is a network whose rows come in pairs and whose weights are read from
 * memory, where a vector has as many lanes as a step has rows. A single row is slower there. Blocks
 * have many rows always. */
enum { LARGE = 1 << 20 };
static int in_order_of_many(const Step *job, int columns, int depth) {
    if (job->ends) return 1;
    return LANES == MOST_ROWS && job->in_pairs && (size_t)columns * depth >= LARGE;
}

/* x (rows, depth) times the weights of products that `product` made. */
static void multiply(const Step *job, const float *x, Product *products, int count) {
    const int depth = products->depth;
    if (in_order_of_many(job, products->columns, depth)) {
        if (!multiply_together(x, products, count)) atomic_store(job->failed, 1);
        return;
    }
    pack_rows(x, depth, job->rows, depth, job->packed);
    multiply_rows(products, count);
}

/* Rotary position embedding of a row's heads, pairs of channels half a head apart. */
static void rotate(const Step *job, float *x, int row) {
    const int half = job->depth / 2;
    const float *cosine = job->cosine + (size_t)row * half, *sine = job->sine + (size_t)row * half;
    for (int head = 0; head < job->heads; head++, x += job->depth)
        for (int i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = b * cosine[i] + a * sine[i];
        }
}

static float dot(const float *a, const float *b, int count) {
    Lanes sums = {0};
    int i = 0;
    for (; i + LANES <= count; i += LANES) sums += *(const Lanes *)(a + i) * *(const Lanes *)(b + i);
    float sum = total(sums);
    for (; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* The key and value of one head of one row are put to their slot. */
static void put_in_slot(void *context, int i) {
    const Step *job = context;
    const int depth = job->depth, row = i / job->heads;
    const size_t start = (size_t)(i % job->heads) * job->capacities[row] + job->slots[row];
    const size_t size = depth * sizeof(float);
    memcpy(job->keys[row] + start * depth, job->new_keys + (size_t)i * depth, size);
    memcpy(job->values[row] + start * depth, job->new_values + (size_t)i * depth, size);
}

/* One head of one row: the new position's key and value are put with the others, unless all of a
 * block were before, and its query attends to them. */
static void attend(void *context, int i) {
    const Step *job = context;
    const int depth = job->depth, row = i / job->heads;
    const int count = job->ends ? job->ends[row] : job->slots[row] + 1;
    const size_t start = (size_t)(i % job->heads) * job->capacities[row] * depth;
    const float *keys = job->keys[row] + start, *values = job->values[row] + start;
    float *scores = job->scores + (size_t)i * job->longest, *out = job->attended + (size_t)i * depth;
    if (!job->ends) put_in_slot(context, i);

    const float *query = job->queries + (size_t)i * depth;
    const float scale = 1.0f / __builtin_sqrtf(depth);
    float most = -3.0e38f;
    for (int k = 0; k < count; k++) {
        scores[k] = scale * dot(query, keys + (size_t)k * depth, depth);
        if (scores[k] > most) most = scores[k];
    }
    float sum = 0;
    int k = 0;
    Lanes sums = {0};
    for (; k + LANES <= count; k += LANES) {
        Lanes *some = (Lanes *)(scores + k);
        *some = exponential(*some - most);
        sums += *some;
    }
    sum = total(sums);
    for (; k < count; k++) {
        scores[k] = exponential((Lanes){0} + (scores[k] - most))[0];
        sum += scores[k];
    }
    enum { AT_ONCE = 4 };
    int c = 0;
    for (; c + AT_ONCE * LANES <= depth; c += AT_ONCE * LANES) {
        Lanes mean[AT_ONCE] = {{0}};
        for (k = 0; k < count; k++)
            for (int v = 0; v < AT_ONCE; v++)
                mean[v] += scores[k] * *(const Lanes *)(values + (size_t)k * depth + c + v * LANES);
        for (int v = 0; v < AT_ONCE; v++) *(Lanes *)(out + c + v * LANES) = mean[v] / sum;
    }
    for (; c < depth; c++) {
        float mean = 0;
        for (k = 0; k < count; k++) mean += scores[k] * values[(size_t)k * depth + c];
        out[c] = mean / sum;
    }
}

/* What the MLP does between its products, for a row. */
static void activate(void *context, int row) {
    const Step *job = context;
    float *up = job->up + (size_t)row * job->inner;
    const float *gate = job->gates + (size_t)row * job->inner;
    const int gated = job->layer->gate != NULL, whole = job->inner - job->inner % LANES;
    for (int i = 0; i < job->inner; i += LANES) {
        const int width = i < whole ? LANES : job->inner - whole;
        Lanes x = {0}, g = {0};
        memcpy(&x, up + i, width * sizeof(float));
        if (gated) {
            memcpy(&g, gate + i, width * sizeof(float));
            x = g * logistic(g) * x;
        } else {
            /* (1 + tanh(z)) / 2 is the logistic function of 2 z; sqrt(8 / pi) */
            x = x * logistic(1.5957691216f * (x + 0.044715f * x * x * x));
        }
        memcpy(up + i, &x, width * sizeof(float));
    }
}

static void run(Step *job) {
    const Layer *layer = job->layer;
    const int rows = job->rows, width = job->width, inside = job->heads * job->depth;

    normalise(job, layer->norm, layer->norm_bias);
    begin(job->queries, rows, inside, layer->query_bias, 1);
    begin(job->new_keys, rows, inside, layer->key_bias, 1);
    begin(job->new_values, rows, inside, layer->value_bias, 1);
    Product heads[] = {product(job, width, layer->query, job->queries, inside),
                       product(job, width, layer->key, job->new_keys, inside),
                       product(job, width, layer->value, job->new_values, inside)};
    multiply(job, job->normed, heads, 3);
    for (int row = 0; job->cosine && row < rows; row++) {
        rotate(job, job->queries + (size_t)row * inside, row);
        rotate(job, job->new_keys + (size_t)row * inside, row);
    }
    if (job->ends) in_parallel(put_in_slot, job, rows * job->heads);
    in_parallel(attend, job, rows * job->heads);
    begin(job->x, rows, width, layer->out_bias, 0);
    Product out = product(job, inside, layer->out, job->x, width);
    multiply(job, job->attended, &out, 1);

    normalise(job, layer->norm2, layer->norm2_bias);
    begin(job->up, rows, job->inner, layer->up_bias, 1);
    Product wide[] = {product(job, width, layer->up, job->up, job->inner),
                      product(job, width, layer->gate, job->gates, job->inner)};
    if (layer->gate) begin(job->gates, rows, job->inner, NULL, 1);
    multiply(job, job->normed, wide, layer->gate ? 2 : 1);
    in_parallel(activate, job, rows);
    begin(job->x, rows, width, layer->down_bias, 0);
    Product down = product(job, job->inner, layer->down, job->x, width);
    multiply(job, job->up, &down, 1);
}

/* Everything of `decode` and `decode_blocks`, whose arguments `job` holds but for these. */
static int all_layers(Step job, const float *x, const Layer *layers, float *const *keys,
                      float *const *values, const float *norm, const float *norm_bias,
                      float *result, int layer_count) {
    const int rows = job.rows, width = job.width, inner = job.inner;
    const size_t inside = (size_t)job.heads * job.depth, n = rows;
    size_t most = width > inner ? width : inner;
    if (inside > most) most = inside;
    int longest = 0;
    for (int row = 0; row < rows; row++) {
        const int count = job.ends ? job.ends[row] : job.slots[row] + 1;
        if (count > longest) longest = count;
    }
    job.longest = longest = padded_depth(longest);
    /* Rows of blocks are packed by the products. */
    const size_t packed = job.ends ? 0 : packed_rows(rows) * padded_depth(most);
    const size_t sizes[] = {n * width,  n * width,  packed,     n * inside, n * inside,
                            n * inside, n * inside, n * inner,  n * inner,
                            n * job.heads * longest};
    float **const scratches[] = {&job.x,        &job.normed,     &job.packed,   &job.queries,
                                 &job.new_keys, &job.new_values, &job.attended, &job.gates,
                                 &job.up,       &job.scores};
    float *scratch = carve(scratches, sizes, sizeof sizes / sizeof *sizes);
    if (!scratch) return 1;
    atomic_int failed = 0;
    job.failed = &failed;
    memcpy(job.x, x, n * width * sizeof(float));
    for (int i = 0; i < layer_count; i++) {
        job.layer = layers + i;
        job.keys = keys + (size_t)i * rows;
        job.values = values + (size_t)i * rows;
        run(&job);
    }
    normalise(&job, norm, norm_bias);
    memcpy(result, job.normed, n * width * sizeof(float));
    free(scratch);
    return atomic_load(&failed);
}

/* x (rows, width), the embedded tokens, to result (rows, width) after the final norm. Each row has
 * keys and values of its own: `keys` and `values` (layers, rows) point to (heads, capacity, depth),
 * the capacity that `capacities` (rows) names. Its new ones go to the slot that `slots` (rows)
 * names, and it sees all before. `cosine` and `sine` (rows, depth / 2) are of the rotation, or
 * NULL. `in_pairs`: rows come in pairs mostly, as those of guided sentences; it decides in what order
 * sums are added up. At most MOST_ROWS rows. Returns 0, or 1 without memory. */
EXPORTED int decode(const float *x, const float *cosine, const float *sine, const int *slots,
                    const int *capacities, const Layer *layers, float *const *keys,
                    float *const *values, const float *norm, const float *norm_bias,
                    float *result, int layer_count, int rows, int width, int heads, int depth,
                    int inner, int in_pairs, float eps) {
    const Step job = {.rows = rows, .width = width, .heads = heads, .depth = depth,
                      .inner = inner, .in_pairs = in_pairs, .eps = eps, .slots = slots,
                      .capacities = capacities, .cosine = cosine, .sine = sine};
    return all_layers(job, x, layers, keys, values, norm, norm_bias, result, layer_count);
}

/* `decode` of blocks of positions: rows of one block share their keys and values, and each sees the
 * slots before `ends` (rows), its own block among them. At most MOST_TOGETHER rows. Sums are added
 * up in the order of `many_rows.c`, so that a row's result depends neither on their number nor on
 * its place among them. */
EXPORTED int decode_blocks(const float *x, const float *cosine, const float *sine,
                           const int *slots, const int *ends, const int *capacities,
                           const Layer *layers, float *const *keys, float *const *values,
                           const float *norm, const float *norm_bias, float *result,
                           int layer_count, int rows, int width, int heads, int depth, int inner,
                           float eps) {
    const Step job = {.rows = rows, .width = width, .heads = heads, .depth = depth,
                      .inner = inner, .eps = eps, .slots = slots, .ends = ends,
                      .capacities = capacities, .cosine = cosine, .sine = sine};
    return all_layers(job, x, layers, keys, values, norm, norm_bias, result, layer_count);
}
