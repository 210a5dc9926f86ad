#!/usr/bin/env python3
"""Writes the list of files in docs/map.md from the first line of each file; --check only tells whether it is true.

A source file opens with a comment "NAME - what it owns." (or, for a .c file beside a header of its name, with nothing:
the header speaks for both)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "map.md"
BEGIN, END = "<!-- files: made by scripts/make_map.py -->", "<!-- end of files -->"
FOLDERS = ["include", "src/base", "src/tensor", "src/tensor/cpu", "src/volume", "src/weights", "src/text", "src/vision",
           "src/fusion", "src/language", "src/model", "src/train", "src/eval", "src/phantom", "cli", "examples", "tests/support", "tests/unit", "tests/parity",
           "tests/fuzz", "tests/outside", "tests/cli", "scripts", "study"]

MISSING: list[str] = []


def opening(path: pathlib.Path) -> str:
    """The first sentence of a file's opening comment, without the file's own name; "" when there is none."""
    text = path.read_text(errors="replace")[:3000].removeprefix("/* clang-format off */\n")
    if path.suffix == ".py":
        match = re.match(r'(?:#[^\n]*\n)*"""(.*?)(?:"""|\n\n)', text, re.S)
    elif path.suffix == ".sh":
        match = re.match(r"#!.*\n((?:#.*\n)+)", text)
    else:
        match = re.match(r"/\*(.*?)\*/", text, re.S)
    if match is None:
        return ""
    words = " ".join(re.sub(r"^[\s*#]+", "", line) for line in match.group(1).splitlines())
    words = re.sub(r"^\S+\s+-\s+", "", words.strip())
    end = re.search(r"[.:](\s|$)", words)
    return (words[: end.start()] if end else words).strip().replace("|", "\\|")


def rows(folder: pathlib.Path) -> list[str]:
    files = sorted(p for p in folder.iterdir() if p.suffix in {".h", ".c", ".cc", ".py", ".sh"})
    lines, seen = [], set()
    for path in files:
        header = path.with_suffix(".h")
        if path.suffix in {".c", ".cc"} and header.exists():
            continue
        pair = [p.suffix for p in (path, path.with_suffix(".c"), path.with_suffix(".cc")) if p.exists() and p not in seen]
        seen.update(pair)
        what = opening(path)
        if not what:
            MISSING.append(str(path.relative_to(ROOT)))
        name = path.stem + ", ".join(dict.fromkeys(pair)) if path.suffix == ".h" else path.name
        lines.append(f"| `{name}` | {what} |")
    return lines


def listing() -> str:
    parts = []
    for name in FOLDERS:
        folder = ROOT / name
        if folder.is_dir() and (found := rows(folder)):
            parts.append(f"### {name}\n\n| file | what |\n| --- | --- |\n" + "\n".join(found) + "\n")
    return "\n".join(parts)


def main() -> None:
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    made = listing()
    if MISSING:
        sys.exit("opens without a comment that says what it is; one line is wanted: " + ", ".join(MISSING))
    new = head + BEGIN + "\n\n" + made + "\n" + END + tail
    if "--check" in sys.argv[1:]:
        if new != page:
            sys.exit("docs/map.md is not true to the files; run scripts/make_map.py")
        return
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
