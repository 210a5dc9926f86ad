/* model.h - what lies behind the public tomo_model. Immutable after opening. */
#ifndef TOMO_MODEL_MODEL_H
#define TOMO_MODEL_MODEL_H

#include "language/decoder.h"
#include "model/config.h"
#include "model/context.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "vision/encoder.h"

struct tomo_model {
    tomo_context *context;
    char *folder;
    bool reads_scans;         /* false: a language model's own directory */
    tomo_model_config config; /* zero where reads_scans is false */
    tomo_encoder *encoder;    /* NULL where reads_scans is false, like the next two */
    tomo_checkpoint *weights; /* of the connector */
    tomo_connector *connector;
    tomo_decoder *decoder;
    tomo_tokenizer *tokenizer;
    const tomo_chat_format *chat; /* NULL: the template was not recognised, and chat_error says so */
    tomo_error chat_error;
    int32_t image_id, end_id; /* -1: none */
    const char *precision;    /* as it was chosen, "f32" by default; static */
    double open_seconds;      /* from the call to ready, without packing */
    double pack_seconds;      /* that packing took; 0: nothing is packed */
    bool half;                /* products of floats are taken in BF16 */
};

/* tomo_model_open for training: quantised weights of the language model are copied to F32, or to BF16 where
 * the precision is another, so that gradients pass through it. */
tomo_status tomo_model_open_to_train(tomo_context *context, const char *folder,
                                     const tomo_model_options *options, tomo_model **model, tomo_error *err);

#endif
