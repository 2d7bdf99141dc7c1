/* A layer of an LSTM: the recurrent product and the update of the cell at each step, during which
 * the gates stay in registers.
 */

#include <stdlib.h>

#include "functions.h"
#include "pool.h"
#include "vectors.h"

enum { GATES = 4 }; /* input, forget, cell, output */
/* Rows that the registers hold with all gates of a vector of units. */
#if MANY_REGISTERS
#define WITH_ROWS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
enum { MOST_ROWS = 6 };
#else
#define WITH_ROWS(DO) DO(1) DO(2)
enum { MOST_ROWS = 2 };
#endif

typedef struct {
    int rows, steps, units, blocks; /* blocks: of a vector of units */
    int at_once;                    /* rows */
    const float *fed, *weight;
    float *result, *cells;
    float *packed; /* for each block of units: units of the last step, gates, units */
} Layer;

static void pack(void *context, int block) {
    const Layer *job = context;
    const size_t units = job->units;
    float *to = job->packed + block * units * GATES * LANES;
    for (size_t k = 0; k < units; k++)
        for (int gate = 0; gate < GATES; gate++)
            for (size_t i = 0; i < LANES; i++) {
                const size_t unit = (size_t)block * LANES + i;
                *to++ = unit < units ? job->weight[(gate * units + unit) * units + k] : 0;
            }
}

/* One step of a block of units, for several rows; `first` is the first row's place of this step. */
#define STEP(ROWS)                                                                              \
    static void step_##ROWS(const Layer *job, int block, int is_first, const float *fed,        \
                            float *result, float *cells) {                                      \
        const size_t units = job->units, unit = (size_t)block * LANES;                          \
        const size_t row = units * job->steps; /* from a row's units to the next one's */       \
        const int width = units - unit < LANES ? (int)(units - unit) : LANES;                   \
        Lanes sum[ROWS][GATES];                                                                 \
        for (int r = 0; r < ROWS; r++)                                                          \
            for (int gate = 0; gate < GATES; gate++) {                                          \
                const float *from = fed + GATES * row * r + gate * units + unit;                \
                sum[r][gate] = (Lanes){0};                                                      \
                __builtin_memcpy(&sum[r][gate], from, width * sizeof(float));                   \
            }                                                                                   \
        const float *w = job->packed + block * units * GATES * LANES;                           \
        for (size_t k = 0; k < units && !is_first; k++, w += GATES * LANES) {                   \
            Lanes weights[GATES];                                                               \
            for (int gate = 0; gate < GATES; gate++) {                                          \
                weights[gate] = *(const Lanes *)(w + gate * LANES);                             \
                IN_REGISTER(weights[gate]);                                                     \
            }                                                                                   \
            for (int r = 0; r < ROWS; r++) {                                                    \
                const float last = result[row * r - units + k];                                 \
                for (int gate = 0; gate < GATES; gate++) sum[r][gate] += weights[gate] * last;  \
            }                                                                                   \
        }                                                                                       \
        for (int r = 0; r < ROWS; r++) {                                                        \
            Lanes *cell = (Lanes *)(cells + ((size_t)r * job->blocks + block) * LANES);         \
            *cell = logistic(sum[r][1]) * *cell                                                 \
                    + logistic(sum[r][0]) * hyperbolic_tangent(sum[r][2]);                      \
            const Lanes out = logistic(sum[r][3]) * hyperbolic_tangent(*cell);                  \
            __builtin_memcpy(result + row * r + unit, &out, width * sizeof(float));             \
        }                                                                                       \
    }
WITH_ROWS(STEP)

static void some_rows(void *context, int i) {
    const Layer *job = context;
    const int first = i * job->at_once;
    const int rows = job->rows - first < job->at_once ? job->rows - first : job->at_once;
    float *cells = job->cells + (size_t)first * job->blocks * LANES;
    for (int step = 0; step < job->steps; step++) {
        const size_t place = ((size_t)first * job->steps + step) * job->units;
        for (int block = 0; block < job->blocks; block++) {
            const float *fed = job->fed + GATES * place;
            float *result = job->result + place;
#define RUN(ROWS)                                                                               \
    if (rows == ROWS) step_##ROWS(job, block, step == 0, fed, result, cells);
            WITH_ROWS(RUN)
        }
    }
}

/* fed (rows, steps, 4 units), weight (4 units, units), to result (rows, steps, units); the gates in
 * PyTorch's order. Returns 0, or 1 without memory. */
EXPORTED int lstm_layer(const float *fed, const float *weight, float *result, int rows, int steps,
                        int units) {
    Layer job = {.rows = rows, .steps = steps, .units = units, .fed = fed, .weight = weight,
                 .blocks = (units + LANES - 1) / LANES, .result = result};
    /* Rows do not depend on each other: as even parts as there can be. */
    const int parts = (rows + MOST_ROWS - 1) / MOST_ROWS;
    job.at_once = (rows + parts - 1) / parts;
    job.packed = floats((size_t)job.blocks * units * GATES * LANES);
    job.cells = calloc((size_t)rows * job.blocks * LANES, sizeof(float));
    const int failed = !job.packed || !job.cells;
    if (!failed) {
        in_parallel(pack, &job, job.blocks);
        in_parallel(some_rows, &job, (rows + job.at_once - 1) / job.at_once);
    }
    free(job.packed);
    free(job.cells);
    return failed;
}
