"""Random networks of the sizes of DeBERTa-v3-small and CLIP ViT-B/32 against the original's PyTorch, in turns.

    cargo build --release -p sentence-transformers --features images --example throughput
    python benchmarks/random/compare.py target/release/examples/throughput [--turns 5] [--threads 2]

Weights are random, which costs the same; tokenizers are those of the fixtures, so that a text has many short pieces. In
each turn the original runs and then this library over the same texts or image files. Printed are, by the wall clock and by
processor time, the median rates and the median of the turns' ratios with the smallest and largest. On a machine that does
other work the processor time of one thread is what to go by: threads of PyTorch wait for each other.
"""

import argparse
import json
import pathlib
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import CLIPConfig, CLIPModel, DebertaV2Config, DebertaV2Model

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"
WORDS = "the weather is lovely today and he drove to a small river house by night with bread water music old".split()


def deberta(folder):
    shutil.copytree(FIXTURES / "models/tiny-deberta", folder)
    config = DebertaV2Config(
        vocab_size=128100, hidden_size=768, num_hidden_layers=6, num_attention_heads=12, intermediate_size=3072,
        max_position_embeddings=512, type_vocab_size=0, relative_attention=True, position_buckets=256,
        norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", position_biased_input=False)
    DebertaV2Model(config).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    pooling["word_embedding_dimension"] = 768
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    # The tokenizer's own limit is the tiny model's.
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 512}))


def clip(folder):
    shutil.copytree(FIXTURES / "clip/model", folder)
    special = dict(bos_token_id=531, eos_token_id=532, pad_token_id=532)
    CLIPModel(CLIPConfig(text_config=special)).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    sizes = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))


def texts(count, words):
    draw = random.Random(words)
    return [" ".join(draw.choices(WORDS, k=draw.randint(words // 2, words * 3 // 2))) for _ in range(count)]


def pictures(folder, count):
    draw = numpy.random.default_rng(1)
    paths = []
    for index in range(count):
        small = draw.integers(0, 256, (30, 40, 3), dtype=numpy.uint8)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(small).resize((640, 480), Image.BICUBIC).save(paths[-1], quality=90)
    return paths


def ours(command, rounds):
    """Rates of the rounds, and processor time of the whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run([*command, "--rounds", str(rounds)], capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [float(rate) for rate in re.findall(r": ([0-9.]+) (?:texts|images)/s", output)], used


def compare(name, arguments, folder, inputs, read, *flags):
    model = SentenceTransformer(str(folder), device="cpu")
    listed = folder.parent / "inputs.txt"
    listed.write_text("".join(f"{line}\n" for line in inputs))
    command = [arguments.binary.resolve(), folder, listed, "--threads", str(arguments.threads), *flags]
    model.encode(read(inputs[:8]))
    rates = {"wall clock": [], "processor time": []}
    for _ in range(arguments.turns):
        start, used = time.perf_counter(), time.process_time()
        model.encode(read(inputs))
        wall, used = time.perf_counter() - start, time.process_time() - used
        # The first round warms up, and a run of one round takes what loading takes.
        _, once = ours(command, 1)
        rounds, whole = ours(command, 3)
        rates["wall clock"].append((len(inputs) / wall, statistics.median(rounds[1:])))
        rates["processor time"].append((len(inputs) / used, 2 * len(inputs) / max(whole - once, 1e-9)))
    for clock, pairs in rates.items():
        medians = [statistics.median(rate) for rate in zip(*pairs)]
        ratios = [mine / original for original, mine in pairs]
        print(f"{name}, {clock}: the original {medians[0]:.1f}/s, this library {medians[1]:.1f}/s, ratio "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        deberta(scratch / "deberta")
        clip(scratch / "clip")
        run = lambda name, folder, inputs, read, *flags: compare(  # noqa: E731
            name, arguments, scratch / folder, inputs, read, *flags)
        run("DeBERTa, short texts", "deberta", texts(96, 6), list)
        run("DeBERTa, long texts", "deberta", texts(8, 90), list)
        run("CLIP, texts", "clip", texts(256, 4), list)
        run("CLIP, images", "clip", pictures(scratch, 24), lambda paths: [Image.open(path) for path in paths], "--images")


if __name__ == "__main__":
    main()
