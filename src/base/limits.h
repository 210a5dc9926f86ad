/* limits.h - how much an input may ask for. Sizes in files are hostile; these bounds are far above real
 * scans and models and far below what hurts a workstation. The fields of tomo_limits can be raised by the
 * caller; the constants are the defaults. */
#ifndef TOMO_BASE_LIMITS_H
#define TOMO_BASE_LIMITS_H

#include <stdint.h>

/* 1024 x 1024 x 1024 voxels: a whole-body CT at 0.7 mm is 512 x 512 x 2600 = 0.7e9. */
#define TOMO_LIMIT_VOXELS ((int64_t)1 << 30)
/* Slices of one scan; a 2 m body at 0.5 mm is 4000. */
#define TOMO_LIMIT_SLICES 16384
/* Expanded bytes of one zip or gzip: 2^30 voxels of 2 bytes and headers. */
#define TOMO_LIMIT_EXPANDED_BYTES ((int64_t)3 << 30)
/* Files looked at in one folder or zip; a study of 20 series has about 10,000. */
#define TOMO_LIMIT_FILES 100000
/* Folder depth below the one that was named; PACS exports use 3 to 6. */
#define TOMO_LIMIT_FOLDER_DEPTH 16
/* One JSON file: the largest real one, a tokenizer.json of 256k words, has 33 MB. */
#define TOMO_LIMIT_JSON_BYTES ((int64_t)128 << 20)
/* The JSON header of a safetensors file; the format's own limit is 100 MB. */
#define TOMO_LIMIT_TENSOR_HEADER_BYTES ((int64_t)100 << 20)
/* Tensors of one checkpoint; a 72B model has about 1,000. */
#define TOMO_LIMIT_TENSORS 200000
/* Values of a GGUF file's metadata; tokens, merges, scores and types of 256k words are 1.3 million. */
#define TOMO_LIMIT_GGUF_VALUES ((int64_t)1 << 22)
/* Axes of one tensor; the connector's attention has 5. */
#define TOMO_LIMIT_RANK 8

#endif
