/* Layer norm and root mean square norm of many rows, in one pass over memory. */

#include <stddef.h>
#include <string.h>

#include "pool.h"
#include "vectors.h"

enum { ROWS_AT_ONCE = 32 };

typedef struct {
    const float *x, *weight, *bias;
    float *result;
    int rows, width, centred;
    float eps;
} Norm;

static Lanes some(const float *from, int count) {
    Lanes v = {0};
    memcpy(&v, from, count * sizeof(float));
    return v;
}

static void one_row(const Norm *job, const float *x, float *to) {
    const int width = job->width, whole = width - width % LANES;
    float mean = 0;
    if (job->centred) {
        Lanes sums = {0};
        for (int i = 0; i < whole; i += LANES) sums += *(const Lanes *)(x + i);
        mean = total(sums);
        for (int i = whole; i < width; i++) mean += x[i];
        mean /= width;
    }
    Lanes sums = {0};
    for (int i = 0; i < whole; i += LANES) {
        const Lanes apart = *(const Lanes *)(x + i) - mean;
        sums += apart * apart;
    }
    float squares = total(sums);
    for (int i = whole; i < width; i++) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / __builtin_sqrtf(squares / width + job->eps);
    for (int i = 0; i < width; i += LANES) {
        const int count = i < whole ? LANES : width - whole;
        Lanes y = (some(x + i, count) - mean) * factor;
        if (job->weight) y *= some(job->weight + i, count);
        if (job->bias) y += some(job->bias + i, count);
        memcpy(to + i, &y, count * sizeof(float));
    }
}

static void piece(void *context, int i) {
    const Norm *job = context;
    const int start = i * ROWS_AT_ONCE, left = job->rows - start;
    const int end = start + (left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE);
    for (size_t row = start; row < (size_t)end; row++)
        one_row(job, job->x + row * job->width, job->result + row * job->width);
}

/* x (rows, width), weight and bias (width) or NULL, to result (rows, width): each row, less its mean
 * if `centred`, by its deviation. */
EXPORTED int normalise(const float *x, const float *weight, const float *bias, float *result,
                       int rows, int width, int centred, float eps) {
    Norm job = {x, weight, bias, result, rows, width, centred, eps};
    in_parallel(piece, &job, (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
    return 0;
}
