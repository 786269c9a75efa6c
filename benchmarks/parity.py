"""Compares our command line with the original, text by text.

    python benchmarks/parity.py MODEL_FOLDER [--binary target/release/sentence-transformers] [--weights float32]

Needs a Python with sentence-transformers 5.2.3. The 2,000 texts are real sentences of the STS benchmark (from
fixtures/data), paragraphs of 4 to 40 of them (the longest are cut by the model), the awkward texts of
fixtures/golden/real-texts.json, and texts of random letters of many scripts. Prints the largest absolute difference of a
component of the normalised vectors, the smallest cosines, and how long each side took.
"""

import argparse
import gzip
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [(0x20, 0x7E), (0xA1, 0x24F), (0x370, 0x3FF), (0x410, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
           (0x3041, 0x3096), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0x1F300, 0x1F5FF)]


def texts() -> list[str]:
    rng = random.Random(5)
    with gzip.open(ROOT / "fixtures/data/stsb-test.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    sentences = sorted({text for row in rows for text in row[1:3]})
    rng.shuffle(sentences)
    awkward = json.loads((ROOT / "fixtures/golden/real-texts.json").read_text(encoding="utf-8"))["texts"]
    out = awkward + sentences[:1300]
    for count in range(4, 40):
        out += [" ".join(rng.sample(sentences, count)) for _ in range(12)]
    while len(out) < 2000:
        script = rng.choice(SCRIPTS)
        words = ("".join(chr(rng.randint(*script)) for _ in range(rng.randint(1, 9))) for _ in range(rng.randint(1, 30)))
        out.append(" ".join(words))
    return out[:2000]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--binary", default=str(ROOT / "target/release/sentence-transformers"))
    parser.add_argument("--weights", default="float32")
    parser.add_argument("--save", help="keep the original's vectors here, or read them from here")
    arguments = parser.parse_args()
    data = texts()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "texts.jsonl", Path(folder) / "ours.npy"
        source.write_text("\n".join(json.dumps({"text": text}) for text in data) + "\n", encoding="utf-8")
        start = time.perf_counter()
        subprocess.run(
            [arguments.binary, "encode", "--model", arguments.model, "--input", str(source), "--column", "text",
             "--output", str(target), "--normalize", "--weights", arguments.weights], check=True)
        ours_seconds = time.perf_counter() - start
        ours = np.load(target).astype(np.float64)
    start = time.perf_counter()
    if arguments.save and Path(arguments.save).exists():
        theirs = np.load(arguments.save).astype(np.float64)
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(arguments.model, device="cpu")
        theirs = model.encode(data, batch_size=32, normalize_embeddings=True).astype(np.float64)
        if arguments.save:
            np.save(arguments.save, theirs.astype(np.float32))
    difference = np.abs(ours - theirs)
    cosine = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    worst = int(difference.max(axis=1).argmax())
    smallest = ", ".join(f"{value:.8f}" for value in np.sort(cosine)[:3])
    print(f"{len(data)} texts: largest difference {difference.max():.3g} (text {worst}), smallest cosines {smallest}, "
          f"mean cosine {cosine.mean():.8f}; ours {ours_seconds:.1f} s, original {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
