"""The original library as a contestant: `python worker.py KIND MODEL_FOLDER THREADS`; the protocol is bench-protocol's.

Kinds: torch, torch-int8 (dynamic), onnx, onnx-o3, onnx-int8, openvino, openvino-bf16, openvino-int8, limits (rates of MKL only).
"""

import time

START = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

# Kind to backend and model file; export.py makes the files.
FILES = {
    "torch": ("torch", None),
    "torch-int8": ("torch", None),
    "onnx": ("onnx", "onnx/model.onnx"),
    "onnx-o3": ("onnx", "onnx/model_O3.onnx"),
    "onnx-int8": ("onnx", "onnx/model_qint8_avx512_vnni.onnx"),
    "openvino": ("openvino", "openvino/openvino_model.xml"),
    "openvino-bf16": ("openvino", "openvino/openvino_model.xml"),
    "openvino-int8": ("openvino", "openvino/openvino_model_qint8_quantized.xml"),
}


def load(kind: str, folder: str, threads: int):
    backend, file = FILES[kind]
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    from sentence_transformers import SentenceTransformer

    imported = time.perf_counter()
    options: dict = {"file_name": file} if file else {}
    if backend == "onnx":
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        session.inter_op_num_threads = 1
        options |= {"session_options": session, "provider": "CPUExecutionProvider"}
    elif backend == "openvino":
        options["ov_config"] = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if kind == "openvino":
            # Left alone, it multiplies bf16 where the processor can.
            options["ov_config"]["INFERENCE_PRECISION_HINT"] = "f32"
    model = SentenceTransformer(folder, device="cpu", backend=backend, model_kwargs=options, local_files_only=True)
    if kind == "torch-int8":
        model[0].auto_model = torch.ao.quantization.quantize_dynamic(model[0].auto_model, {torch.nn.Linear}, torch.qint8)
    return model, imported


def read(request: dict) -> list[str]:
    return Path(request["path"]).read_text(encoding="utf-8").split("\n")[:-1][: request.get("n")]


def answer(model, request: dict) -> dict:
    if request["op"] == "encode":
        texts = read(request)
        start = time.perf_counter()
        vectors = model.encode(texts, batch_size=request.get("batch_size") or 32, show_progress_bar=False)
        seconds = time.perf_counter() - start
        if request.get("out"):
            import numpy

            numpy.save(request["out"], vectors.astype("<f4"))
        return {"seconds": seconds, "texts": len(texts), "dimension": int(vectors.shape[1])}
    if request["op"] == "single":
        times = []
        for text in read(request):
            start = time.perf_counter()
            model.encode(text, show_progress_bar=False)
            times.append((time.perf_counter() - start) * 1e3)
        return {"milliseconds": times}
    if request["op"] == "tokens":
        texts = read(request)
        if not hasattr(model[0], "auto_model"):
            return {"tokens": [len(encoding.ids) for encoding in model.tokenizer.encode_batch(texts, add_special_tokens=False)]}
        ids = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
        return {"tokens": [len(row) for row in ids]}
    if request["op"] == "rates":
        return {"rates": {}}
    raise ValueError(f"not a request: {request}")


def main() -> None:
    kind, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = sys.stdout
    sys.stdout = sys.stderr
    if kind == "limits":
        import packed_products

        model, imported = packed_products.Rates(folder, threads), time.perf_counter()
        loaded, version, reply = imported, model.version, packed_products.answer
    else:
        import logging

        logging.disable(logging.WARNING)
        model, imported = load(kind, folder, threads)
        loaded, reply = time.perf_counter(), answer
        model.encode("The weather is lovely today.", show_progress_bar=False)
        import sentence_transformers

        version = sentence_transformers.__version__
    ready = {
        "ready": True,
        "version": version,
        "import": imported - START,
        "load": loaded - imported,
        "first": time.perf_counter() - loaded,
    }
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "quit":
            break
        try:
            reply_to = reply(model, request)
        except Exception as error:  # the harness shows it
            reply_to = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply_to), file=answers, flush=True)


if __name__ == "__main__":
    main()
