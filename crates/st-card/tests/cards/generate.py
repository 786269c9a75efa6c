"""Writes the cards and facts of this folder with the original sentence-transformers 5.2.3.

    python crates/st-card/tests/cards/generate.py        # from the repository's root

Versions and seed: see fixtures/README.md (transformers 4.57.6; neither `datasets` nor `accelerate` installed, so rows of
a dataset are handed to the original by the class Dataset below). Each case is a pair NAME.json (the facts, as our types
read them) and NAME.md (the card that the original wrote for them).
"""

import json
import os
import random
from pathlib import Path
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import sentence_transformers.model_card as original
from sentence_transformers import SentenceTransformer, evaluation, losses, models
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[3] / "fixtures" / "models"


class Dataset:
    """What the original asks of `datasets.Dataset` for statistics and samples."""

    def __init__(self, columns):
        self.columns = columns

    column_names = property(lambda self: list(self.columns))

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows):
        return {name: values[rows] for name, values in self.columns.items()}


original.Dataset = Dataset
original.DatasetDict = type("DatasetDict", (dict,), {})


def load(name="tiny-bert", **fields):
    data = original.SentenceTransformerModelCardData(local_files_only=True, **fields)
    model = SentenceTransformer(str(MODELS / name), model_card_data=data)
    model._model_card_text = None
    return model


def loss_facts(loss):
    facts = {"name": type(loss).__name__}
    if not type(loss).__module__.startswith("sentence_transformers."):
        facts["full_name"] = f"{type(loss).__module__}.{type(loss).__name__}"
    if hasattr(loss, "get_config_dict"):
        config = loss.get_config_dict()
        facts["parameters"] = {
            key: f"SentenceTransformer({value.model_card_data.base_model!r})"
            if isinstance(value, SentenceTransformer)
            else (type(value).__name__ if isinstance(value, torch.nn.Module) else value)
            for key, value in config.items()
        }
    if hasattr(loss, "loss"):
        facts["inner"] = [loss_facts(loss.loss)]
    return facts


def dataset_facts(model, info, columns, loss):
    lengths = {
        name: model.tokenize(values[:1000])["attention_mask"].sum(dim=1).tolist()
        for name, values in columns.items()
        if isinstance(values[0], str)
    }
    return {
        "facts": {**info, "loss": loss_facts(loss)},
        "columns": list(columns.items()),
        "token_lengths": lengths,
    }


def evaluation_facts(evaluator, metrics, epoch, step):
    facts = {
        "class_name": type(evaluator).__name__,
        "name": getattr(evaluator, "name", ""),
        "primary_metric": getattr(evaluator, "primary_metric", None),
        "config": evaluator.get_config_dict(),
        "metrics": list(metrics.items()),
    }
    if not type(evaluator).__module__.startswith("sentence_transformers."):
        facts["full_name"] = f"{type(evaluator).__module__}.{type(evaluator).__name__}"
    return [facts, epoch, step]


class Case:
    """Does the same to the original's card data and to the facts."""

    def __init__(self, name, model):
        self.name, self.model, self.data = name, model, model.model_card_data
        self.train, self.eval, self.losses, self.evaluations = [], [], [], []
        self.ir_model = None

    def datasets(self, purpose, entries):
        described, facts = [], []
        for info, columns, loss in entries:
            described.append(self.data.compute_dataset_metrics(Dataset(columns), dict(info), loss))
            facts.append(dataset_facts(self.model, info, columns, loss))
        if purpose == "train":
            rows = sum(entry["size"] for entry in described)
            self.data.add_tags(f"dataset_size:{rows}")
            if any(name in ("query", "question") for _, columns, _ in entries for name in columns):
                self.data.ir_model = True
        setattr(self.data, f"{purpose}_datasets", self.data.validate_datasets(described))
        setattr(self, purpose, facts)

    def set_losses(self, *used):
        self.data.set_losses(original.get_losses({str(index): loss for index, loss in enumerate(used)}))
        self.losses = [loss_facts(loss) for loss in used]

    def evaluate(self, evaluator, metrics=None, epoch=-1, step=-1):
        if metrics is None:
            metrics = {key: float(value) for key, value in evaluator(self.model).items()}
        else:
            self.data.set_evaluation_metrics(evaluator, metrics, epoch, step)
        self.evaluations.append(evaluation_facts(evaluator, metrics, epoch, step))

    def write(self):
        model, data = self.model, self.data
        evaluated_logs = len(self.evaluations) > 0
        facts = {
            "data": {
                "language": data.language,
                "license": data.license,
                "model_name": data.model_name,
                "model_id": data.model_id,
                "task_name": data.task_name,
                "tags": [tag for tag in data.tags if not tag.startswith(("loss:", "dataset_size:"))],
                "generate_widget_examples": data.generate_widget_examples,
                "base_model": data.base_model,
                "base_model_revision": data.base_model_revision,
                "datasets": data.datasets,
                "widget": data.widget,
                "predict_example": data.predict_example,
                "ir_model": self.ir_model,
                "best_model_step": data.best_model_step,
                "training_logs": []
                if evaluated_logs
                else [
                    {
                        "epoch": line["Epoch"],
                        "step": line["Step"],
                        "values": [[key, value] for key, value in line.items() if key not in ("Epoch", "Step")],
                    }
                    for line in data.training_logs
                ],
                "non_default_hyperparameters": data.non_default_hyperparameters,
                "all_hyperparameters": data.all_hyperparameters,
            },
            "train": self.train,
            "eval": self.eval,
            "losses": self.losses,
            "evaluations": self.evaluations,
        }
        if data.code_carbon_callback:
            emissions = data.get_codecarbon_data()["co2_eq_emissions"]
            facts["data"]["emissions"] = {
                key: value for key, value in emissions.items() if key not in ("source", "training_type")
            }
        card = original.generate_model_card(model)
        versions = {
            "Python": "python",
            "Sentence Transformers": "sentence_transformers",
            "Transformers": "transformers",
            "PyTorch": "torch",
            "Accelerate": "accelerate",
            "Datasets": "datasets",
            "Tokenizers": "tokenizers",
        }
        limit = model.get_max_seq_length()
        facts["model"] = {
            "architecture": str(model),
            "max_seq_length": "unlimited" if limit == float("inf") else {"tokens": limit},
            "output_dimensionality": model.get_sentence_embedding_dimension(),
            "similarity_function": model.similarity_fn_name,
            "prompts": list(model.prompts.items()),
            "has_router": False,
            "versions": [[label, data.version.get(key, "")] for label, key in versions.items()],
        }
        if data.generate_widget_examples:
            if data.ir_model:
                queries = model.encode_query(data.predict_example[:1])
                matrix = model.similarity(queries, model.encode_document(data.predict_example[1:]))
            else:
                embeddings = model.encode(data.predict_example)
                matrix = model.similarity(embeddings, embeddings)
            facts["model"]["similarities"] = {"values": matrix.flatten().tolist(), "width": matrix.shape[1]}
        (HERE / f"{self.name}.md").write_bytes(card.encode())
        (HERE / f"{self.name}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")


def plain():
    Case("fresh", load()).write()
    Case("retrieval", load("tiny-bert-prompts")).write()
    embedding = models.StaticEmbedding(AutoTokenizer.from_pretrained(MODELS / "tiny-bert"), embedding_dim=8)
    embedding.embedding.weight.data = torch.sin(torch.arange(embedding.embedding.weight.numel()).float()).reshape(-1, 8)
    model = SentenceTransformer(modules=[embedding], similarity_fn_name="dot")
    model.model_card_data.local_files_only = True
    Case("static", model).write()


def described():
    model = load(
        language=["en", "de"],
        license="apache-2.0",
        model_id="org/my-model",
        task_name="nothing in particular",
        generate_widget_examples=False,
    )
    case = Case("described", model)
    case.data.base_model, case.data.base_model_revision = "org/base", "0123456789abcdef0123456789abcdef01234567"
    case.data.add_tags(["first", "a: tag", "2020", "yes"])
    case.data.datasets = ["org/first", "org/second"]
    case.data.predict_example = ["It's \"quoted\" \\ here", "two\nlines", "ünï\t\xa0\u200b\x07😀", "and a | fourth"]
    case.write()


def hostile():
    """What YAML and the usage example make of arbitrary text."""
    rng = random.Random(7)
    alphabet = "-?:,[]{}#&*!|>'\"%@` a1.~=\\\n\t\ré日😀\u2028\xa0\x07"
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(24))) for _ in range(120)]
    words = ["word", "it's", "a:", "#b", "line\nbreak", "😀", '"q"', "tab\t", "é" * 12, "- x"]
    texts += [rng.choice([" ", "  ", ""]).join(rng.choices(words, k=rng.randrange(1, 40))) for _ in range(60)]
    texts += [" ".join(rng.choices(words[:4], k=40)) for _ in range(10)]
    texts += ["", " ", "~", "null", "True", "0x1f", "1_000", "1:30", ".5", "1e5", "1.e+5", "<<", "=", "---", "...x", "-", "?"]
    model = load(language="no", license="a 'licence': #1", model_name="A name: #1", generate_widget_examples=False)
    case = Case("hostile", model)
    case.data.widget = [
        {"source_sentence": texts[index], "sentences": texts[index : index + 5]} for index in range(0, len(texts), 5)
    ]
    case.data.predict_example = ["<a> & 'b' \"c\" \\ \u2028 é 😀 \x01", "'", "\r\x7f\u2029\u3000'\"", "x"]
    case.data.ir_model = case.ir_model = True
    case.write()


class OwnEvaluator(evaluation.SentenceEvaluator):
    def __init__(self, name=None, primary_metric=None):
        super().__init__()
        if name is not None:
            self.name = name
        self.primary_metric = primary_metric


OwnEvaluator.__module__ = "my_package"


def evaluated():
    case = Case("evaluated", load())
    one, two = ["a b", "c d", "e f", "g"], ["e f", "c d", "b", "a"]
    similarity = evaluation.EmbeddingSimilarityEvaluator
    case.evaluate(similarity(one, two, [0.1, 0.9, 0.3, 0.2], name="sts-dev"))
    case.evaluate(similarity(one, two, [0.7, 0.2, 0.3, 0.1], name="sts_test"))
    case.evaluate(similarity(one, two, [0.1, 0.9, 0.3, 0.2], name="cut", truncate_dim=16))
    case.evaluate(similarity(one, two, [0.4, 0.5, 0.3, 0.2]))
    case.evaluate(evaluation.BinaryClassificationEvaluator(one, two, [0, 1, 1, 0], name="pairs"))
    case.evaluate(evaluation.TripletEvaluator(one, two, two[::-1], name="triplets"))
    samples = [{"query": "a", "positive": ["a b"], "negative": ["c", "d"]}]
    case.evaluate(evaluation.RerankingEvaluator(samples, name="rerank"))
    queries, corpus = {"q": "a b"}, {"d1": "a", "d2": "c d"}
    for name in ("nfcorpus", "scifact"):
        information = evaluation.InformationRetrievalEvaluator
        case.evaluate(information(queries, corpus, {"q": {"d1"}}, name=name, query_prompt="query: "))
    values = {"acc": 1, "time": "12.5 ms", "note": "n/a", "tiny": 1.5e-7, "big": 123456.789012, "low": -1e20}
    case.evaluate(OwnEvaluator(), values, 0, 0)
    case.evaluate(OwnEvaluator("first", "first_x"), {"first_x": 0.5, "first_y": 0.25}, 1.5, 7)
    case.evaluate(OwnEvaluator("second", "second_x"), {"second_y": 0.123456, "second_x": 1.0}, 1.5, 7)
    case.data.set_best_model_step(7)
    case.write()


def columns(kind, rows):
    if kind == "pairs":
        return {
            "anchor": [f"anchor number {row} | with\nmore" if row % 2 else "short" for row in range(rows)],
            "positive": ["p" * (1010 if row == 0 else row % 7 + 1) for row in range(rows)],
            "label": [row % 3 for row in range(rows)],
        }
    return {
        "text": [f"text {row}" for row in range(rows)],
        "score": [round(row / rows, 3) for row in range(rows)],
        "vector": [[0.5, 1.0, 2.0, -1.5, 0.25, float(row)] for row in range(rows)],
        "varied": [list(range(row % 4 + 1)) for row in range(rows)],
        "flag": [row % 5 == 0 for row in range(rows)],
    }


ARGUMENTS = {
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-05,
    "adam_epsilon": 1e-08,
    "num_train_epochs": 1,
    "bf16": True,
    "lr_scheduler_kwargs": None,
    "fsdp": [],
    "accelerator_config": {"split_batches": False, "dispatch_batches": None, "note": "it's"},
    "mp_parameters": "",
    "prompts": {"anchor": "query: "},
}


def trained():
    case = Case("trained", load())
    model = case.model
    case.data.add_tags("generated_from_trainer")
    ranking = losses.MultipleNegativesRankingLoss(model)
    nested = losses.MatryoshkaLoss(model, ranking, [32, 16])
    case.datasets(
        "train",
        [
            ({"name": "all-nli", "id": "org/all-nli", "revision": "d482672c8e74ce18da116f430137434ba2e52fab"}, columns("pairs", 1010), nested),
            ({"name": "stsb"}, columns("scores", 12), losses.CoSENTLoss(model)),
        ],
    )
    case.datasets("eval", [({"name": "dev"}, columns("pairs", 2), losses.SoftmaxLoss(model, 32, 2))])
    case.set_losses(nested, losses.CoSENTLoss(model), losses.SoftmaxLoss(model, 32, 2))
    case.data.all_hyperparameters = ARGUMENTS
    case.data.non_default_hyperparameters = {key: ARGUMENTS[key] for key in ("learning_rate", "bf16", "prompts")}
    case.data.training_logs = [
        {"Epoch": 0.123456, "Step": 10, "Training Loss": 0.123456, "dev_spearman_cosine": 0.5},
        {"Epoch": 0.25, "Step": 20, "all nli loss": 1e-05, "Validation Loss": 1.5e-07},
        {"Epoch": 1.0, "Step": 30, "Training Loss": 1e-07, "dev_spearman_cosine": 0.87654321},
    ]
    case.data.set_best_model_step(30)
    case.data.version.update(accelerate="1.10.1", datasets="4.5.0")
    case.write()


class OwnLoss(torch.nn.Module):
    pass


OwnLoss.__module__ = "my_package"


def folded():
    case = Case("folded", load(model_name="Many datasets"))
    model = case.model
    guided = losses.GISTEmbedLoss(model, load())
    case.datasets(
        "train",
        [
            ({"name": "a" * 150, "id": "org/a"}, columns("pairs", 3), losses.TripletLoss(model)),
            ({"name": "b" * 60}, columns("scores", 1), losses.ContrastiveLoss(model)),
            ({"id": "org/c"}, columns("pairs", 1), guided),
            ({}, {"query": ["q"], "answer": ["a"]}, OwnLoss()),
        ],
    )
    case.set_losses(losses.TripletLoss(model), losses.ContrastiveLoss(model), guided, OwnLoss(), losses.BatchHardTripletLoss(model))
    case.data.all_hyperparameters = ARGUMENTS
    case.data.training_logs = [{"Epoch": step / 8, "Step": step, "Training Loss": 3 / step} for step in range(1, 104)]
    measured = SimpleNamespace(
        emissions=0.012345678, energy_consumed=0.0371, on_cloud="N", cpu_model="A: CPU", ram_total_size=31.3, duration=443,
        gpu_model="1 x GPU",
    )
    tracker = SimpleNamespace(_start_time=1, _prepare_emissions_data=lambda: measured)
    case.data.code_carbon_callback = SimpleNamespace(tracker=tracker)
    case.write()


def single():
    case = Case("single", load())
    model = case.model
    pairs = {"sentence_0": ["a b c", "d"], "sentence_1": ["e", "f g"], "label": [1.0, 0.25]}
    case.datasets("train", [({"name": "pairs"}, pairs, losses.CosineSimilarityLoss(model))])
    case.datasets("eval", [({}, pairs, losses.MSELoss(model)), ({"id": "org/pairs"}, pairs, losses.MSELoss(model))])
    case.set_losses(losses.CosineSimilarityLoss(model))
    case.data.all_hyperparameters = ARGUMENTS
    case.data.training_logs = [{"Epoch": -1, "Step": -1, "sre-eval_spearman_cosine": 0.5423654620398104}]
    case.write()


def long_logs():
    case = Case("long-logs", load("tiny-bert-prompts"))
    case.data.training_logs = [{"Epoch": step / 10, "Step": step, "Training Loss": step * 0.1} for step in range(101)]
    case.data.set_best_model_step(20)
    case.write()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(7)
    plain()
    described()
    hostile()
    evaluated()
    trained()
    folded()
    single()
    long_logs()
