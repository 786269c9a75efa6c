"""Makes what the opponents load: `python export.py MODEL_FOLDER OUT_FOLDER CALIBRATION_FILE`.

A copy of the model's folder with the original's own exports beside it: ONNX, ONNX optimised to O3, ONNX dynamic int8 for
AVX-512 VNNI, OpenVINO, OpenVINO static int8. What is there already is not made again.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from sentence_transformers import (
    SentenceTransformer,
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
    export_static_quantized_openvino_model,
)


def loaded(folder: Path, backend: str, **options: str) -> SentenceTransformer:
    if backend == "onnx":
        options["provider"] = "CPUExecutionProvider"
    return SentenceTransformer(str(folder), device="cpu", backend=backend, model_kwargs=options, local_files_only=True)


def main() -> None:
    source, folder, calibration = (Path(argument) for argument in sys.argv[1:4])
    if not (folder / "modules.json").exists():
        shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    if not (folder / "onnx/model.onnx").exists():
        loaded(folder, "onnx", export=True).save_pretrained(str(folder))
    if not (folder / "onnx/model_O3.onnx").exists():
        model = loaded(folder, "onnx", file_name="onnx/model.onnx")
        export_optimized_onnx_model(model, "O3", str(folder))
    if not (folder / "onnx/model_qint8_avx512_vnni.onnx").exists():
        model = loaded(folder, "onnx", file_name="onnx/model.onnx")
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))
    if not (folder / "openvino/openvino_model.xml").exists():
        loaded(folder, "openvino", export=True).save_pretrained(str(folder))
    if not (folder / "openvino/openvino_model_qint8_quantized.xml").exists():
        model = loaded(folder, "openvino", file_name="openvino/openvino_model.xml")
        # The original takes any data set; its default would have to be downloaded.
        with tempfile.TemporaryDirectory() as texts:
            with (Path(texts) / "train.jsonl").open("w", encoding="utf-8") as file:
                for line in calibration.read_text(encoding="utf-8").splitlines():
                    file.write(json.dumps({"sentence": line}) + "\n")
            export_static_quantized_openvino_model(
                model,
                None,
                str(folder),
                dataset_name=texts,
                dataset_config_name="default",
                dataset_split="train",
                column_name="sentence",
            )


if __name__ == "__main__":
    main()
