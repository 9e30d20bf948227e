//! `README.md` beside a saved model: what it is, how it was trained and scored, and how to use it
//! from Python.

use crate::config::{DataSource, ModelSource, Recipe};
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::latent::{self, Words};
use crate::model::load::Loaded;
use crate::model::load::huggingface::CARD;
use crate::run::manifest::Outcome;
use std::fmt::Write;
use std::path::Path;

/// Writes the card. It goes into the folder of the model, which can be published as it is.
///
/// # Errors
/// The recipe cannot be written as TOML, or the file cannot be written.
pub fn write(folder: &Path, run: &str, recipe: &Recipe, base: &Loaded, outcome: &Outcome) -> Result<()> {
    let toml =
        toml::to_string(recipe).map_err(|e| Error::argument("model_card", "recipe", e, "plain data"))?;
    let card = [front_matter(recipe, base), title(run, recipe, base), scores(outcome), usage(recipe, base)];
    let recipe = format!("## Recipe\n\n```toml\n{toml}```\n");
    write_atomic(&folder.join(CARD), format!("{}{recipe}", card.concat()).as_bytes())
}

fn front_matter(recipe: &Recipe, base: &Loaded) -> String {
    let mut yaml = String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\n");
    if let Some(licence) = &base.licence {
        let _ = writeln!(yaml, "license: {}", quoted(licence));
    }
    if let ModelSource::Hub { id, .. } = &recipe.model {
        let _ = writeln!(yaml, "base_model: {id}");
    }
    yaml + "tags: [preference-training]\n---\n\n"
}

/// A string for YAML: a plain word as it is, anything else as a JSON string, which YAML accepts.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if plain { text.into() } else { format!("{text:?}") }
}

fn title(run: &str, recipe: &Recipe, base: &Loaded) -> String {
    let kind = latent::kind(&recipe.latent)
        .map_or_else(|| "preference training without a latent code".into(), |kind| kind.words().title);
    let data = match &recipe.data {
        DataSource::World(world) => format!("the built-in preference world, seed {}", world.seed),
        DataSource::Jsonl { folder, .. } => {
            let name =
                folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.display().to_string());
            format!("`{name}`")
        }
    };
    let licence = match &base.licence {
        Some(licence) => format!("{licence}, as the base model states it"),
        None => "not stated by the base model".into(),
    };
    format!(
        "# Run {run}\n\n{kind}, by `lpc` {}.\n\n- Base model: {}\n- Data: {data}\n- Licence: {licence}\n\n",
        env!("CARGO_PKG_VERSION"),
        base.description
    )
}

fn scores(outcome: &Outcome) -> String {
    let mut text = format!(
        "## Scores\n\n{} training and {} test pairs, {} steps; {} pairs were truncated.\n\n\
         | score | value |\n|---|---:|\n",
        outcome.train_pairs, outcome.test_pairs, outcome.steps, outcome.truncated
    );
    for (name, value) in &outcome.metrics {
        let _ = writeln!(text, "| `{name}` | {value:.4} |");
    }
    text + "\n`test_accuracy` is the share of test pairs whose chosen completion has the higher implicit reward.\n\n"
}

/// Python code of the card. A test runs it.
fn usage(recipe: &Recipe, base: &Loaded) -> String {
    let (text, ids) = match base.tokenizer.chat_template() {
        Some(_) => (
            "text = tokenizer.apply_chat_template([{\"role\": \"user\", \"content\": prompt}], \
             add_generation_prompt=True, tokenize=False)\n",
            "ids = tokenizer(text, add_special_tokens=False, return_tensors=\"pt\").input_ids\n",
        ),
        None => ("", "ids = tokenizer(prompt, return_tensors=\"pt\").input_ids\n"),
    };
    let load = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\
                folder, prompt = \".\", \"Why is the sky blue?\"\n\
                model = AutoModelForCausalLM.from_pretrained(folder)\n\
                tokenizer = AutoTokenizer.from_pretrained(folder)\n";
    let generate = "print(tokenizer.decode(model.generate(ids, max_new_tokens=64)[0]))\n";
    let Some(kind) = latent::kind(&recipe.latent) else {
        return format!("## Use\n\n```python\n{load}{text}{ids}{generate}```\n\n");
    };
    let Words { at_test, python, .. } = kind.words();
    let latent = "lpc = {name.removeprefix(\"lpc.\"): t for name, t in load_file(f\"{folder}/lpc.safetensors\").items()}\n";
    let h_x = "h_x = model.model(ids).last_hidden_state[:, -1].detach()\n";
    let hook = "hook = model.lm_head.register_forward_pre_hook(lambda _, states: (states[0] + latent,))\n";
    format!(
        "## Use\n\nThe decoder alone is an ordinary model. The latent adds a bias to its logits, the same at every \
         position: here {at_test}, for one prompt; `hook.remove()` before the next.\n\n\
         ```python\nfrom safetensors.torch import load_file\nfrom torch.nn.functional import silu\n\
         {load}{latent}{text}{ids}{h_x}{python}{hook}{generate}```\n\n"
    )
}
