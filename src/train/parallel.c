#include "train/parallel.h"

#include <stdlib.h>

/* Floats that travel at once. */
#define PIECE ((int64_t)1 << 20)

#ifdef TOMO_WITH_MPI

#include <mpi.h>

tomo_status tomo_parallel_begin(tomo_parallel *p, tomo_error *err) {
    *p = (tomo_parallel){.ranks = 1};
    /* Outside of mpirun MPI_Init would look for a network and start helpers. */
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMI_SIZE") == NULL) return TOMO_OK;
    int done = 0;
    (void)MPI_Initialized(&done);
    if (!done && MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return tomo_fail(err, TOMO_E_INTERNAL, "MPI does not start");
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &p->rank);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &p->ranks);
    if (p->ranks > 1) p->room = malloc((size_t)PIECE * sizeof *p->room);
    return p->ranks > 1 && p->room == NULL ? tomo_fail_memory(err, "gradients", (size_t)PIECE * 4) : TOMO_OK;
}

void tomo_parallel_end(tomo_parallel *p) {
    int done = 0, over = 0;
    (void)MPI_Initialized(&done);
    (void)MPI_Finalized(&over);
    if (done && !over) (void)MPI_Finalize();
    free(p->room);
    *p = (tomo_parallel){.ranks = 1};
}

void tomo_parallel_sum(tomo_parallel *p, double *values, int count) {
    double other[16];
    if (p->ranks == 1) return;
    if (p->rank != 0) (void)MPI_Send(values, count, MPI_DOUBLE, 0, 1, MPI_COMM_WORLD);
    for (int r = 1; p->rank == 0 && r < p->ranks; r++) {
        (void)MPI_Recv(other, count, MPI_DOUBLE, r, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int i = 0; i < count; i++) values[i] += other[i];
    }
    (void)MPI_Bcast(values, count, MPI_DOUBLE, 0, MPI_COMM_WORLD);
}

static void sum_piece(tomo_parallel *p, float *values, int count) {
    if (p->rank != 0) (void)MPI_Send(values, count, MPI_FLOAT, 0, 2, MPI_COMM_WORLD);
    for (int r = 1; p->rank == 0 && r < p->ranks; r++) {
        (void)MPI_Recv(p->room, count, MPI_FLOAT, r, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int i = 0; i < count; i++) values[i] += p->room[i];
    }
    (void)MPI_Bcast(values, count, MPI_FLOAT, 0, MPI_COMM_WORLD);
}

void tomo_parallel_sum_gradients(tomo_parallel *p, const tomo_parameters *parameters) {
    for (size_t i = 0; p->ranks > 1 && i < parameters->count; i++) {
        const tomo_tensor *t = &parameters->list[i].tensor;
        int64_t count = tomo_tensor_count(t);
        for (int64_t at = 0; at < count; at += PIECE) {
            sum_piece(p, t->grad + at, (int)(count - at < PIECE ? count - at : PIECE));
        }
    }
}

tomo_status tomo_parallel_agree(tomo_parallel *p, tomo_status status, tomo_error *err) {
    int mine = (int)status, worst = mine;
    if (p->ranks > 1) (void)MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (status == TOMO_OK && worst != TOMO_OK) {
        return tomo_fail(err, (tomo_status)worst, "another process of this training failed (%s)",
                         tomo_status_name((tomo_status)worst));
    }
    return status;
}

#else

tomo_status tomo_parallel_begin(tomo_parallel *p, tomo_error *err) {
    *p = (tomo_parallel){.ranks = 1};
    const char *size = getenv("OMPI_COMM_WORLD_SIZE");
    if (size != NULL && atoi(size) > 1) {
        return tomo_fail(
            err, TOMO_E_UNSUPPORTED,
            "this tomo was built without MPI; install Open MPI's development files and build again");
    }
    return TOMO_OK;
}

void tomo_parallel_end(tomo_parallel *p) {
    free(p->room);
    *p = (tomo_parallel){.ranks = 1};
}

void tomo_parallel_sum(tomo_parallel *p, double *values, int count) {
    (void)p;
    (void)values;
    (void)count;
}

void tomo_parallel_sum_gradients(tomo_parallel *p, const tomo_parameters *parameters) {
    (void)p;
    (void)parameters;
}

tomo_status tomo_parallel_agree(tomo_parallel *p, tomo_status status, tomo_error *err) {
    (void)p;
    (void)err;
    return status;
}

#endif
