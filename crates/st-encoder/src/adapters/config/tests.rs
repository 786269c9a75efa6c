//! What configurations are refused, and that others are written as they were read.

use super::*;

fn parse(edit: impl FnOnce(&mut Value)) -> Result<AdapterConfig, String> {
    let mut value = json!({"peft_type": "LORA", "r": 4, "target_modules": ["query"]});
    edit(&mut value);
    AdapterConfig::parse(&value, "adapter_config.json".as_ref()).map_err(|error| error.to_string())
}

#[test]
fn what_is_wrong_or_not_followed_is_refused_by_name() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 22] = [
        (|value| *value = json!([]), "a JSON object is expected"),
        (|value| value["peft_type"] = json!("IA3"), "adapters of type IA3 are not supported"),
        (|value| value["peft_type"] = json!(null), "'peft_type' should be a text"),
        (|value| value["r"] = json!(0), "'r' should be a whole number from 1 to 16384, not 0"),
        (|value| value["r"] = json!(u64::MAX), "'r' should be a whole number from 1 to 16384"),
        (|value| value["r"] = json!(-1), "'r' should be a whole number"),
        (|value| value["r"] = json!(2.5), "'r' should be a whole number"),
        (|value| value["rank_pattern"] = json!({"query": 1_u64 << 40}), "'rank_pattern' should be a whole number"),
        (|value| value["rank_pattern"] = json!(["query"]), "'rank_pattern' should be an object of numbers"),
        (|value| value["lora_alpha"] = json!("8"), "'lora_alpha' should be a number"),
        (|value| value["lora_alpha"] = json!(1e300), "is not a number that weights can be scaled by"),
        (|value| value["lora_dropout"] = json!(1.0), "'lora_dropout' should be at least 0 and below 1"),
        (|value| value["bias"] = json!("some"), "'bias' is some"),
        (|value| value["use_dora"] = json!("yes"), "'use_dora' should be true or false"),
        (|value| value["target_modules"] = json!([1]), "'target_modules' should be a list of module names"),
        (|value| value["target_modules"] = json!("a".repeat(5000)), "'target_modules' has an entry of 5000 bytes"),
        (|value| value["layers_pattern"] = json!("layer"), "`layers_to_transform` must also be specified"),
        (|value| value["layer_replication"] = json!([[0, 2]]), "'layer_replication' is not supported"),
        (|value| value["use_qalora"] = json!(true), "'use_qalora' is not supported"),
        (|value| value["init_lora_weights"] = json!("pissa_niter_4"), "'init_lora_weights' pissa_niter_4 changes"),
        (
            |value| (value["use_dora"], value["lora_bias"]) = (json!(true), json!(true)),
            "lora_bias=True is not supported for DoRA",
        ),
        (
            |value| (value["target_modules"], value["layers_to_transform"]) = (json!("q|v"), json!([1])),
            "`layers_to_transform` cannot be used when `target_modules` is a str",
        ),
    ];
    for (edit, expected) in cases {
        let message = parse(edit).unwrap_err();
        assert!(message.starts_with("adapter_config.json: "), "{message}");
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
    let many: Vec<String> = (0..20_000).map(|index| format!("m{index}")).collect();
    assert!(parse(|value| value["target_modules"] = json!(many)).unwrap_err().contains("20000 entries"));
}

#[test]
fn a_configuration_survives_being_written_and_read() {
    let text = r#"{"alpha_pattern": {"b": 2.5, "a": 3}, "auto_mapping": null, "bias": "all", "peft_type": "LORA",
        "layers_to_transform": 1, "lora_alpha": 16, "megatron_core": "megatron.core", "r": 4, "task_type": "CAUSAL_LM",
        "peft_version": "0.21.2", "target_modules": ["v", "q"], "rank_pattern": {"z": 1, "a": 2}}"#;
    let config = AdapterConfig::parse(&serde_json::from_str(text).unwrap(), "a".as_ref()).unwrap();
    assert_eq!(config.alpha_pattern, [("b".to_owned(), 2.5), ("a".to_owned(), 3.0)]);
    assert_eq!((config.layers_to_transform.as_slice(), config.bias), (&[1][..], AdapterBias::All));
    let json = config.to_json();
    assert_eq!(AdapterConfig::parse(&json, "a".as_ref()).unwrap(), config);
    assert_eq!((&json["task_type"], &json["megatron_core"]), (&json!("CAUSAL_LM"), &json!("megatron.core")));
    assert_eq!((&json["lora_alpha"], &json["alpha_pattern"]["b"]), (&json!(16), &json!(2.5)));
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let order: Vec<&String> = json["rank_pattern"].as_object().unwrap().keys().collect();
    assert_eq!(order, ["z", "a"], "patterns keep their order, because the first that fits is taken");
}
