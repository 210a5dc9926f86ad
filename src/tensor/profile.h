/* profile.h - where the time of a forward pass goes, by operation. */
#ifndef TOMO_TENSOR_PROFILE_H
#define TOMO_TENSOR_PROFILE_H

#include "base/clock.h"
#include "tensor/exec.h"

typedef enum tomo_profile_kind {
    TOMO_PROFILE_LINEAR,
    TOMO_PROFILE_ATTENTION,
    TOMO_PROFILE_NORM,
    TOMO_PROFILE_ROPE,
    TOMO_PROFILE_POINTWISE, /* activations, sums and products element by element */
    TOMO_PROFILE_KINDS
} tomo_profile_kind;

/* Filled while an exec points to it (tomo_exec.profile); an operation within another counts for the outer
 * one. */
typedef struct tomo_profile {
    double seconds[TOMO_PROFILE_KINDS];
    int64_t calls[TOMO_PROFILE_KINDS];
    int depth;
} tomo_profile;

/* "linear", "attention", ... */
static inline const char *tomo_profile_name(tomo_profile_kind kind) {
    static const char *const names[] = {"linear", "attention", "norm", "rope", "pointwise"};
    return names[kind];
}

static inline double tomo_profile_begin(const tomo_exec *exec) {
    if (exec->profile == NULL) return 0;
    return exec->profile->depth++ == 0 ? tomo_seconds() : -1;
}

static inline void tomo_profile_end(const tomo_exec *exec, tomo_profile_kind kind, double start) {
    if (exec->profile == NULL) return;
    exec->profile->depth--;
    if (start < 0) return;
    exec->profile->seconds[kind] += tomo_seconds() - start;
    exec->profile->calls[kind]++;
}

#endif
