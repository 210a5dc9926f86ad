/* likelihood.h - how likely a model finds given tokens. */
#ifndef TOMO_MODEL_LIKELIHOOD_H
#define TOMO_MODEL_LIKELIHOOD_H

#include "model/session.h"

/* Natural log-probability of ids (at least one) after the prompt that the cache holds and whose last logits
 * are `first` [V]; the cache has room for them and is left as it was. */
tomo_status tomo_session_score(tomo_session *session, const float *first, const tomo_ids *ids, double *sum,
                               tomo_error *err);

#endif
