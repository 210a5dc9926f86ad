#!/usr/bin/env python3
"""Writes src/text/unicode_table.c: what the tokenizers library knows about Unicode.

    python3 -m venv venv && venv/bin/pip install unicodedata2==16.0.0
    venv/bin/python scripts/make_unicode_table.py > src/text/unicode_table.c

General categories: Unicode 16.0, from the PyPI package unicodedata2 16.0.0 (the Unicode Character Database itself).
Oniguruma, the regular expression library of tokenizers 0.23, has the same version.

Later characters: those that normalisation treats specially (a combining class, a canonical decomposition, or a place in
a canonical composition) and that Unicode got after version 9.0, whose tables the NFC of tokenizers uses. Which
characters Unicode 9.0 has is asked of Perl (property Present_In), any version of 5.26 or later.
"""
import subprocess
import sys

import unicodedata2 as ucd

assert ucd.unidata_version == "16.0.0", ucd.unidata_version
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
LAST = 0x110000


def category_ranges():
    """(first code point, category) wherever the category changes."""
    out = []
    for c in range(LAST):
        g = CATEGORIES.index(ucd.category(chr(c)))
        if not out or out[-1][1] != g:
            out.append((c, g))
    return out


def special_to_normalisation():
    decomposed = {c: ucd.decomposition(chr(c)) for c in range(LAST)}
    canonical = {c: d.split() for c, d in decomposed.items() if d and not d.startswith("<")}
    parts = {int(part, 16) for d in canonical.values() if len(d) > 1 for part in d}
    return {c for c in range(LAST) if ucd.combining(chr(c)) or c in canonical or c in parts}


def later_than_9(code_points):
    program = r'while (<STDIN>) { chomp; print "$_\n" if chr($_) !~ /\p{Present_In=9.0}/ }'
    text = "".join(f"{c}\n" for c in sorted(code_points))
    done = subprocess.run(["perl", "-e", program], input=text, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def ranges(code_points):
    out = []
    for c in code_points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def rows(items, width):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(lines + [line])


def main():
    categories, later = category_ranges(), ranges(later_than_9(special_to_normalisation()))
    sys.stdout.write(f"""/* Made by scripts/make_unicode_table.py; not edited by hand. Unicode {ucd.unidata_version}. */
#include "text/unicode.h"

/* clang-format off */

/* First code point << 8 | category, wherever the category changes. */
const uint32_t tomo_unicode_ranges[] = {{
{rows([f"0x{c << 8 | g:08x}" for c, g in categories], 118)}
}};
const size_t tomo_unicode_range_count = {len(categories)};

/* First and last of each run of characters that Unicode 9.0 does not normalise and 16.0 does. */
const uint32_t tomo_unicode_later[][2] = {{
{rows([f"{{0x{a:x}, 0x{b:x}}}" for a, b in later], 118)}
}};
const size_t tomo_unicode_later_count = {len(later)};
""")


if __name__ == "__main__":
    main()
