//! Who takes part.

use super::places::Places;
use super::workloads::Model;
use std::process::Command;

/// One library with one number format.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) program: Program,
    pub(crate) runs: Runs,
    pub(crate) multiplies: Multiplies,
}

/// What a contestant multiplies, whatever its weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Multiplies {
    F32,
    /// 16-bit floats: twice the rate of f32, and a hundredth of its accuracy.
    Bf16,
    Int8,
}

impl Multiplies {
    /// The machine's limit that it is held to, as `rust-opponents/src/bin/limits.rs` names it.
    pub(crate) fn peak(self) -> &'static str {
        match self {
            Self::F32 => "fma",
            Self::Bf16 => "bf16",
            Self::Int8 => "vnni",
        }
    }
}

/// How a contestant is started.
#[derive(Debug)]
pub(crate) enum Program {
    /// benchmarks/opponents/worker.py with this kind.
    Original(&'static str),
    Candle,
    /// The crate `ort` with this file of the exports.
    OnnxRuntime(&'static str),
    Model2Vec,
    /// benchmarks/worker with these weights.
    Ours(&'static str),
}

/// Which models a contestant can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Everything,
    Encoders,
    /// BERT itself only.
    Bert,
    Tables,
}

/// All contestants. The first is what the others are compared with.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    of("torch", "the original, PyTorch f32", Program::Original("torch"), Runs::Everything, Multiplies::F32),
    of(
        "torch-int8",
        "the original, PyTorch dynamic int8",
        Program::Original("torch-int8"),
        Runs::Encoders,
        Multiplies::Int8,
    ),
    of("onnx", "the original, ONNX backend f32", Program::Original("onnx"), Runs::Encoders, Multiplies::F32),
    of("onnx-o3", "the original, ONNX backend O3", Program::Original("onnx-o3"), Runs::Encoders, Multiplies::F32),
    of(
        "onnx-int8",
        "the original, ONNX backend qint8 avx512_vnni",
        Program::Original("onnx-int8"),
        Runs::Encoders,
        Multiplies::Int8,
    ),
    of(
        "openvino",
        "the original, OpenVINO backend f32",
        Program::Original("openvino"),
        Runs::Encoders,
        Multiplies::F32,
    ),
    of(
        "openvino-bf16",
        "the original, OpenVINO backend as it comes: on a processor with bf16 it multiplies bf16",
        Program::Original("openvino-bf16"),
        Runs::Encoders,
        Multiplies::Bf16,
    ),
    of(
        "openvino-int8",
        "the original, OpenVINO backend static qint8",
        Program::Original("openvino-int8"),
        Runs::Encoders,
        Multiplies::Int8,
    ),
    of("candle", "candle-transformers' BERT f32", Program::Candle, Runs::Bert, Multiplies::F32),
    of("ort", "the crate ort, O3 f32", Program::OnnxRuntime("model_O3.onnx"), Runs::Encoders, Multiplies::F32),
    of(
        "ort-int8",
        "the crate ort, qint8 avx512_vnni",
        Program::OnnxRuntime("model_qint8_avx512_vnni.onnx"),
        Runs::Encoders,
        Multiplies::Int8,
    ),
    of("model2vec-rs", "the crate model2vec-rs", Program::Model2Vec, Runs::Tables, Multiplies::F32),
    of("ours", "this library, f32", Program::Ours("float32"), Runs::Everything, Multiplies::F32),
    of("ours-bf16", "this library, bf16 weights", Program::Ours("bfloat16"), Runs::Encoders, Multiplies::F32),
    of("ours-f16", "this library, f16 weights", Program::Ours("float16"), Runs::Encoders, Multiplies::F32),
    of(
        "ours-bf16-products",
        "this library, bf16 weights and products",
        Program::Ours("bfloat16-products"),
        Runs::Encoders,
        Multiplies::Bf16,
    ),
    of("ours-int8", "this library, int8", Program::Ours("int8"), Runs::Encoders, Multiplies::Int8),
];

const fn of(
    name: &'static str,
    about: &'static str,
    program: Program,
    runs: Runs,
    multiplies: Multiplies,
) -> Contestant {
    Contestant { name, about, program, runs, multiplies }
}

impl Contestant {
    pub(crate) fn runs(&self, model: &Model) -> bool {
        match self.runs {
            Runs::Everything => true,
            Runs::Encoders => !model.table,
            Runs::Bert => model.short == "minilm",
            Runs::Tables => model.table,
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.program, Program::Ours(_))
    }

    /// Whether the batch size is its own affair.
    pub(crate) fn batches_itself(&self) -> bool {
        self.is_ours()
    }

    /// The command that starts it.
    pub(crate) fn command(&self, places: &Places, model: &Model, threads: usize) -> Vec<String> {
        let folder = places.model_folder(model).display().to_string();
        let threads = threads.to_string();
        let rust = |name: &str| places.rust_opponents.join(name).display().to_string();
        match self.program {
            Program::Original(kind) => places.python("worker.py", &[kind, &folder, &threads]),
            Program::Candle => vec![rust("candle"), folder],
            Program::OnnxRuntime(file) => {
                let library = places.onnx_library.display().to_string();
                vec![rust("onnx_runtime"), folder.clone(), format!("{folder}/onnx/{file}"), threads, library]
            }
            Program::Model2Vec => vec![rust("model2vec"), places.model2vec_folder().display().to_string()],
            Program::Ours(weights) => {
                vec![places.ours.display().to_string(), folder, weights.to_owned(), threads]
            }
        }
    }
}

/// Everything that any of the libraries reads the number of threads from, and no downloads.
pub(crate) fn environment(command: &mut Command, threads: usize) {
    for variable in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    for variable in ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env(variable, "1");
    }
    command.env("TOKENIZERS_PARALLELISM", "true");
}

#[cfg(test)]
mod tests {
    use super::super::workloads::MODELS;
    use super::*;

    #[test]
    fn the_original_comes_first_and_every_model_has_us() {
        assert_eq!(CONTESTANTS[0].name, "torch");
        for model in MODELS {
            assert!(CONTESTANTS[0].runs(model));
            assert!(CONTESTANTS.iter().any(|one| one.is_ours() && one.runs(model)));
        }
        let candle = CONTESTANTS.iter().find(|one| one.name == "candle").unwrap();
        assert_eq!(MODELS.iter().filter(|model| candle.runs(model)).count(), 1, "candle has no MPNet");
    }
}
