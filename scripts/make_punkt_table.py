#!/usr/bin/env python3
"""Writes src/eval/punkt_table.c from NLTK's English punkt_tab model.

    scripts/make_punkt_table.py tests/reference/metrics/punkt_english > src/eval/punkt_table.c

The model is in the library, not in a file that is installed with it: scores must not depend on where a program finds
its data, and it is small. The words stand in groups of the same flags, so that no number is written twice.
"""
import collections
import pathlib
import sys

FLAG_ABBREVIATION, FLAG_STARTER, FLAG_COLLOCATION = 1, 128, 256


def groups(folder):
    found = collections.defaultdict(list)
    lines = lambda name: (folder / name).read_text(encoding="ascii").splitlines()
    found[FLAG_ABBREVIATION] = lines("abbrev_types.txt")
    found[FLAG_STARTER] = lines("sent_starters.txt")
    found[FLAG_COLLOCATION] = lines("collocations.tab")
    for line in lines("ortho_context.tab"):
        word, flags = line.split("\t")
        assert int(flags) & ~126 == 0, line
        found[int(flags)].append(word)
    return sorted((flags, sorted(set(words))) for flags, words in found.items())


def main():
    print("/* Made by scripts/make_punkt_table.py from NLTK's punkt_tab (Apache-2.0); not edited by hand. */")
    print('#include "eval/punkt.h"\n\n/* clang-format off */\n\nconst tomo_punkt_group tomo_punkt_groups[] = {')
    all_groups = groups(pathlib.Path(sys.argv[1]))
    for flags, words in all_groups:
        print("    {%d," % flags, end="")
        line = ""
        for i, word in enumerate(words):
            assert not set(word) & set('"\\'), word
            line += ("" if i == 0 else " ") + word.replace("\t", "\\t").replace(" ", "\\v").replace("??", "?\\?")
            if len(line) > 90:
                print('\n     "%s"' % line, end="")
                line = ""
        print('\n     "%s"},' % line if line else "},")
    print("};\nconst size_t tomo_punkt_group_count = %d;" % len(all_groups))


if __name__ == "__main__":
    main()
