//! What a saved model says of its latent: in its card, and in `lpc_config.json`.

use serde_json::{Map, Value, json};

/// A latent in words.
pub struct Words {
    /// What the training is, for the card's first line.
    pub title: String,
    /// What h_z is where the prompt alone is known, for the card.
    pub at_test: &'static str,
    /// Python that makes `latent` of `h_x` and the tensors in `lpc`.
    pub python: String,
    /// What the parameters are, for `lpc_config.json`.
    pub parameters: Map<String, Value>,
}

/// A network of `lpc` at h_x, in Python.
pub(super) fn python_network(name: &str) -> String {
    format!(
        "silu(h_x @ lpc[\"{name}.w1\"].T + lpc[\"{name}.b1\"]) @ lpc[\"{name}.w2\"].T + lpc[\"{name}.b2\"]"
    )
}

const NETWORK: &str = "w2 @ silu(w1 @ input + b1) + b2";

/// A network of the prompt.
pub(super) fn of_prompt() -> Value {
    json!({ "network": NETWORK, "input": "last hidden state of the prompt" })
}

/// A network of the pair.
pub(super) fn of_pair() -> Value {
    json!({
        "network": NETWORK,
        "input": "last hidden states of prompt with chosen, then of prompt with rejected",
    })
}

/// Keys and values in their order.
pub(super) fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}
