/* fuzz_dicom.c - DICOM files and zips of them: the walk, GDCM's parser and decoders, from memory. */
#include "volume/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* Small limits: an input that asks for much is refused and not waited for. */
    const tomo_volume_options options = {
        .limits = {
            .voxels = 1 << 20, .slices = 256, .expanded_bytes = 1 << 22, .files = 64, .folder_depth = 4}};
    tomo_volume *volume = NULL;
    tomo_error err;
    if (tomo_volume_open_memory("x.dcm", data, size, &options, &volume, &err) == TOMO_OK) {
        cJSON_Delete(tomo_volume_manifest(volume, NULL));
    }
    tomo_volume_free(volume);
    return 0;
}
