"""What int8 gains from calibration on texts of the caller's: distances from float32, kind by kind.

    python benchmarks/calibration.py MODEL_FOLDER GLOSSES.txt SENTENCES.txt … [--binary target/release/sentence-transformers]

Of each file of texts, one a line, 300 at random are for calibration and 800 others for the comparison. Prints for each file
the smallest and the mean cosine to float32, calibrated on built-in sentences and on the texts of each file. Needs numpy.
"""

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np

CALIBRATION, COMPARED = 300, 800


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--binary", default="target/release/sentence-transformers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def encode(texts: Path, *options: str) -> np.ndarray:
            command = [arguments.binary, "encode", "--quiet", "--model", arguments.model, "--input", texts, "--normalize"]
            subprocess.run([*command, "--output", folder / "out.npy", *options], check=True)
            return np.load(folder / "out.npy").astype(np.float64)

        calibration, compared = {}, {}
        for path in arguments.files:
            texts = [text for text in path.read_text(encoding="utf-8").splitlines() if text]
            random.Random(1).shuffle(texts)
            calibration[path.stem] = folder / f"{path.stem}-calibration.txt"
            compared[path.stem] = folder / f"{path.stem}-compared.txt"
            calibration[path.stem].write_text("\n".join(texts[:CALIBRATION]), encoding="utf-8")
            compared[path.stem].write_text("\n".join(texts[CALIBRATION : CALIBRATION + COMPARED]), encoding="utf-8")
        for kind, texts in compared.items():
            exact = encode(texts, "--weights", "float32")
            for source, path in {"built-in sentences": None, **calibration}.items():
                given = ["--calibration-texts", str(path)] if path else []
                cosine = (exact * encode(texts, "--weights", "int8", *given)).sum(axis=1)
                print(f"{kind}, calibrated on {source}: smallest {cosine.min():.5f}, mean {cosine.mean():.6f}", flush=True)


if __name__ == "__main__":
    main()
