/* terminal.h - everything that goes to standard error: messages and the progress bar. */
#ifndef TOMO_CLI_TERMINAL_H
#define TOMO_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Call once the options are known. The bar is drawn when standard error is a terminal, not `quiet`, and the
 * work takes over a second. */
void terminal_setup(bool quiet);
/* Whether text begins with a control character, of one byte or, behind 0xc2 in UTF-8, of two. */
bool terminal_control(const char *text);

/* "tomo: ...", one line; control characters, which a file name may hold, become '?'. */
void terminal_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "tomo: warning: ..."; nothing when quiet. */
void terminal_warning(const char *text);
/* "tomo: ..."; nothing when quiet. */
void terminal_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* total 0: unknown. */
void terminal_progress(const char *stage, int64_t done, int64_t total);
/* A line that stands where the bar would, until something else is shown. */
void terminal_line(const char *line);
/* Which of several scans is at work, from 1; total 0: one alone. */
void terminal_task(int64_t number, int64_t total);
/* Takes the bar off the screen; it comes back with the next progress. */
void terminal_clear(void);
/* From now on text is streamed to the same screen: no bar any more. */
void terminal_end_bar(void);

/* Seconds of a clock that only moves forward. */
double terminal_clock(void);

#endif
