//! `lpc check`: the built program against an oracle that shares nothing with it, and bad input.

use crate::program::Lpc;
use serde_json::{Value, json};
use std::path::Path;

/// 1e-10 of the larger, or of 1: three implementations that sum in orders of their own.
fn assert_close(what: &str, got: &Value, expected: &Value) {
    match (got, expected) {
        (Value::Array(got), Value::Array(expected)) => {
            assert_eq!(got.len(), expected.len(), "{what}");
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                assert_close(&format!("{what}[{i}]"), got, expected);
            }
        }
        _ => {
            let (Some(g), Some(e)) = (got.as_f64(), expected.as_f64()) else {
                panic!("{what}: got {got}, expected {expected}")
            };
            assert!((g - e).abs() <= 1e-10 * g.abs().max(e.abs()).max(1.0), "{what}: got {g}, expected {e}");
        }
    }
}

/// The same keys, the same numbers.
fn assert_same(what: &str, got: &Value, expected: &Value) {
    let keys = |v: &Value| -> std::collections::BTreeSet<String> {
        v.as_object().unwrap_or_else(|| panic!("{what}: {v}")).keys().cloned().collect()
    };
    assert_eq!(keys(got), keys(expected), "{what}");
    for (key, value) in expected.as_object().unwrap() {
        assert_close(&format!("{what}.{key}"), &got[key], value);
    }
}

fn fixture() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/check.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["cases"].as_array().unwrap().clone()
}

#[test]
fn every_objective_in_every_mode_is_what_torch_says() {
    let lpc = Lpc::new();
    let cases = fixture();
    assert_eq!(cases.len(), 9 * 7);
    for (i, case) in cases.iter().enumerate() {
        let name = format!("{i}.json");
        lpc.write(&name, case["input"].to_string());
        let printed = lpc.ok(&["check", &name, "--json", "--grad"]);
        let got: Value = serde_json::from_str(&printed).unwrap();
        let what = format!("{name} {} {}", case["input"]["objective"], case["input"]["latent"]);
        let pairs = case["pairs"].as_array().unwrap();
        assert_eq!(got["pairs"].as_array().unwrap().len(), pairs.len(), "{what}");
        for side in ["spec", "tensor"] {
            for (p, expected) in pairs.iter().enumerate() {
                assert_same(&format!("{what} pairs[{p}].{side}"), &got["pairs"][p][side], expected);
            }
            assert_same(&format!("{what} {side}"), &got["gradients"][side], &case["gradients"]);
        }
        // Without cancellation both sides agree to a few roundings.
        assert!(got["max_rel_diff"].as_f64().unwrap() < 1e-12, "{what}: {}", got["max_rel_diff"]);
        // The gradients are an extra.
        let plain: Value = serde_json::from_str(&lpc.ok(&["check", &name, "--json"])).unwrap();
        assert_eq!(plain["pairs"], got["pairs"], "{what}");
        assert!(plain.get("gradients").is_none());
    }
}

/// With a pencil: code 0 leaves both tokens at 1/2, code 1 makes them 3/4 and 1/4, so that the
/// margins are 0 and ln 3, their σ 1/2 and 3/4, and (6) with a fair prior −ln 5/8.
#[test]
fn the_example_is_right() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("paper/check.json");
    let printed = Lpc::new().ok(&["check", example.to_str().unwrap(), "--json"]);
    let got: Value = serde_json::from_str(&printed).unwrap();
    let gap = 0.5 * (0.5f64 / 0.4).ln() + 0.5 * (0.5f64 / 0.6).ln();
    let expected = json!({
        "loss": -(5f64 / 8.0).ln(), "kl": 0.0, "code_margins": [0.0, 3f64.ln()],
        "exact_posterior": [0.4, 0.6], "bound_gap": gap,
    });
    assert_same("spec", &got["pairs"][0]["spec"], &expected);
    assert_same("tensor", &got["pairs"][0]["tensor"], &expected);
}

#[test]
fn the_table_has_every_number() {
    let lpc = Lpc::new();
    // Dpo under Gumbel.
    lpc.write("pair.json", fixture()[1]["input"].to_string());
    let printed = lpc.ok(&["check", "pair.json", "--grad"]);
    for named in ["pairs[0].loss ", "pairs[0].code_weights[0] ", "gradients.codebook[0][0] ", "allowed: 1e-9"]
    {
        assert!(printed.contains(named), "{named}: {printed}");
    }
}

/// A good input: DPO, Gumbel, one pair of 2 and 1 tokens, d = 2, V = 3, K = 2.
fn good() -> Value {
    json!({
        "objective": {"kind": "dpo", "beta": 0.1},
        "latent": {"mode": "gumbel", "gumbel_tau": 1.0, "prior_weight": 0.3, "kl_weight": 0.05},
        "lm_head": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
        "codebook": [[0.1, 0.2], [0.3, 0.4]],
        "pairs": [{
            "prior_logits": [0.0, 1.0], "posterior_logits": [1.0, 0.0],
            "prior_noise": [0.1, 0.2], "posterior_noise": [0.3, 0.4],
            "chosen": {"hidden": [[1.0, 2.0], [3.0, 4.0]], "tokens": [0, 2]},
            "rejected": {"hidden": [[1.0, 2.0]], "tokens": [1]},
            "reference_chosen_logps": -1.0, "reference_rejected_logps": -2.0
        }]
    })
}

/// `good` with the value at a JSON pointer replaced, or taken away by null.
fn with(pointer: &str, value: Value) -> String {
    let mut input = good();
    if value.is_null() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        input.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    } else {
        *input.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    }
    input.to_string()
}

#[test]
fn bad_input_is_named() {
    let lpc = Lpc::new();
    let good = good();
    lpc.write("in.json", good.to_string());
    lpc.ok(&["check", "in.json"]);
    let text = |from: &str, to: &str| {
        let text = good.to_string();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let deep = "[".repeat(100_000);
    for (input, named) in [
        // Shapes.
        (
            with("/pairs/0/chosen/hidden/1", json!([1.0])),
            "in.json: field `pairs[0].chosen.hidden[1]`: expected 2 numbers, got 1",
        ),
        (
            with("/pairs/0/chosen/hidden", json!([[1.0, 2.0]])),
            "field `pairs[0].chosen.hidden`: expected 2 rows, one a token, got 1",
        ),
        (with("/lm_head/2", json!([1.0, 2.0, 3.0])), "field `lm_head[2]`: expected 2 numbers, got 3"),
        (with("/lm_head", json!([])), "field `lm_head`: expected at least one row"),
        (with("/lm_head", json!([[]])), "field `lm_head`"),
        (with("/codebook/0", json!([1.0])), "field `codebook[0]`: expected 2 numbers, got 1"),
        (with("/codebook", json!([])), "field `codebook`: expected at least one row"),
        (
            with("/pairs/0/prior_logits", json!([1.0])),
            "field `pairs[0].prior_logits`: expected 2 numbers, got 1",
        ),
        (
            with("/pairs/0/posterior_noise", json!([])),
            "field `pairs[0].posterior_noise`: expected 2 numbers, got 0",
        ),
        (with("/pairs", json!([])), "field `pairs`: expected at least one pair"),
        (
            with("/pairs/0/rejected", json!({"hidden": [], "tokens": []})),
            "field `pairs[0].rejected.tokens`: expected at least one token",
        ),
        (
            with("/pairs/0/chosen/tokens/1", json!(3)),
            "field `pairs[0].chosen.tokens[1]`: expected below 3, got 3",
        ),
        (with("/pairs/0/chosen/tokens/1", json!(-1)), "in.json:1"),
        (with("/pairs/0/chosen/tokens/1", json!(1.5)), "expected u32"),
        // What the mode or the objective needs.
        (with("/codebook", Value::Null), "field `codebook`"),
        (with("/pairs/0/prior_logits", Value::Null), "field `pairs[0].prior_logits`"),
        (with("/pairs/0/posterior_logits", Value::Null), "field `pairs[0].posterior_logits`"),
        (with("/pairs/0/prior_noise", Value::Null), "field `pairs[0].prior_noise`"),
        (with("/pairs/0/reference_rejected_logps", Value::Null), "field `pairs[0].reference_rejected_logps`"),
        (with("/pairs/0/chosen/tokens", Value::Null), "missing field `tokens`"),
        (with("/latent/kl_weight", Value::Null), "missing field `kl_weight`"),
        // Ranges.
        (with("/objective/beta", json!(0.0)), "field `objective.beta`: expected finite and > 0, got 0"),
        (with("/latent/gumbel_tau", json!(0.0)), "field `latent.gumbel_tau`"),
        (
            with("/latent/prior_weight", json!(1.5)),
            "field `latent.prior_weight`: expected in [0, 1], got 1.5",
        ),
        (with("/latent/kl_weight", json!(-1.0)), "field `latent.kl_weight`"),
        // Keys.
        (text("\"beta\":", "\"betta\":1,\"beta\":"), "unknown field `betta`"),
        (text("\"codebook\":", "\"codebooks\":[],\"codebook\":"), "unknown field `codebooks`"),
        (text("\"hidden\":", "\"hiden\":[],\"hidden\":"), "unknown field `hiden`"),
        (with("/latent", json!({"mode": "none", "gumbel_tau": 1.0})), "unknown field `gumbel_tau`"),
        (with("/latent", json!({"mode": "marginal", "kl_weight": 1.0})), "unknown field `kl_weight`"),
        (with("/objective", json!({"kind": "hing", "beta": 1.0})), "unknown variant `hing`"),
        (text("\"codebook\":", "\"codebook\":[],\"codebook\":"), "duplicate field `codebook`"),
        (text("\"beta\":", "\"beta\":1,\"beta\":"), "duplicate field `beta`"),
        // Numbers.
        (text("\"prior_noise\":[0.1", "\"prior_noise\":[1e999"), "number out of range"),
        (text("\"prior_noise\":[0.1", "\"prior_noise\":[NaN"), "in.json:1"),
        (text("\"prior_noise\":[0.1", "\"prior_noise\":[null"), "in.json:1"),
        (with("/lm_head/0/0", json!(1e308)), "in.json: expected numbers that stay finite"),
        (with("/objective", json!({"kind": "exponential", "beta": 1e6})), "overflow"),
        // No JSON at all.
        (String::new(), "in.json:1"),
        ("{".into(), "in.json:1"),
        (format!("{good}\n}}"), "in.json:2"),
        (deep.clone(), "in.json:1"),
        (text("\"beta\":", &format!("\"beta\":{deep}")), "recursion limit exceeded"),
        ("\u{feff}{}".into(), "in.json:1"),
    ] {
        lpc.write("in.json", input);
        let line = lpc.refused(&["check", "in.json", "--json"]);
        assert!(line.contains("in.json") && line.contains(named), "{line:?} does not name {named:?}");
    }
    lpc.write("in.json", [0xff, 0xfe, 0x00]);
    lpc.refused(&["check", "in.json"]);
    let line = lpc.refused(&["check", "none.json"]);
    assert!(line.contains("none.json: No such file"), "{line}");
    lpc.refused(&["check", "."]);
}

/// A good input of each latent that LPC is compared with.
fn compared(mode: Value) -> Value {
    let mut input = good();
    let pair = input["pairs"][0].as_object_mut().unwrap();
    for key in ["prior_logits", "posterior_logits", "prior_noise", "posterior_noise"] {
        pair.remove(key);
    }
    match mode["mode"].as_str().unwrap() {
        "gaussian" => {
            pair.insert("prior_outputs".into(), json!([0.0, 1.0, 0.0, -0.5]));
            pair.insert("posterior_outputs".into(), json!([1.0, 0.0, 0.5, 0.0]));
            pair.insert("prior_noise".into(), json!([0.1, -0.2]));
            pair.insert("posterior_noise".into(), json!([0.3, 0.4]));
            input["projection"] = input["codebook"].take();
        }
        "control" => {
            pair.insert("prompt_hidden".into(), json!([0.5, -0.5]));
            input["network"] = json!({
                "inner_weight": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "inner_bias": [0.0, 0.1, 0.2],
                "outer_weight": [[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]], "outer_bias": [0.0, 0.1],
            });
        }
        _ => {
            pair.insert("factor_weights".into(), json!([2.0, -1.0]));
            input["vectors"] = input["codebook"].take();
        }
    }
    input.as_object_mut().unwrap().remove("codebook");
    input["latent"] = mode;
    input
}

#[test]
fn bad_input_of_the_latents_compared_with_is_named() {
    let lpc = Lpc::new();
    let gaussian = || compared(json!({"mode": "gaussian", "prior_weight": 0.3, "kl_weight": 0.05}));
    let control = || compared(json!({"mode": "control"}));
    let factors = || compared(json!({"mode": "factors"}));
    for input in [gaussian(), control(), factors()] {
        lpc.write("in.json", input.to_string());
        lpc.ok(&["check", "in.json", "--grad"]);
    }
    let without = |mut input: Value, parent: &str, key: &str| {
        input.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        input
    };
    let with = |mut input: Value, pointer: &str, value: Value| {
        *input.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        input
    };
    let pair = "/pairs/0";
    for (input, named) in [
        (without(gaussian(), "", "projection"), "field `projection`"),
        (without(gaussian(), pair, "posterior_outputs"), "field `pairs[0].posterior_outputs`"),
        (without(gaussian(), pair, "prior_noise"), "field `pairs[0].prior_noise`"),
        (
            with(gaussian(), "/pairs/0/prior_outputs", json!([0.0, 1.0])),
            "field `pairs[0].prior_outputs`: expected 4 numbers, got 2",
        ),
        (with(gaussian(), "/projection", json!([])), "field `projection`: expected at least one row"),
        (
            with(gaussian(), "/latent/prior_weight", json!(1.5)),
            "field `latent.prior_weight`: expected in [0, 1]",
        ),
        (with(gaussian(), "/latent/kl_weight", json!(-1)), "field `latent.kl_weight`"),
        (
            with(gaussian(), "/pairs/0/posterior_outputs/2", json!(1e4)),
            "in.json: expected numbers that stay finite",
        ),
        (without(control(), "", "network"), "field `network`"),
        (without(control(), pair, "prompt_hidden"), "field `pairs[0].prompt_hidden`"),
        (
            with(control(), "/network/inner_weight", json!([])),
            "field `network.inner_weight`: expected at least one row",
        ),
        (
            with(control(), "/network/inner_weight/1", json!([1])),
            "field `network.inner_weight[1]`: expected 2 numbers, got 1",
        ),
        (
            with(control(), "/network/inner_bias", json!([1])),
            "field `network.inner_bias`: expected 3 numbers, got 1",
        ),
        (
            with(control(), "/network/outer_weight", json!([[1, 2, 3]])),
            "field `network.outer_weight`: expected 2 rows, got 1",
        ),
        (
            with(control(), "/network/outer_bias", json!([])),
            "field `network.outer_bias`: expected 2 numbers, got 0",
        ),
        (with(control(), "/network", json!({"inner": []})), "unknown field `inner`"),
        (without(factors(), "", "vectors"), "field `vectors`"),
        (without(factors(), pair, "factor_weights"), "field `pairs[0].factor_weights`"),
        (
            with(factors(), "/pairs/0/factor_weights", json!([1.0])),
            "field `pairs[0].factor_weights`: expected 2 numbers, got 1",
        ),
        (with(factors(), "/latent", json!({"mode": "factors", "kl_weight": 1})), "unknown field `kl_weight`"),
    ] {
        lpc.write("in.json", input.to_string());
        let line = lpc.refused(&["check", "in.json", "--json"]);
        assert!(line.contains("in.json") && line.contains(named), "{line:?} does not name {named:?}");
    }
}

#[test]
fn a_huge_file_is_refused() {
    let lpc = Lpc::new();
    let file = std::fs::File::create(lpc.path("huge.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let line = lpc.refused(&["check", "huge.json"]);
    assert!(line.contains("huge.json: expected a file of at most 32 MiB"), "{line}");
    // Small to write, large to calculate: 10^6 words under 100 tokens.
    let row = |row: &str, n: usize| format!("[{}]", vec![row; n].join(","));
    let completion = format!(r#"{{"hidden": {}, "tokens": {}}}"#, row("[0]", 100), row("0", 100));
    let head = row("[0]", 1_000_000);
    lpc.write(
        "wide.json",
        format!(
            r#"{{"objective": {{"kind": "simpo", "beta": 1, "gamma": 0}}, "latent": {{"mode": "none"}},
           "lm_head": {head}, "pairs": [{{"chosen": {completion}, "rejected": {completion}}}]}}"#
        ),
    );
    let line = lpc.refused(&["check", "wide.json"]);
    assert!(line.contains("field `pairs`: expected tokens × vocabulary × codes of at most"), "{line}");
}

/// What a mode or an objective does not read may be absent.
#[test]
fn what_is_not_read_may_be_absent() {
    let lpc = Lpc::new();
    let mut input = good();
    let take = |input: &mut Value, names: &[&str]| {
        names.iter().for_each(|n| _ = input["pairs"][0].as_object_mut().unwrap().remove(*n));
    };
    input["latent"] = json!({"mode": "exact-elbo", "kl_weight": 1.0});
    take(&mut input, &["prior_noise", "posterior_noise"]);
    let keys = |input: &Value| -> Vec<String> {
        lpc.write("in.json", input.to_string());
        let got: Value = serde_json::from_str(&lpc.ok(&["check", "in.json", "--json"])).unwrap();
        got["pairs"][0]["tensor"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&input), ["loss", "kl", "code_margins", "exact_posterior", "bound_gap"]);
    input["latent"] = json!({"mode": "marginal"});
    take(&mut input, &["posterior_logits"]);
    assert_eq!(keys(&input), ["loss", "code_margins", "exact_posterior"]);
    input["latent"] = json!({"mode": "none"});
    input["objective"] = json!({"kind": "simpo", "beta": 2.0, "gamma": 1.0});
    take(&mut input, &["prior_logits", "reference_chosen_logps", "reference_rejected_logps"]);
    input.as_object_mut().unwrap().remove("codebook");
    assert_eq!(keys(&input), ["loss", "margin", "policy_chosen_logps", "policy_rejected_logps"]);
}
