//! Every architecture against the configuration and the checkpoint of a tiny model.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use st_encoder::architectures::{ARCHITECTURES, Architecture, describe};
use st_encoder::{
    Activation, AttentionMask, AttentionPosition, ConvolutionSpec, DisentangledTerms, EncoderSpec, NormKind,
    NormPlacement, NormSpec, PatchSpec, PositionSpec, RotaryScaling, required_slots,
};

/// Tensors that no encoder needs: poolers.
const PASSED_OVER: &[&str] = &["pooler."];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures")
}

fn read(path: &Path) -> (Value, BTreeMap<String, Vec<usize>>) {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let shape = |shape: &Value| shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let tensors = file["tensors"].as_object().unwrap().iter().map(|(name, s)| (name.clone(), shape(s))).collect();
    (file["config"].clone(), tensors)
}

fn spec(name: &str) -> (&'static Architecture, EncoderSpec) {
    let path = fixtures().join(format!("{name}.json"));
    describe(&read(&path).0, &path).unwrap()
}

#[test]
fn every_slot_is_a_tensor_and_every_tensor_a_slot() {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let (config, tensors) = read(&path);
        let (architecture, spec) = describe(&config, &path).unwrap();
        let architecture = architecture.named_as(&spec, |name| tensors.contains_key(name));
        seen.push(architecture.name);
        let mut used: BTreeMap<String, Vec<bool>> = BTreeMap::new();
        for (slot, expected) in required_slots(&spec) {
            let source = (architecture.source)(&spec, slot);
            let name =
                [Some(&source.name), source.or.as_ref()].into_iter().flatten().find(|n| tensors.contains_key(*n));
            let name = name.unwrap_or_else(|| panic!("{}: {slot:?}: no tensor {source:?}", path.display()));
            let mut shape = tensors[name].clone();
            let rows = source.rows.unwrap_or(0..shape[0]);
            let covered = used.entry(name.clone()).or_insert_with(|| vec![false; shape[0]]);
            assert!(rows.end <= shape[0], "{}: {slot:?}: {rows:?} of {shape:?}", path.display());
            shape[0] = rows.len();
            assert_eq!(shape, expected, "{}: {slot:?}", path.display());
            covered[rows].fill(true);
        }
        for name in tensors.keys().filter(|name| !PASSED_OVER.iter().any(|part| name.starts_with(part))) {
            let covered = used.get(name).unwrap_or_else(|| panic!("{}: '{name}' fills no slot", path.display()));
            assert!(covered.iter().all(|&row| row), "{}: rows of '{name}' fill no slot", path.display());
        }
    }
    for architecture in ARCHITECTURES {
        assert!(seen.contains(&architecture.name), "no tiny model of {}", architecture.name);
    }
}

#[test]
fn the_tables_of_positions_start_where_each_family_says() {
    let positions = |name| spec(name).1.embeddings.positions;
    let learned = |offset, padding| PositionSpec::Learned { count: 40, offset, padding };
    assert_eq!(positions("bert"), learned(0, None));
    assert_eq!(positions("mpnet"), learned(2, Some(1)));
    assert_eq!(positions("roberta"), learned(2, Some(1)));
    assert_eq!(positions("camembert"), learned(3, Some(2)));
    assert_eq!(positions("deberta-v2"), learned(0, None));
    for name in ["deberta-v3", "t5", "modernbert", "nomic_bert", "new", "jina_bert", "qwen2", "gemma3_text"] {
        assert_eq!(positions(name), PositionSpec::None, "{name}");
        assert_eq!(spec(name).1.max_sequence, None, "{name}");
    }
    assert_eq!([spec("bert").1.max_sequence, spec("camembert").1.max_sequence], [Some(40), Some(37)]);
}

#[test]
fn post_norm_encoders() {
    for (name, epsilon) in [("bert", 1e-12), ("mpnet", 1e-12), ("xlm-roberta", 1e-5), ("deberta-v3", 1e-7)] {
        let (_, spec) = spec(name);
        let layer = &spec.layers[1];
        assert_eq!((spec.hidden, spec.layers.len(), layer.placement), (32, 3, NormPlacement::Post), "{name}");
        assert_eq!((layer.feed_forward_norm.kind, layer.feed_forward_norm.epsilon), (NormKind::Layer, epsilon));
        assert_eq!((layer.feed_forward.activation, layer.feed_forward.gated), (Activation::Gelu, false));
        assert!(spec.final_norm.is_none() && layer.attention.mask == AttentionMask::Full);
    }
    let (_, mpnet) = spec("mpnet");
    let bias = AttentionPosition::RelativeBias { buckets: 32, max_distance: 128 };
    assert_eq!((&mpnet.layers[2].attention.position, mpnet.embeddings.token_types), (&bias, 0));
    let (_, albert) = spec("albert");
    assert_eq!((albert.embeddings.width, albert.embeddings.projection), (16, Some(true)));
    assert_eq!(albert.layers[0].feed_forward.activation, Activation::GeluTanh);
    assert_eq!(spec("electra").1.embeddings.projection, Some(true));
    assert_eq!(spec("electra-same-width").1.embeddings.projection, None);
}

#[test]
fn deberta_scores_are_sums_of_products() {
    use DisentangledTerms::{Both, ContentToPosition, PositionToContent};
    for (name, span, max_distance, terms, own_projections) in [
        ("deberta-v3", 8, Some(40), Both, false),
        ("deberta-v2", 24, None, Both, false),
        ("deberta-v2-c2p", 8, Some(40), ContentToPosition, true),
        ("deberta-v2-p2c", 8, Some(24), PositionToContent, false),
        ("deberta-v2-own", 8, Some(40), Both, true),
    ] {
        let attention = spec(name).1.layers[0].attention.clone();
        assert_eq!(
            attention.position,
            AttentionPosition::Disentangled { span, max_distance, terms, own_projections },
            "{name}"
        );
        let products = if terms == Both { 3.0 } else { 2.0 };
        assert!((attention.scale - 1.0 / f64::sqrt(products * 8.0)).abs() < 1e-7, "{name}");
    }
}

#[test]
fn deberta_may_say_the_size_of_its_heads() {
    let mut config = read(&fixtures().join("deberta-v3.json")).0;
    let without = describe(&config, "config.json".as_ref()).unwrap().1;
    config["attention_head_size"] = json!(8);
    assert_eq!(describe(&config, "config.json".as_ref()).unwrap().1, without);
}

#[test]
fn deberta_may_convolve_beside_its_first_block() {
    for (name, kernel, groups, activation) in
        [("deberta-v2-convolution", 3, 1, Activation::Gelu), ("deberta-v2-convolution-groups", 5, 4, Activation::Tanh)]
    {
        let layers = spec(name).1.layers;
        let expected = ConvolutionSpec { kernel, groups, activation, norm: NormSpec::layer(1e-7) };
        assert_eq!(layers[0].convolution, Some(expected), "{name}");
        assert!(layers[1..].iter().all(|layer| layer.convolution.is_none()), "{name}");
    }
}

#[test]
fn t5_scores_are_not_scaled() {
    let (_, t5) = spec("t5");
    let layer = &t5.layers[0];
    assert_eq!((layer.attention.scale, layer.attention.head_size, layer.placement), (1.0, 6, NormPlacement::Pre));
    assert_eq!((layer.feed_forward.gated, layer.feed_forward.activation), (false, Activation::Relu));
    assert!(!layer.attention.input_bias && !layer.feed_forward.up_bias && t5.final_norm.is_some());
    for (name, buckets, max_distance) in [("t5-gated", 16, 64), ("mt5", 32, 128)] {
        let layer = spec(name).1.layers[1].clone();
        assert_eq!((layer.feed_forward.gated, layer.feed_forward.activation), (true, Activation::GeluTanh), "{name}");
        assert_eq!(layer.attention.position, AttentionPosition::RelativeBias { buckets, max_distance }, "{name}");
    }
}

#[test]
fn modernbert_alternates() {
    let (_, spec) = spec("modernbert");
    let rotary = |base| AttentionPosition::Rotary { base, dimensions: 8, scaling: RotaryScaling::None };
    let expected = [
        (AttentionMask::Full, rotary(160_000.0), false),
        (AttentionMask::Window { reach: 4 }, rotary(10_000.0), true),
        (AttentionMask::Window { reach: 4 }, rotary(10_000.0), true),
        (AttentionMask::Full, rotary(160_000.0), true),
    ];
    for (layer, (mask, position, norm)) in spec.layers.iter().zip(expected) {
        assert_eq!((layer.attention.mask, &layer.attention.position), (mask, &position));
        assert_eq!((layer.attention_norm.is_some(), layer.feed_forward_norm.bias), (norm, false));
    }
}

#[test]
fn encoders_whose_code_lives_on_the_hub() {
    let (architecture, jina) = spec("jina_bert");
    assert_eq!((architecture.name, &jina.layers[0].attention.position), ("jina_bert", &AttentionPosition::Alibi));
    assert_eq!((jina.layers[0].feed_forward.gated, jina.layers[0].feed_forward.up_bias), (true, false));
    let (_, nomic) = spec("nomic_bert");
    assert_eq!((nomic.embeddings.vocabulary, nomic.layers[0].feed_forward.inner), (64, 256));
    assert_eq!(nomic.layers[0].feed_forward.activation, Activation::Silu);
    let AttentionPosition::Rotary { base, dimensions: 8, scaling: RotaryScaling::Divided(divisor) } =
        spec("new").1.layers[0].attention.position
    else {
        panic!("rotary positions with scaling are expected");
    };
    assert_eq!(base, 1_000_000.0);
    assert!((divisor - 2f64.powf(0.25)).abs() < 1e-12);
}

#[test]
fn encoders_in_the_words_of_transformers_5() {
    let rotary = |base, dimensions, scaling| AttentionPosition::Rotary { base, dimensions, scaling };
    let (architecture, nomic) = spec("nomic_bert_of_transformers");
    assert_eq!((architecture.name, nomic.embeddings.vocabulary), ("nomic_bert_of_transformers", 60));
    assert_eq!((nomic.layers[0].feed_forward.inner, nomic.embeddings.token_types), (48, 2));
    assert_eq!(nomic.layers[0].attention.position, rotary(1000.0, 8, RotaryScaling::None));
    assert_eq!(spec("gte").1.layers[0].attention.position, rotary(160_000.0, 8, RotaryScaling::None));
    assert_eq!(spec("gte-linear").1.layers[2].attention.position, rotary(20_000.0, 8, RotaryScaling::Divided(4.0)));
    let smoothed = RotaryScaling::Smoothed { factor: 8.0, low: 1.0, high: 4.0, original: 32.0 };
    assert_eq!(spec("llama-rope_parameters").1.layers[0].attention.position, rotary(500_000.0, 8, smoothed));
    for (name, dimensions, local, global, factor) in
        [("gemma3_text", 16, [0, 2], [1, 1], (40_000.0, 8.0)), ("modernbert", 8, [0, 3], [1, 2], (80_000.0, 2.0))]
    {
        let (_, spec) = spec(&format!("{name}-rope_parameters"));
        let position = |layer: usize| spec.layers[layer].attention.position.clone();
        assert_eq!(local.map(position), [(); 2].map(|()| rotary(3000.0, dimensions, RotaryScaling::None)), "{name}");
        let expected = rotary(factor.0, dimensions, RotaryScaling::Divided(factor.1));
        assert_eq!(global.map(position), [(); 2].map(|()| expected.clone()), "{name}");
    }
}

#[test]
fn decoders_see_what_came_before() {
    let masks = |name: &str| spec(name).1.layers.iter().map(|layer| layer.attention.mask).collect::<Vec<_>>();
    let window = |reach| AttentionMask::CausalWindow { reach };
    assert_eq!(masks("qwen2"), [AttentionMask::Causal; 3]);
    assert_eq!(masks("qwen2-window"), [AttentionMask::Causal, window(3), window(3)]);
    assert_eq!(masks("mistral"), [window(15); 3]);
    assert_eq!(masks("mistral-whole"), [AttentionMask::Causal; 3]);
    assert_eq!(masks("gemma3_text"), [[window(7); 5].as_slice(), &[AttentionMask::Causal], &[window(7)]].concat());
    let both = AttentionMask::Window { reach: 4 };
    // The fixture's window of 8 was halved and counted from one when its configuration was saved: 5.
    assert_eq!(
        masks("gemma3_text-both-ways"),
        [AttentionMask::Window { reach: 2 }, AttentionMask::Full, AttentionMask::Window { reach: 2 }]
    );
    let path = fixtures().join("gemma3_text-both-ways.json");
    let mut config = read(&path).0;
    config["sliding_window"] = json!(8);
    assert_eq!(describe(&config, &path).unwrap().1.layers[0].attention.mask, both);

    let (_, qwen3) = spec("qwen3");
    let attention = &qwen3.layers[0].attention;
    assert_eq!((attention.heads, attention.key_value_heads, attention.head_size), (4, 2, 16));
    assert!(attention.query_key_norm.is_some() && !attention.input_bias);
    let (_, qwen2) = spec("qwen2");
    assert!(qwen2.layers[0].attention.input_bias && !qwen2.layers[0].attention.output_bias);
    let smoothed = RotaryScaling::Smoothed { factor: 8.0, low: 1.0, high: 4.0, original: 32.0 };
    let expected = AttentionPosition::Rotary { base: 500_000.0, dimensions: 8, scaling: smoothed };
    assert_eq!(spec("llama").1.layers[0].attention.position, expected);
}

#[test]
fn gemma_has_two_bases_and_four_norms() {
    let (_, spec) = spec("gemma3_text");
    let rotary = |base, scaling| AttentionPosition::Rotary { base, dimensions: 16, scaling };
    assert_eq!(spec.layers[0].attention.position, rotary(10_000.0, RotaryScaling::None));
    assert_eq!(spec.layers[5].attention.position, rotary(1_000_000.0, RotaryScaling::Divided(8.0)));
    let layer = &spec.layers[0];
    assert_eq!((layer.placement, layer.feed_forward_norm.unit_offset), (NormPlacement::Sandwich, true));
    assert!((layer.attention.scale - 1.0 / 24f64.sqrt()).abs() < 1e-16);
    assert_eq!(spec.embeddings.scale, Some(32f32.sqrt()));
}

#[test]
fn clip_reads_texts_and_patches() {
    let (_, text) = spec("clip_text_model");
    let layer = &text.layers[0];
    assert_eq!((layer.attention.mask, layer.placement), (AttentionMask::Causal, NormPlacement::Pre));
    assert_eq!((layer.feed_forward.activation, text.max_sequence), (Activation::QuickGelu, Some(40)));
    assert_eq!(spec("clip_text_model-gelu").1.layers[2].feed_forward.activation, Activation::Gelu);
    let (_, vision) = spec("clip_vision_model");
    // 22 pixels hold 4 patches of 5 along a side; one more position is the class vector's.
    assert_eq!((vision.embeddings.patches, vision.max_sequence), (Some(PatchSpec { channels: 3, size: 5 }), Some(17)));
    assert_eq!(vision.layers[0].attention.mask, AttentionMask::Full);
    let path = fixtures().join("clip_vision_model.json");
    for (field, value) in [("patch_size", 30), ("num_channels", 1 << 20), ("image_size", 1 << 23)] {
        let mut config = read(&path).0;
        config[field] = json!(value);
        assert!(describe(&config, &path).is_err(), "{field} {value}");
    }
}

#[test]
fn gte_of_qwen2_attends_in_both_directions() {
    let path = fixtures().join("qwen2.json");
    let mut config = read(&path).0;
    config["is_causal"] = json!(false);
    assert_eq!(describe(&config, &path).unwrap().1.layers[0].attention.mask, AttentionMask::Causal);
    config["auto_map"] = json!({"AutoModel": "modeling_qwen.Qwen2Model"});
    assert_eq!(describe(&config, &path).unwrap().1.layers[0].attention.mask, AttentionMask::Full);
}

#[test]
fn what_no_architecture_describes_is_refused_by_name() {
    let cases = [
        ("bert", "is_decoder", json!(true), "'is_decoder' true is not supported, only false is"),
        ("bert", "add_cross_attention", json!(true), "'add_cross_attention' true is not supported, only false is"),
        (
            "bert",
            "quantization_config",
            json!({"bits": 4}),
            "'quantization_config' is not supported; take the checkpoint that is not quantised",
        ),
        (
            "bert",
            "position_embedding_type",
            json!("relative_key"),
            "'position_embedding_type' \"relative_key\" is not supported, only \"absolute\" is",
        ),
        (
            "bert",
            "hidden_act",
            json!("mish"),
            "'hidden_act' mish is not supported; supported are gelu, gelu_python, gelu_new, gelu_fast, \
             gelu_accurate, gelu_pytorch_tanh, gelu_python_tanh, quick_gelu, relu, silu, swish, tanh",
        ),
        ("bert", "hidden_size", json!(33), "'hidden_size' 33 is not a multiple of 'num_attention_heads' 4"),
        ("bert", "hidden_size", json!(1u64 << 40), "'hidden_size' should be a whole number from 1 to 16777216"),
        (
            "bert",
            "num_hidden_layers",
            json!(5000),
            "'num_hidden_layers' is 5000, but at most 1024 blocks are supported",
        ),
        ("bert", "layer_norm_eps", json!(0), "'layer_norm_eps' should be above 0"),
        ("bert", "vocab_size", json!("many"), "'vocab_size' should be a whole number from 1 to 16777216"),
        (
            "roberta",
            "max_position_embeddings",
            json!(2),
            "'max_position_embeddings' 2 leaves no position, because the first 2 are reserved for padding",
        ),
        (
            "mpnet",
            "relative_attention_num_buckets",
            json!(16),
            "'relative_attention_num_buckets' 16 is not supported, only 32 is",
        ),
        ("albert", "inner_group_num", json!(2), "'inner_group_num' 2 is not supported, only 1 is"),
        ("deberta-v3", "pos_att_type", json!("c2p|p2p"), "'pos_att_type' is only supported with c2p, p2c or both"),
        ("deberta-v3", "pos_att_type", json!([]), "'pos_att_type' is only supported with c2p, p2c or both"),
        (
            "deberta-v3",
            "conv_kernel_size",
            json!(4),
            "'conv_kernel_size' 4 is not supported, only odd numbers to 31 are",
        ),
        ("deberta-v3", "attention_head_size", json!(16), "'attention_head_size' 16 is not supported, only 8 is"),
        ("deberta-v2-convolution", "conv_groups", json!(5), "'hidden_size' 32 is not a multiple of 'conv_groups' 5"),
        ("nomic_bert", "moe_every_n_layers", json!(2), "'moe_every_n_layers' 2 is not supported, only 0 is"),
        (
            "nomic_bert",
            "rotary_scaling_factor",
            json!(2.0),
            "'rotary_scaling_factor' 2.0 is not supported, only null is",
        ),
        (
            "jina_bert",
            "auto_map",
            json!({"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"}),
            "'auto_map' names the variant with norms of queries and keys, which is not supported",
        ),
        (
            "qwen3",
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 4.0}),
            "'rope_scaling' of type yarn is not supported, only linear and llama3 are",
        ),
        (
            "llama",
            "num_key_value_heads",
            json!(3),
            "'num_attention_heads' 4 is not a multiple of 'num_key_value_heads' 3",
        ),
    ];
    for (name, field, value, expected) in cases {
        let mut config = read(&fixtures().join(format!("{name}.json"))).0;
        config[field] = value;
        let error = describe(&config, "config.json".as_ref()).unwrap_err();
        assert_eq!(error.to_string(), format!("config.json: {expected}"));
    }
}

#[test]
fn unknown_architectures_are_named_with_what_is_supported() {
    let error = describe(&json!({"model_type": "xlnet"}), "config.json".as_ref()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config.json: model type 'xlnet' is not supported; supported are albert, bert, camembert, clip_text_model, \
         clip_vision_model, deberta-v2, distilbert, electra, gemma3_text, gte, jina_bert, llama, mistral, modernbert, mpnet, \
         mt5, new, nomic_bert, qwen2, qwen3, roberta, t5, xlm-roberta"
    );
    assert!(error.hint().is_some());
    let error = describe(&json!({"hidden_size": 4}), "config.json".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "config.json: 'model_type' should be a text");
    let error = describe(&json!([1]), "config.json".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "config.json: a JSON object is expected");
}
