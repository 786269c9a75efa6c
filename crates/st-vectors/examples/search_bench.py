"""The original's side of search_bench.rs: time of functions of util, best of several runs."""

import sys
import time

import torch
from sentence_transformers import util
from sentence_transformers.quantization import quantize_embeddings

RUNS = 9


def best(name: str, run) -> None:
    seconds = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds = min(seconds, time.perf_counter() - start)
    print(f"{name:<24} {seconds * 1e3:9.2f} ms", flush=True)


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]] + [50_000, 384, 100][len(sys.argv) - 1 :]
    rows, dimension, queries = numbers
    torch.manual_seed(1)
    print(f"{rows} rows of {dimension}, {queries} queries, {torch.get_num_threads()} threads, torch {torch.__version__}")
    corpus, asked = torch.rand(rows, dimension) * 2 - 1, torch.rand(queries, dimension) * 2 - 1
    cases = {
        "cosine": (asked, util.cos_sim),
        "dot": (asked, util.dot_score),
        "euclidean": (asked, util.euclidean_sim),
        "manhattan": (asked, util.manhattan_sim),
        "cosine, one query": (asked[0], util.cos_sim),
    }
    for name, (vectors, function) in cases.items():
        best(name, lambda: util.semantic_search(vectors, corpus, score_function=function))  # noqa: B023
    count = -(-rows // 5)
    centres = torch.rand(-(-rows // 250), dimension) * 2 - 1
    near = centres[torch.arange(count) % len(centres)] + 0.3 * (torch.rand(count, dimension) * 2 - 1)
    best("paraphrase mining", lambda: util.paraphrase_mining_embeddings(near))
    best("communities", lambda: util.community_detection(near))
    best("cos_sim", lambda: util.cos_sim(asked, corpus))
    best("pairwise_cos_sim", lambda: util.pairwise_cos_sim(corpus, corpus))
    numbers = corpus.numpy()
    for precision in ["int8", "ubinary"]:
        best(f"quantise to {precision}", lambda: quantize_embeddings(numbers, precision))  # noqa: B023


main()
