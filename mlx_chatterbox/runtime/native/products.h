/* Linear layers over rows, and the memory that a chain of them needs. */

#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <stddef.h>
#include <string.h>

#include "few_rows.h"
#include "vectors.h"

/* out (rows, columns) = x times the transpose of w (columns, depth), plus what is there already. */
static inline void add_product(const float *x, const float *w, float *out, int rows, int columns,
                               int depth) {
    cblas_sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, columns, depth, 1, x, depth, w, depth, 1, out,
                columns);
}

static inline void add_bias(float *x, const float *bias, int rows, int columns) {
    for (int row = 0; row < rows; row++, x += columns)
        for (int i = 0; i < columns; i++) x[i] += bias[i];
}

/* out (rows, columns) = x times the transpose of w, plus a bias or NULL. */
static inline void project(const float *x, const float *w, const float *bias, float *out, int rows,
                           int columns, int depth) {
    for (int row = 0; bias && row < rows; row++)
        memcpy(out + (size_t)row * columns, bias, columns * sizeof(float));
    cblas_sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, columns, depth, 1, x, depth, w, depth,
                bias != NULL, out, columns);
}

/* Memory for the given numbers of floats, in one piece that is to be freed; or NULL. */
static inline float *carve(float **const *places, const size_t *sizes, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += padded_depth(sizes[i]);
    float *const scratch = floats(size);
    float *place = scratch;
    for (int i = 0; scratch && i < count; i++) {
        *places[i] = place;
        place += padded_depth(sizes[i]);
    }
    return scratch;
}

#endif
