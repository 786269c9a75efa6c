"""Our trainer beside the original's, end to end, taking turns step by step.

    cargo build --release -p st-train --example trainer_contestant
    python benchmarks/training/compare_trainer.py MODEL_FOLDER [--worker target/release/examples/trainer_contestant]

Both read the same rows, put them into the same order, tokenise and collate batches, run MultipleNegativesRankingLoss or
CosineSimilarityLoss on 2 columns of 32 texts, clip, step AdamW, and log every step, in float32, with the same number of
threads. A step's time is from its start to the next one's, so that everything between two steps counts. Texts are of words
that are one token each, so that all have the same length; `--mixed` draws lengths between a quarter and all of it. Dropout
is off (in the model's configuration) unless `--dropout` is given.

Run it with OMP_WAIT_POLICY=PASSIVE on a machine that does other work too. Besides the packages of
benchmarks/opponents/requirements.txt it needs "accelerate<2" and "datasets<5".

Printed per case: the median seconds of a step by wall clock and by processor time of the process, the ratio of each, and
the largest difference of the losses of the same step (the original logs four digits after the point).
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def original(folder: str, rows: str, loss: str, batch: int, steps: int):
    """The original's side, in a process of its own."""
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )
    from transformers import TrainerCallback

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes elsewhere

    class Turns(TrainerCallback):
        def wait(self, state):
            logged = [entry["loss"] for entry in state.log_history if "loss" in entry]
            answers.write(f"ready {logged[-1] if logged else 'nan'}\n")
            answers.flush()
            sys.stdin.readline()

        def on_step_begin(self, args, state, control, **_):
            self.wait(state)

        def on_train_end(self, args, state, control, **_):
            self.wait(state)

    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    columns = [json.loads(line) for line in open(rows)]
    data = Dataset.from_list(columns)
    with tempfile.TemporaryDirectory() as output:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=output,
            per_device_train_batch_size=batch,
            max_steps=steps,
            learning_rate=2e-5,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        objective = losses.MultipleNegativesRankingLoss(model) if loss == "mnrl" else losses.CosineSimilarityLoss(model)
        trainer = SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=objective, callbacks=[Turns()])
        trainer.train()


def process_time(pid: int) -> float:
    """Processor seconds of a process and its threads (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


class Side:
    def __init__(self, command: list[str], threads: int):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.ready()

    def ready(self) -> float:
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit(f"a side ended: {line!r}")
        return float(line.split()[1])

    def step(self) -> dict:
        before, start = process_time(self.process.pid), time.perf_counter()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        loss = self.ready()
        return {"loss": loss, "wall": time.perf_counter() - start, "cpu": process_time(self.process.pid) - before}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def words(folder: Path) -> list[str]:
    """Whole words that are one token each."""
    vocabulary = json.load(open(folder / "tokenizer.json"))["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worker", default="target/release/examples/trainer_contestant")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--losses", nargs="+", default=["mnrl", "cosine"], choices=["mnrl", "cosine"])
    parser.add_argument("--steps", type=int, default=7, help="measured steps of each, after one that is not")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--dropout", action="store_true")
    arguments = parser.parse_args()
    known = words(arguments.folder)
    print("| loss | tokens | ours s/step | original s/step | ratio | ours CPU s | original CPU s | ratio | losses differ by |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        model, rows = Path(scratch) / "model", Path(scratch) / "rows.jsonl"
        shutil.copytree(arguments.folder, model)
        if not arguments.dropout:
            config = json.loads((model / "config.json").read_text())
            config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            (model / "config.json").write_text(json.dumps(config))
        for loss in arguments.losses:
            for length in arguments.lengths:
                draw = random.Random(12)
                steps = arguments.steps + 1

                def text():
                    count = draw.randint(length // 4, length) if arguments.mixed else length
                    return " ".join(draw.choice(known) for _ in range(count - 2))

                with open(rows, "w") as file:
                    for _ in range(arguments.batch * steps):
                        row = {"sentence1": text(), "sentence2": text()} | ({"score": draw.random()} if loss == "cosine" else {})
                        file.write(json.dumps(row) + "\n")
                settings = [str(model), str(rows), loss, str(arguments.batch), str(steps)]
                ours = Side([arguments.worker, *settings], arguments.threads)
                theirs = Side([sys.executable, __file__, "--original", *settings], arguments.threads)
                taken = [(ours.step(), theirs.step()) for _ in range(steps)]
                pairs = [(a["loss"], b["loss"]) for a, b in taken]
                median = lambda which, key: statistics.median(step[which][key] for step in taken[1:])
                wall, cpu = (median(0, "wall"), median(1, "wall")), (median(0, "cpu"), median(1, "cpu"))
                # The original logs four digits after the point.
                apart = max(abs(a - b) for a, b in pairs)
                print(
                    f"| {loss} | {length} | {wall[0]:.3f} | {wall[1]:.3f} | **{wall[1] / wall[0]:.2f}** "
                    f"| {cpu[0]:.3f} | {cpu[1]:.3f} | **{cpu[1] / cpu[0]:.2f}** | {apart:.1e} |",
                    flush=True,
                )
                ours.close()
                theirs.close()
                if not arguments.dropout and apart > 2e-4 * max(1.0, abs(pairs[0][1])):
                    raise SystemExit(f"the losses differ: {pairs}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--original"]:
        original(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
