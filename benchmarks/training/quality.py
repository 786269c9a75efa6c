"""Quality of training on the STS benchmark: the original, and a tiny random model for both.

    pip install -r ../opponents/requirements.txt "accelerate<2" "datasets<5"
    python quality.py make MINILM TINY               # a tiny random BERT with MiniLM's vocabulary, for both sides
    python quality.py train MODEL STSB.tsv.gz [--epochs 1] [--batch 16] [--rate 2e-5] [--seeds 42 43 44]

The Rust side reads the same folder and file:

    cargo run --release -p st-train --example training_quality -- MODEL STSB.tsv.gz --epochs 1 --batch 16 --rate 2e-5 --seeds 42 43 44
"""

import argparse
import csv
import gzip
import tempfile
import time

import torch


def make(minilm, tiny):
    from transformers import AutoTokenizer, BertConfig, BertModel

    from sentence_transformers import SentenceTransformer, models

    torch.manual_seed(20261124)
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = models.Transformer(folder, max_seq_length=64)
    SentenceTransformer(modules=[transformer, models.Pooling(64)], device="cpu").save(tiny)


def train(arguments):
    from datasets import Dataset

    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator
    from sentence_transformers.losses import CosineSimilarityLoss

    rows = list(csv.DictReader(gzip.open(arguments.data, "rt", encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE))
    split = lambda name: [row for row in rows if row["split"] == name]
    columns = lambda part: (
        [row["sentence1"] for row in part],
        [row["sentence2"] for row in part],
        [float(row["score"]) / 5 for row in part],
    )
    first, second, scores = columns(split("train"))
    data = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": scores})
    evaluator = EmbeddingSimilarityEvaluator(*columns(split("dev")), name="dev", write_csv=False)
    for seed in arguments.seeds:
        model = SentenceTransformer(arguments.model, device="cpu")
        before = evaluator(model)["dev_spearman_cosine"]
        with tempfile.TemporaryDirectory() as folder:
            settings = SentenceTransformerTrainingArguments(
                output_dir=folder,
                report_to=[],
                use_cpu=True,
                save_strategy="no",
                logging_steps=50,
                disable_tqdm=True,
                num_train_epochs=arguments.epochs,
                per_device_train_batch_size=arguments.batch,
                learning_rate=arguments.rate,
                warmup_ratio=0.1,
                seed=seed,
            )
            trainer = SentenceTransformerTrainer(model=model, args=settings, train_dataset=data, loss=CosineSimilarityLoss(model))
            start = time.time()
            trainer.train()
        after = evaluator(model)["dev_spearman_cosine"]
        print(f"seed {seed}: dev Spearman {100 * before:.2f} -> {100 * after:.2f}, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("make")
    command.add_argument("minilm")
    command.add_argument("tiny")
    command = commands.add_parser("train")
    command.add_argument("model")
    command.add_argument("data")
    command.add_argument("--epochs", type=float, default=1)
    command.add_argument("--batch", type=int, default=16)
    command.add_argument("--rate", type=float, default=2e-5)
    command.add_argument("--seeds", type=int, nargs="+", default=[42])
    arguments = parser.parse_args()
    make(arguments.minilm, arguments.tiny) if arguments.command == "make" else train(arguments)
