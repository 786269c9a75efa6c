"""Makes a static model of realistic size: `python static_table.py TOKENIZER_FOLDER OUT_FOLDER`.

One random vector of 256 components for each token of that folder's vocabulary, twice: OUT_FOLDER/sentence-transformers as
the original saves a StaticEmbedding, OUT_FOLDER/model2vec as model2vec saves one. Speed does not depend on the values.
"""

import json
import sys
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, StaticEmbedding
from tokenizers import Tokenizer

DIMENSION = 256


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    table = numpy.random.default_rng(3).standard_normal((tokenizer.get_vocab_size(), DIMENSION), dtype=numpy.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table), Normalize()], device="cpu")
    model.save_pretrained(str(out / "sentence-transformers"), create_model_card=False)
    folder = out / "model2vec"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"embeddings": table}, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True, "hidden_dim": DIMENSION}))


if __name__ == "__main__":
    main()
