/* wordnet.h - WordNet 3.0 as Debian's package wordnet-base installs it, read where it lies: index.POS and
 * data.POS are mapped and searched, nothing is unpacked. Format: wndb(5WN). Lookups are those of nltk 3.9.1's
 * WordNetCorpusReader. Private to src/eval. */
#ifndef TOMO_EVAL_WORDNET_H
#define TOMO_EVAL_WORDNET_H

#include "base/status.h"

#define TOMO_WORDNET_FOLDER "/usr/share/wordnet"

/* Immutable: any number of threads may use one. */
typedef struct tomo_wordnet tomo_wordnet;

/* Noun, verb, adjective, adverb: the order in which nltk asks. */
enum { TOMO_WORDNET_POS_COUNT = 4 };
#define TOMO_WORDNET_POS_LETTERS "nvar"

/* A folder without the files: TOMO_E_IO, and the message names the package. */
tomo_status tomo_wordnet_open(const char *folder, tomo_wordnet **wordnet, tomo_error *err);
void tomo_wordnet_free(tomo_wordnet *wordnet);

/* Gets a name of size bytes, not '\0'-terminated. */
typedef void (*tomo_wordnet_fn)(void *user, const char *name, size_t size);

/* The base forms of word[size] in one part of speech, in nltk's order, each once (_morphy). */
void tomo_wordnet_forms(const tomo_wordnet *wordnet, int pos, const char *word, size_t size,
                        tomo_wordnet_fn form, void *user);
/* What METEOR takes for synonyms: every name without an underscore in every synset of the word. The word
 * itself is not added, and a name may come several times. word is in small letters. */
void tomo_wordnet_synonyms(const tomo_wordnet *wordnet, const char *word, size_t size, tomo_wordnet_fn name,
                           void *user);

#endif
