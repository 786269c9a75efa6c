"""One training step of ours beside one of the original's, taking turns in one run.

    cargo build --release -p st-candle --example step_contestant
    python benchmarks/training/compare.py MODEL_FOLDER [--worker target/release/examples/step_contestant]

Both start from the same weights and train on the same token ids: 2 columns of 32 texts of 64 and of 128 tokens, with
MultipleNegativesRankingLoss (scale 20) and CosineSimilarityLoss, AdamW (the original's trainer's default, fused) with
learning rate 2e-5, gradients clipped to a norm of 1, float32, the same number of threads. Lengths are the same for all
texts, so that the original pads nothing; `--mixed` draws them between a quarter and all of the length instead. Dropout is
off unless `--dropout` is given (the two draw different masks, so that only first losses without it agree). With `--bf16` both
multiply bfloat16: the original under `torch.autocast`, as its trainer does with `bf16=True`.

Run it with OMP_WAIT_POLICY=PASSIVE on a machine that does other work too: threads of the original that wait actively count
as processor time.

Printed per case: the median seconds of a step by wall clock and by processor time of the process, the ratio of each, the
first losses, and where our time goes. Needs the packages of benchmarks/opponents/requirements.txt.
"""

import argparse
import json
import random
import statistics
import subprocess
import time


def process_time(pid: int) -> float:
    """Processor seconds of a process and its threads (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


class Ours:
    def __init__(self, worker: str, folder: str, threads: int):
        self.process = subprocess.Popen([worker, folder, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("our worker ended")
        return json.loads(answer)

    def step(self) -> dict:
        before = process_time(self.process.pid)
        start = time.perf_counter()
        answer = self.ask({"step": True})
        answer["wall"] = time.perf_counter() - start
        answer["cpu"] = process_time(self.process.pid) - before
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Original:
    def __init__(self, folder: str, threads: int, dropout: bool, bf16: bool):
        import torch
        from sentence_transformers import SentenceTransformer, losses

        self.torch = torch
        self.bf16 = bf16
        torch.set_num_threads(threads)
        self.model = SentenceTransformer(folder, device="cpu", local_files_only=True)
        self.model.train()
        if not dropout:
            for module in self.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
                if hasattr(module, "dropout_prob"):
                    module.dropout_prob = 0.0
        self.losses = {
            "mnrl": losses.MultipleNegativesRankingLoss(self.model, scale=20.0),
            "cosine": losses.CosineSimilarityLoss(self.model),
        }
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)

    def set(self, request: dict):
        self.loss = self.losses[request["loss"]]
        self.columns = []
        for texts in request["columns"]:
            longest = max(map(len, texts))
            ids = self.torch.tensor([text + [0] * (longest - len(text)) for text in texts])
            mask = self.torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
            self.columns.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": self.torch.zeros_like(ids)})
        self.labels = self.torch.tensor(request["labels"])

    def step(self) -> dict:
        before, start = time.process_time(), time.perf_counter()
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.bf16):
            loss = self.loss([dict(column) for column in self.columns], self.labels)
        value = loss.item()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": value, "wall": time.perf_counter() - start, "cpu": time.process_time() - before}


def case(loss: str, texts: int, length: int, mixed: bool) -> dict:
    draw = random.Random(12)
    column = lambda: [
        [101] + [draw.randrange(1000, 30000) for _ in range((draw.randint(length // 4, length) if mixed else length) - 2)] + [102]
        for _ in range(texts)
    ]
    return {"loss": loss, "columns": [column(), column()], "labels": [draw.random() for _ in range(texts)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--worker", default="target/release/examples/step_contestant")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--losses", nargs="+", default=["mnrl", "cosine"], choices=["mnrl", "cosine"])
    parser.add_argument("--steps", type=int, default=7, help="measured steps of each")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--dropout", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    print("| loss | tokens | ours s/step | original s/step | ratio | ours CPU s | original CPU s | ratio | first losses |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    shares = []
    for loss in arguments.losses:
        for length in arguments.lengths:
            request = case(loss, arguments.batch, length, arguments.mixed) | {"dropout": arguments.dropout, "bf16": arguments.bf16}
            original = Original(arguments.folder, arguments.threads, arguments.dropout, arguments.bf16)
            ours = Ours(arguments.worker, arguments.folder, arguments.threads)
            ours.ask(request)
            original.set(request)
            first = ours.step()["loss"], original.step()["loss"]
            steps = [(ours.step(), original.step()) for _ in range(arguments.steps)]
            median = lambda which, key: statistics.median(step[which][key] for step in steps)
            wall, cpu = (median(0, "wall"), median(1, "wall")), (median(0, "cpu"), median(1, "cpu"))
            print(
                f"| {loss} | {length} | {wall[0]:.3f} | {wall[1]:.3f} | **{wall[1] / wall[0]:.2f}** "
                f"| {cpu[0]:.3f} | {cpu[1]:.3f} | **{cpu[1] / cpu[0]:.2f}** | {first[0]:.6f} {first[1]:.6f} |",
                flush=True,
            )
            if not arguments.dropout and abs(first[0] - first[1]) > (0.02 if arguments.bf16 else 1e-5) * max(1.0, abs(first[1])):
                raise SystemExit("the first losses differ")
            parts = {part: median(0, part) for part in ("forward", "backward", "optimizer")}
            total = sum(parts.values())
            shares.append(f"{loss}, {length} tokens: " + ", ".join(f"{part} {100 * time / total:.0f} %" for part, time in parts.items()))
            ours.close()
    print("\nOurs:", *shares, sep="\n  ")


if __name__ == "__main__":
    main()
