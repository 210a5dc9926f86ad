/* journal.h - a JSONL file that grows by whole lines, so that work that was cut off goes on where it ended.
 */
#ifndef TOMO_CLI_JOURNAL_H
#define TOMO_CLI_JOURNAL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct journal journal;

/* Opens `path` (NULL, "-": standard output, which nothing can be resumed from). Whole lines that are there
 * are kept; a torn last one is cut off; a file that holds something else is refused. Returns EXIT_DONE, or
 * the status to exit with after telling why. */
int journal_open(const char *path, journal **out);
/* Whether a line of that scan is there. */
bool journal_has(const journal *j, const char *scan);
/* Lines that are there, and those among them that have an "error". */
size_t journal_lines(const journal *j);
size_t journal_failures(const journal *j);
/* Appends the line of that scan whole, or nothing, and deletes `line` (NULL: out of memory). */
int journal_append(journal *j, const char *scan, cJSON *line);
/* Whether `path` is the journal's own file. */
bool journal_is_file(const journal *j, const char *path);
/* Makes sure that all is on disk, removes a new file that has got no line, and frees; accepts NULL. */
int journal_close(journal *j);

#endif
