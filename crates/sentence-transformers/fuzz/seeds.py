"""Fills fuzz/corpus with seeds: the files of the repository's small models, and hostile ones."""

import pathlib

FUZZ = pathlib.Path(__file__).parent
FIXTURES = FUZZ.parents[2] / "fixtures"
MODEL_CONFIG = ["config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json", "2_Dense/config.json"]
TOKENIZER_CONFIG = ["tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]
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
    write("card", "plain", b"---\ntags:\n- a\n---\n# Title\nmodel = SentenceTransformer(\"sentence_transformers_model_id\")\n")
    for number, content in enumerate(HOSTILE):
        for target in ("modules_json", "tokenizer", "adapter"):
            write(target, f"hostile-{number}", content)
        for target in ("model_config", "module_config", "tokenizer_config"):
            write(target, f"hostile-{number}", bytes([number]) + content)


if __name__ == "__main__":
    main()
