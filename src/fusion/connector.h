/* connector.h - everything between the frozen 2D encoder and the language model: spatial-frequency fusion,
 * compression, fine-grained injection, projection. Defined by tests/reference/make/connector.py. A second
 * kind takes the place of all but compression and projection: a 3D vision transformer (vit3d.h).
 *
 *     S  slices of the scan          K  kept slices           h, w  patch grid       C  encoder width
 *     L  encoder layers read, shallow to deep                 d     connector width
 *     T = Tz Th Tw  visual tokens                             D     language model's hidden size */
#ifndef TOMO_FUSION_CONNECTOR_H
#define TOMO_FUSION_CONNECTOR_H

#include "base/json.h"
#include "tensor/packed.h"
#include "weights/bind.h"

/* Most fusion blocks and injection layers of a model; real ones have 1 to 4. */
#define TOMO_CONNECTOR_BLOCKS 16
/* Most encoder layers that are read. */
#define TOMO_CONNECTOR_LAYERS 16

/* What a slice's position features are made of. */
typedef enum tomo_slice_position {
    TOMO_POSITION_RELATIVE, /* its index, 0 at the first slice and 1 at the last: the reference */
    TOMO_POSITION_MM        /* its distance from the first slice, 1 at TOMO_POSITION_SCALE_MM */
} tomo_slice_position;
/* Half a metre, the length of a chest and abdomen: positions in millimetres then span what relative ones do.
 */
#define TOMO_POSITION_SCALE_MM 500.0

typedef enum tomo_connector_kind { TOMO_CONNECTOR_FUSION, TOMO_CONNECTOR_VIT3D } tomo_connector_kind;

typedef struct tomo_connector_config {
    tomo_connector_kind kind;
    int64_t layers, encoder_width, width, language_width;
    int64_t grid[2];
    int64_t heads, mlp_ratio;
    int64_t tokens[3];
    /* fusion */
    int64_t filter_bins, fusion_blocks, injection_layers;
    bool spatial, frequency; /* ablation switches: the branches of a fusion block */
    tomo_slice_position position;
    bool summary; /* behind the tokens, for each place in the plane, the largest values over the slices */
    /* vit3d: transformer blocks; how many slices it reads, all of the scan's and as many of every scan's; how
     * many of them one patch holds */
    int64_t blocks, slices, patch_slices;
} tomo_connector_config;

/* The "connector" section of config.json; unknown keys and impossible sizes are refused by name. */
tomo_status tomo_connector_parse(const cJSON *section, tomo_json_at at, tomo_connector_config *config,
                                 tomo_error *err);
int64_t tomo_connector_token_count(const tomo_connector_config *config);

typedef struct tomo_connector tomo_connector;

/* checkpoint (named as connector.py's state_dict) must outlive the connector. */
tomo_status tomo_connector_create(const tomo_connector_config *config, const tomo_checkpoint *checkpoint,
                                  tomo_connector **connector, tomo_error *err);
/* The same for training: weights are float copies with gradients, listed in `parameters`
 * (tomo_parameters_free). */
tomo_status tomo_connector_create_trainable(const tomo_connector_config *config,
                                            const tomo_checkpoint *checkpoint, tomo_parameters *parameters,
                                            tomo_connector **connector, tomo_error *err);
/* Packs the linear layers for products in BF16, where these kernels have them and the precision is not
 * float32 (checkpoint: what the weights were made from; of a 3D ViT the projector alone). */
tomo_status tomo_connector_pack(tomo_connector *connector, tomo_pool *pool, const tomo_kernels *kernels,
                                const tomo_checkpoint *checkpoint, tomo_precision precision, tomo_error *err);
void tomo_connector_free(tomo_connector *connector);

/* What a checkpoint of this configuration holds, for making one. */
tomo_status tomo_connector_parameters(const tomo_connector_config *config, tomo_parameter_fn tell, void *user,
                                      tomo_error *err);
/* Bytes of the weights as stored, and their number. */
void tomo_connector_weight_size(const tomo_connector *connector, int64_t *bytes, int64_t *parameters);

/* features [L, K, h, w, C] of the kept slices (vit3d: K as configured, and no gradient), kept [K] their
 * indices among the scan's `slices`, which lie slice_mm apart (above 0 for positions in mm, where it alone
 * matters) -> visual tokens [T, D] in the exec's arena; NULL after a failure (exec.h). Shows (trace)
 * embedded, fusion.i, compressed, injection.i, injection.i.attention. */
tomo_tensor *tomo_connector_forward(const tomo_connector *connector, tomo_exec *exec,
                                    const tomo_tensor *features, const int64_t *kept, int64_t slices,
                                    double slice_mm);

#endif
