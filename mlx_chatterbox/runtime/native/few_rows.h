/* Products of a few rows, for other functions here. */

#ifndef FEW_ROWS_H
#define FEW_ROWS_H

#include <stddef.h>

#include "vectors.h"

/* A row's result is the same to the bit with any number of rows up to this one, and at any place
 * among them: `many_rows.c`, quicker from nine rows on under AVX-512, adds up in another order. */
enum { MOST_ROWS = 16 };
/* Of `cblas_sgemm`. */
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

/* out = alpha * x times the transpose of w + beta * out */
typedef struct {
    int rows, columns, depth;
    float alpha, beta;
    const float *x; /* from `pack_rows` */
    const float *w; /* (columns, depth) */
    size_t w_stride;
    float *out; /* (rows, columns) */
    size_t out_stride;
    int share, shares; /* columns that a thread does at a time, and how often; set by the product */
} Product;

static inline size_t padded_depth(size_t depth) { return (depth + LANES - 1) / LANES * LANES; }

/* Rows that are packed for so many: with many registers two tiles of eight, the last rows empty. */
static inline int packed_rows(int rows) {
    return MANY_REGISTERS && rows > MOST_ROWS / 2 ? MOST_ROWS : rows;
}

/* x (rows, depth) in the order that the product reads it, packed_rows(rows) * padded_depth(depth)
 * long. */
void pack_rows(const float *x, size_t stride, int rows, int depth, float *out);

/* Any product, of a few rows here and of more in OpenBLAS. */
void cblas_sgemm(int order, int x_layout, int w_layout, int rows, int columns, int depth,
                 float alpha, const float *x, int x_stride, const float *w, int w_stride,
                 float beta, float *out, int out_stride);

/* All of them, side by side. */
void multiply_rows(Product *products, int count);

#endif
