/* session.h - what lies behind the public tomo_session. */
#ifndef TOMO_MODEL_SESSION_H
#define TOMO_MODEL_SESSION_H

#include "model/reading.h"

struct tomo_session {
    tomo_model *model;
    tomo_exec exec;
    tomo_kv_cache *cache; /* of the last question; grows when a longer one comes */
    tomo_ids
        prefix; /* what the cache begins with of the scan's prompts: everything up to its visual tokens */
    bool has_scan;
    tomo_reading reading;
    tomo_recorder *recorder; /* NULL: nothing is traced */
};

/* Takes a reading with tokens for the scan that questions are about; it is emptied. Without a manifest,
 * tomo_session_manifest has none to give. */
void tomo_session_take_reading(tomo_session *session, tomo_reading *reading);

/* Makes the cache hold `tokens`, refusing more than the model's context, and empties it. */
tomo_status tomo_session_reserve(tomo_session *session, int64_t tokens, tomo_error *err);

/* Reads a prompt into the emptied cache, with room for `more` tokens behind it; returns the logits [1, V]
 * behind its last token, in the exec's arena, or NULL (err says why). with_scan: placeholders become visual
 * tokens, and what is common to all prompts about a scan, up to the last of them, is read once: it is always
 * read as a piece of its own, so that an answer does not depend, not even by a bit, on what was asked before.
 */
tomo_tensor *tomo_session_prefill(tomo_session *session, const tomo_ids *ids, bool with_scan, int64_t more,
                                  tomo_error *err);

#endif
