"""Fills fuzz/corpus with seeds: the files of the repository's small models, and hostile ones."""

import json
import pathlib

FUZZ = pathlib.Path(__file__).parent
FIXTURES = FUZZ.parents[2] / "fixtures"
MODEL_CONFIG = ["config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json", "2_Dense/config.json"]
TOKENIZER_CONFIG = ["tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]
# What preprocessors of CLIP are told in other ways than the repository's model.
PREPROCESSORS = [
    {},
    {"size": 24, "crop_size": 24, "resample": 2, "feature_extractor_type": "CLIPFeatureExtractor"},
    {"size": {"height": 30, "width": 25}, "crop_size": {"height": 24, "width": 24}, "image_mean": 0.5, "image_std": 0.5},
    {"do_resize": False, "crop_size": 24, "do_rescale": False, "do_normalize": False},
    {"size": {"height": 24, "width": 24}, "do_center_crop": False},
    {"size": 65536, "crop_size": 24, "rescale_factor": 1e300, "image_std": [1e-30, 1e-50, 5e-324]},
    {"do_resize": False, "do_center_crop": False},
]
HOSTILE = [b"", b"{", b"[]", b"null", b"[" * 500, b'{"a":' * 200, b'{"a": 1, "a": 2}', b'{"max_seq_length": 1e999}', b"\xff\xfe{}"]


def write(target, name, content):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def main():
    for folder in sorted(FIXTURES.glob("models*/*")):
        if not folder.is_dir():
            continue
        for target, name in (("modules_json", "modules.json"), ("tokenizer", "tokenizer.json")):
            if (folder / name).is_file():
                write(target, folder.name, (folder / name).read_bytes())
        for target, names in (("model_config", MODEL_CONFIG), ("tokenizer_config", TOKENIZER_CONFIG)):
            for number, name in enumerate(names):
                if (folder / name).is_file():
                    write(target, f"{folder.name}-{number}", bytes([number]) + (folder / name).read_bytes())
        for path in folder.rglob("*config*.json"):
            for kind in range(0, 40, 3):
                write("module_config", f"{folder.name}-{path.parent.name}-{kind}", bytes([kind]) + path.read_bytes())
    for path in (FIXTURES / "adapters").rglob("adapter_config.json"):
        write("adapter", path.parent.name, path.read_bytes())
    preprocessor = json.loads((FIXTURES / "clip/model/preprocessor_config.json").read_bytes())
    for number, config in enumerate([preprocessor, *PREPROCESSORS]):
        write("preprocessor_config", f"older-{number}", b"\0" + json.dumps(config).encode())
        write("preprocessor_config", f"newer-{number}", b"\1" + json.dumps({"image_processor": config}).encode())
    for path in (FIXTURES / "clip/images").iterdir():
        content = path.read_bytes()
        write("image", path.name, content)
        write("image", f"half-{path.name}", content[: len(content) // 2])
    write("card", "plain", b"---\ntags:\n- a\n---\n# Title\nmodel = SentenceTransformer(\"sentence_transformers_model_id\")\n")
    for number, content in enumerate(HOSTILE):
        for target in ("modules_json", "tokenizer", "adapter", "image"):
            write(target, f"hostile-{number}", content)
        for target in ("model_config", "module_config", "tokenizer_config", "preprocessor_config"):
            write(target, f"hostile-{number}", bytes([number]) + content)


if __name__ == "__main__":
    main()
