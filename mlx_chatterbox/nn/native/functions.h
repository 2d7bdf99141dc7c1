/* Functions of vectors of floats, element by element. */

#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "vectors.h"

/* `a` where `where` is all ones, `b` where it is 0. */
static inline Lanes chosen(Integers where, Lanes a, Lanes b) {
    return (Lanes)((where & (Integers)a) | (~where & (Integers)b));
}

static inline Lanes larger(Lanes a, Lanes b) { return chosen(a > b, a, b); }

/* exp(x) for x <= 0, to 1e-7 of itself: 2^n times the polynomial of Cephes's expf. */
static inline Lanes exponential(Lanes x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to whole numbers */
    x = larger(x, (Lanes){0} - 87.0f);
    Lanes n = x * 1.44269504f + shift;
    const Integers exponent = (Integers)n << 23;
    n -= shift;
    const Lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Lanes y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return (Lanes)((Integers)y + exponent);
}

/* The logistic function and the hyperbolic tangent, to 1e-7 of a unit. */
static inline Lanes logistic(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes e = exponential(chosen(negative, x, -x));
    return chosen(negative, e, (Lanes){0} + 1.0f) / (e + 1.0f);
}

static inline Lanes hyperbolic_tangent(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes e = exponential(2.0f * chosen(negative, x, -x));
    const Lanes size = (1.0f - e) / (1.0f + e);
    return chosen(negative, -size, size);
}

#endif
