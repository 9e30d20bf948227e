//! Base models: published ones as they are, the toy scale's pre-trained here and kept.

use crate::config::{Memory, ModelSource, Precision, Shape, Training};
use crate::data::world;
use crate::files::sha256;
use crate::model::config::DecoderConfig;
use crate::model::load::{self, Loaded, huggingface};
use crate::model::parameters::Parameters;
use crate::model::save;
use crate::progress::Progress;
use crate::run::numerics::NUMERICS;
use crate::text::chat_template::Conversation;
use crate::text::dialogue::Dialogue;
use crate::text::message::Message;
use crate::text::tokenizer::TextTokenizer;
use crate::train::pretrain::pretrain;
use crate::{Error, Result, seed};
use std::path::{Path, PathBuf};

/// The toy base models are the same for every run, as downloaded ones are.
const SEED: u64 = 7;
const TEXTS: usize = 8192;
/// Of every toy base model.
pub const CONTEXT: usize = 64;

/// A conversation as the instruct-shaped toy model reads it; the others see the bare text.
const CHAT_TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|> \
                             {% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}";

/// Loads a base model; a toy one is pre-trained first unless `runs` has it.
pub fn load(source: &ModelSource, runs: &Path, progress: &Progress) -> Result<Loaded> {
    match source {
        ModelSource::World { shape } => huggingface::load(&pretrained(*shape, runs, progress)?),
        source => load::load(source),
    }
}

/// [`load()`], but where it can be the weights stay in their files.
pub fn open(source: &ModelSource, runs: &Path, progress: &Progress) -> Result<Loaded> {
    match source {
        ModelSource::World { shape } => huggingface::open(&pretrained(*shape, runs, progress)?),
        source => load::open(source),
    }
}

/// The folder of a toy base model.
fn pretrained(shape: Shape, runs: &Path, progress: &Progress) -> Result<PathBuf> {
    let tokenizer = world_tokenizer(shape)?;
    let config = world_config(shape, tokenizer.vocab_size());
    let training = world_training(shape);
    let key = serde_json::to_vec(&(&config, &training, SEED, TEXTS, NUMERICS))
        .map_err(|e| Error::argument("base model", "key", e, "plain data"))?;
    let folder = runs.join("base").join(format!("{}-{}", name(shape), &sha256(&key)[..16]));
    // config.json is written last: a folder that has it is whole.
    if !folder.join("config.json").is_file() {
        let texts = world::corpus(SEED, TEXTS)
            .iter()
            .map(|(prompt, completion)| {
                let prompt = [Message::user(prompt.as_str())];
                let dialogue = Dialogue { conversation: Conversation::of(&prompt), is_text: true };
                let form = tokenizer.form(dialogue, &[])?;
                tokenizer.encode_whole(dialogue, &[Message::assistant(completion.as_str())], form)
            })
            .collect::<Result<Vec<_>>>()?;
        let parameters = Parameters::random_decoder(&config, &mut seed::stream(SEED, "base/init"))?;
        let steps = training.epochs * texts.len().div_ceil(training.batch_size);
        let task = progress.task(format!("pre-train {}", name(shape)), steps);
        pretrain(&config, &parameters, &texts, &training, SEED, &task)?;
        save::save(&folder, &config, &parameters.tensors().into_iter().collect(), &tokenizer)?;
    }
    Ok(folder)
}

fn name(shape: Shape) -> &'static str {
    match shape {
        Shape::Llama => "toy-llama",
        Shape::LlamaInstruct => "toy-llama-instruct",
        Shape::Mistral => "toy-mistral",
    }
}

/// What a toy base model of this shape reads with.
pub fn world_tokenizer(shape: Shape) -> Result<TextTokenizer> {
    let tokenizer = world::tokenizer();
    let id = |token: &str| {
        tokenizer
            .token_to_id(token)
            .ok_or_else(|| Error::argument("world", "token", token, "in the vocabulary"))
    };
    let (eos, template) = match shape {
        Shape::LlamaInstruct => (id("<|end|>")?, Some(CHAT_TEMPLATE.to_string())),
        Shape::Llama | Shape::Mistral => (world::EOS_ID, None),
    };
    TextTokenizer::new(tokenizer, vec![eos], Some(world::BOS_ID), template)
}

/// Two blocks, 64 wide; what tells the families apart is kept: grouped queries everywhere,
/// Llama-3's rotary base, Mistral's window and wider feed-forward.
pub(crate) fn world_config(shape: Shape, vocab_size: usize) -> DecoderConfig {
    let llama = DecoderConfig {
        vocab_size,
        hidden_size: 64,
        intermediate_size: 176,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: None,
        max_position_embeddings: CONTEXT,
        sliding_window: None,
        tie_word_embeddings: false,
    };
    match shape {
        Shape::Llama | Shape::LlamaInstruct => llama,
        Shape::Mistral => {
            DecoderConfig { intermediate_size: 224, rope_theta: 10_000.0, sliding_window: Some(24), ..llama }
        }
    }
}

/// One pass over the corpus; the instruct shape, further trained in the paper, gets two.
fn world_training(shape: Shape) -> Training {
    Training {
        dtype: Precision::F32,
        epochs: if shape == Shape::LlamaInstruct { 2 } else { 1 },
        batch_size: 32,
        micro_batch_size: 32,
        learning_rate: 5e-3,
        warmup_ratio: 0.1,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.95,
        adam_epsilon: 1e-8,
        max_grad_norm: 1.0,
        recompute: false,
        memory: Memory::Tensors {},
        checkpoint_every: usize::MAX,
    }
}
