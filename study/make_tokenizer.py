#!/usr/bin/env python3
"""Makes recipes/phantom/language/tokenizer.json: byte-level BPE in which each word of the phantoms is one token.

    make_tokenizer.py TOMO_BINARY [OUT]

Needs the package tokenizers (0.23 made the file that is committed). Words are those that `tomo phantom` writes about
SLICES slices and SCANS scans of a seed that no data set uses, and those of LINES, which prompts hold. They stand in the
vocabulary as they are (ignore_merges); a few merges serve all other words. The product is the same each time.
"""
import collections
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

SLICES, SCANS, SEED = 3000, 600, 990001
MERGES = 64  # for words that are not in the list
RARE = 3     # a word of the corpus that occurs less often gets no token of its own
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"]
# A word takes the space before it along; digits stand alone, so that 12 is read as 1 and 2.
PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s+"
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
            "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# Texts of slices, prompts and turns.
LINES = """\
You read CT scans. Describe the findings. Write a report about this scan. Answer the question. Choices: A. B. C. D. E. F.
Yes. No. yes no Is there Are there What does the slice show? seen not visible shown outside inside
axial coronal sagittal plane slice slices image scan CT at the level of levels
left right both side sides upper middle lower above below top bottom third pole poles lobe lobes chest abdomen thorax pelvis
lung lungs heart aorta trachea liver spleen kidney kidneys stomach bowel gallbladder pancreas spine vertebra ribs bone skin
normal abnormal nodule nodules lesion lesions mass cyst cysts stone stones fracture aneurysm effusion ascites enlarged large
small moderate mild severe wide high long diameter width height length size mm cm HU
one two three four five six zero several single more less than same
the a an is are was it its this that these there which what where how has holds shows contains lies through in by with
without and or from to over between on""".splitlines()
TURNS = ["system", "user", "assistant"]


def phantoms(tomo, contents, count, size):
    """The rows of scans.csv."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        subprocess.run([tomo, "phantom", out, "--contents", contents, "--count", str(count), "--seed", str(SEED), "--size", size,
                        "--split", "train", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        yield from csv.DictReader(open(out / "scans.csv", encoding="utf-8"))


def corpus(tomo):
    """Captions, reports, questions with their choices, answers as they are learned, and LINES."""
    for row in phantoms(tomo, "slices", SLICES, "64x64"):
        yield row["report"]
    for row in phantoms(tomo, "scans", SCANS, "16x48x48"):
        if row["report"]:
            yield row["report"]
        elif row["choices"]:
            choices = row["choices"].split("|")
            letters = [f"{chr(65 + i)}. {choice}" for i, choice in enumerate(choices)]
            yield f"{row['question']} Choices: {' '.join(letters)}"
            yield letters[choices.index(row["answer"])]
        else:
            yield row["answer"]
    yield from LINES


def words(texts):
    """Every word of the texts, with the space before it, that occurs often enough, most frequent first."""
    split = pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated")
    counts = collections.Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))
    listed = set(piece for line in LINES for word in line.split() for piece, _ in split.pre_tokenize_str(" " + word))
    counts.update({word: RARE for word in [*listed, *TURNS]})
    return sorted((word for word, n in counts.items() if n >= RARE), key=lambda word: (-counts[word], word))


def build(tokenizer):
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def train(tomo):
    texts = list(corpus(tomo))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = build(tokenizers.Tokenizer(models.BPE()))
    pieces.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + len(alphabet) + MERGES, special_tokens=SPECIAL, initial_alphabet=alphabet,
        show_progress=False))
    model = json.loads(pieces.to_str())["model"]
    vocabulary = model["vocab"]
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for word in words(texts):
        token = "".join(piece for piece, _ in as_bytes.pre_tokenize_str(word))
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return build(tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True)))


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    tomo = sys.argv[1]
    default = pathlib.Path(__file__).resolve().parents[1] / "recipes" / "phantom" / "language"
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else default
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train(tomo)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False,
        "model_max_length": 1024, "chat_template": TEMPLATE})
    config = json.loads((default / "config.json").read_text())
    write_json(out / "config.json", {**config, "vocab_size": tokenizer.get_vocab_size()})
    print(f"{out}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
