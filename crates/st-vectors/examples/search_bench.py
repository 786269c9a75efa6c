"""The original's side of search_bench.rs: seconds per util.semantic_search, best of several runs."""

import sys
import time

import torch
from sentence_transformers import util

RUNS = 9


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
        best = float("inf")
        for _ in range(RUNS):
            start = time.perf_counter()
            util.semantic_search(vectors, corpus, score_function=function)
            best = min(best, time.perf_counter() - start)
        print(f"{name:<24} {best * 1e3:9.2f} ms")


main()
