"""Streams a million generated lines through the command line into Parquet and watches the process's memory.

    python benchmarks/memory.py MODEL_FOLDER [--lines 1000000] [--weights float32] [--binary …]

Prints resident memory at tenths of the way, its peak, and the texts and tokens per second. Needs Linux (/proc) and nothing
but the standard library.
"""

import argparse
import random
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("time year people way day man thing woman life child world school state family student group country problem hand "
         "part place case week company system program question work government number night point home water room mother "
         "area money story fact month lot right study book eye job word business issue side kind head house service").split()


def resident(pid: int) -> tuple[int, int]:
    """Resident memory now and at its peak, in KiB."""
    values = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            values[key] = int(rest.split()[0])
    return values.get("VmRSS", 0), values.get("VmHWM", 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--weights", default="float32")
    parser.add_argument("--binary", default=str(ROOT / "target/release/sentence-transformers"))
    arguments = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "lines.txt", Path(folder) / "vectors.parquet"
        words = 0
        with source.open("w") as file:
            for _ in range(arguments.lines):
                count = rng.randint(4, 12)
                words += count
                file.write(" ".join(rng.choices(WORDS, k=count)) + "\n")
        start = time.perf_counter()
        process = subprocess.Popen([arguments.binary, "encode", "--model", arguments.model, "--input", str(source),
                                    "--output", str(target), "--weights", arguments.weights])
        samples, peak = [], 0
        while process.poll() is None:
            try:
                now, peak = resident(process.pid)
                samples.append(now)
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.5)
        if process.wait() != 0:
            raise SystemExit(f"the command failed with {process.returncode}")
        seconds = time.perf_counter() - start
        size = target.stat().st_size
    tenths = [samples[len(samples) * tenth // 10] // 1024 for tenth in range(1, 10)]
    tokens = words + 2 * arguments.lines
    print(f"{arguments.lines} lines, {tokens} tokens ({arguments.weights}): {seconds:.0f} s, {arguments.lines / seconds:.0f} "
          f"texts/s, {tokens / seconds:.0f} tokens/s; resident MiB at tenths of the way {tenths}, peak {peak // 1024} MiB; "
          f"Parquet {size >> 20} MiB")


if __name__ == "__main__":
    main()
