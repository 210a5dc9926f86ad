/* journal.h - a file that grows by whole lines of JSON, so that work that was killed goes on where it ended.
 * The first line tells which run it belongs to. Private to src/eval. */
#ifndef TOMO_EVAL_JOURNAL_H
#define TOMO_EVAL_JOURNAL_H

#include "base/json.h"

typedef struct tomo_journal tomo_journal;

/* Gets each line that is there behind the first, in order. */
typedef tomo_status (*tomo_journal_fn)(void *user, const cJSON *line, tomo_error *err);

/* run: what the work depends on, one line of JSON. A file of another run is refused (TOMO_E_FORMAT); a torn
 * last line is cut off; a file that another process writes is TOMO_E_IO. */
tomo_status tomo_journal_open(const char *path, const char *run, tomo_journal_fn seen, void *user,
                              tomo_journal **journal, tomo_error *err);
void tomo_journal_close(tomo_journal *journal);
/* Adds a line by one write and takes it over (NULL: out of memory). */
tomo_status tomo_journal_append(tomo_journal *journal, cJSON *line, tomo_error *err);

#endif
