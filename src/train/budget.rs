//! What training a decoder on one GPU takes: bytes by the allocator's own trace of the pass, work by counting
//! its products.

use crate::config::Latent;
use crate::latent::heads_count;
use crate::machine::device::Device;
use crate::machine::device::kernels::MomentsFormat;
use crate::model::config::DecoderConfig;
use crate::model::rows::{Row, TokenRows};
use crate::passes::gpu::{Asked, Formats, Gpu, Room};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A kind of GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    pub name: &'static str,
    /// About what its driver says it has.
    pub gib: f64,
    /// Peak of dense bf16 products with sums in f32, by NVIDIA's data sheets.
    pub tflops: f64,
    /// Of its memory, in TB/s, by the same.
    pub bandwidth: f64,
}

pub const CARDS: [Card; 4] = [
    Card { name: "h100", gib: 79.6, tflops: 989.0, bandwidth: 3.35 },
    Card { name: "h200", gib: 140.4, tflops: 989.0, bandwidth: 4.8 },
    Card { name: "a100-80g", gib: 79.3, tflops: 312.0, bandwidth: 2.04 },
    Card { name: "4090", gib: 23.5, tflops: 165.0, bandwidth: 1.01 },
];

/// Bytes of a GiB.
pub const GIB: f64 = (1u64 << 30) as f64;

/// Of a card's memory, what the driver, cuBLAS, fragments and candle's temporaries of the heads keep. Assumed.
pub const RESERVE_GIB: f64 = 2.0;

/// The most codes of the paper's sweep. Room is left for so many, whatever the latent: runs that are compared are
/// kept in the same formats.
const MOST_CODES: usize = 256;

/// What a weight takes beside its own 4 bytes: from exact to small, and last what passes through the host at
/// each update.
pub const FORMATS: [Formats; 6] = [
    Formats { moments: MomentsFormat::F32, exact_gradients: true },
    Formats { moments: MomentsFormat::F32, exact_gradients: false },
    Formats { moments: MomentsFormat::Bf16, exact_gradients: false },
    Formats { moments: MomentsFormat::EightBit, exact_gradients: false },
    Formats { moments: MomentsFormat::F32OnHost, exact_gradients: true },
    Formats { moments: MomentsFormat::F32OnHost, exact_gradients: false },
];

impl DecoderConfig {
    /// The shape of a model of the paper, by the `config.json` that its authors publish. By a short name, or its
    /// name on the hub.
    pub fn named(name: &str) -> Option<Self> {
        let llama = Self {
            vocab_size: 128_256,
            hidden_size: 4096,
            intermediate_size: 14_336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            rms_norm_eps: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: None,
            max_position_embeddings: 8192,
            sliding_window: None,
            tie_word_embeddings: false,
        };
        match name {
            "llama3-8b" | "meta-llama/Meta-Llama-3-8B" | "meta-llama/Meta-Llama-3-8B-Instruct" => Some(llama),
            "mistral-7b" | "mistralai/Mistral-7B-v0.1" => Some(Self {
                vocab_size: 32_000,
                rope_theta: 10_000.0,
                max_position_embeddings: 32_768,
                sliding_window: Some(4096),
                ..llama
            }),
            _ => None,
        }
    }

    /// Numbers of all parameters.
    pub fn count(&self) -> usize {
        self.parameter_shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// Bytes on the GPU.
#[derive(Debug, Clone)]
pub struct Bytes {
    pub peak: usize,
    /// Moments that the host keeps.
    pub host: usize,
    /// By what they are for.
    pub by_name: BTreeMap<&'static str, usize>,
}

/// Bytes of training with packs of that room, by a step that allocates and computes nothing. The latent's heads
/// are f32 numbers with f32 gradients and moments.
///
/// Errors: a room without a token, or longer rows than two completions of the context.
pub fn bytes(config: &DecoderConfig, latent: &Latent, formats: Formats, room: Room) -> Result<Bytes> {
    check_sizes(config)?;
    let context = config.max_position_embeddings;
    if room.row == 0 || room.row > room.tokens || room.row > context.saturating_mul(2) {
        let expected = format!("from 1 token to a pack's {} and twice the context's {context}", room.tokens);
        return Err(Error::argument("plan", "row", room.row, expected));
    }
    let device = Device::plan();
    let mut gpu = Gpu::new(&device, config, formats, room)?;
    // As many tokens as there may be of different kinds.
    let ids: Vec<u32> = (0..room.tokens).map(|i| (i % config.vocab_size) as u32).collect();
    // Positions restart where a second continuation begins.
    let row = |ids: &[u32]| {
        let mut row = Row::default();
        ids.chunks(context).zip(0u8..).for_each(|(part, segment)| row.push(part, 0, segment));
        row
    };
    let rows = ids.chunks(room.row).map(row).collect();
    let run = gpu.forward(&TokenRows::new(rows))?;
    let states: Vec<u32> = (0..room.tokens as u32).collect();
    let asked = Asked { rows: states, tokens: ids, shifts: None };
    if let Some(codes) = latent.codes() {
        // Metrics ask every code, whatever is trained.
        let codebook = vec![0.0; codes.codes * config.hidden_size];
        let (_, scored) = gpu.code_logps(run, asked.clone(), &codebook)?;
        gpu.code_logps_backward(&scored, &vec![0.0; room.tokens * codes.codes])?;
    }
    let (_, scored) = gpu.token_logps(run, asked)?;
    gpu.token_logps_backward(&scored, &vec![0.0; room.tokens])?;
    gpu.backward(run, &[], &[])?;
    let trace = device.trace();
    let heads = 16 * heads_count(latent, config.hidden_size);
    let mut by_name = trace.by_name;
    by_name.insert("latent's heads", heads);
    Ok(Bytes { peak: trace.peak + heads, host: trace.host, by_name })
}

/// The first formats, from exact to small, with which a run fits so much memory; and its bytes.
///
/// Errors: as [`bytes`].
pub fn choose(
    config: &DecoderConfig,
    latent: &Latent,
    room: Room,
    gib: f64,
) -> Result<Option<(Formats, Bytes)>> {
    for formats in FORMATS {
        if needed(config, latent, formats, room)? <= gib {
            return Ok(Some((formats, bytes(config, latent, formats, room)?)));
        }
    }
    Ok(None)
}

/// GiB that a card has to have for a run, or for one with the most codes.
///
/// Errors: as [`bytes`].
pub fn needed(config: &DecoderConfig, latent: &Latent, formats: Formats, room: Room) -> Result<f64> {
    let (codes, codebook_std, heads_learning_rate) = (MOST_CODES, 1.0, None);
    let most = Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() };
    let peaks = [latent, &most].map(|latent| bytes(config, latent, formats, room).map(|bytes| bytes.peak));
    let [own, most] = peaks;
    Ok(own?.max(most?) as f64 / GIB + RESERVE_GIB)
}

/// A file may state any shape: of those that are refused, products of sizes could overflow.
///
/// Errors: more than a million numbers in a row, heads, or layers, or 10¹³ parameters.
fn check_sizes(c: &DecoderConfig) -> Result<()> {
    let sizes = [
        ("hidden_size", c.hidden_size),
        ("intermediate_size", c.intermediate_size),
        ("heads times head_dim", c.num_attention_heads.saturating_mul(c.head_dim)),
        ("key heads times head_dim", c.num_key_value_heads.saturating_mul(c.head_dim)),
        ("num_hidden_layers", c.num_hidden_layers),
        ("vocab_size", c.vocab_size),
    ];
    for (name, size) in sizes {
        if size > 1 << 20 {
            return Err(Error::argument("plan", name, size, "at most 1,048,576"));
        }
    }
    let parameters: f64 =
        c.parameter_shapes().map(|(_, shape)| shape.iter().map(|n| *n as f64).product::<f64>()).sum();
    match parameters <= 1e13 {
        true => Ok(()),
        false => Err(Error::argument("plan", "parameters", format!("{parameters:.1e}"), "at most 1e13")),
    }
}

/// Bytes on disk of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disk {
    /// The base model as it is published, in bf16.
    pub base: f64,
    /// Two checkpoints, and the next while it is written.
    pub checkpoints: f64,
    /// The trained model in f32, where it is kept.
    pub model: f64,
}

/// What a run writes and reads.
pub fn disk(config: &DecoderConfig, formats: Formats) -> Disk {
    let count = config.count() as f64;
    Disk { base: 2.0 * count, checkpoints: 3.0 * count * (4.0 + moment_bytes(formats)), model: 4.0 * count }
}

/// Bytes of a weight's two moments.
fn moment_bytes(formats: Formats) -> f64 {
    match formats.moments {
        MomentsFormat::F32 | MomentsFormat::F32OnHost => 8.0,
        MomentsFormat::Bf16 => 4.0,
        MomentsFormat::EightBit => 2.0,
    }
}

/// Tokens of a pair's prompt and of its two answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    pub prompt: f64,
    pub chosen: f64,
    pub rejected: f64,
}

impl Lengths {
    /// Means of 1,200 pairs of UltraFeedback by Llama 3's tokenizer, before truncation.
    pub const ULTRAFEEDBACK: Self = Self { prompt: 161.1, chosen: 261.9, rejected: 235.5 };

    /// Of the row that holds all three once.
    pub fn row(&self) -> f64 {
        self.prompt + self.chosen + self.rejected
    }
}

/// Floating-point operations of products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Of a pair in training.
    pub training: f64,
    /// Of a pair under the reference, once a base model.
    pub reference: f64,
}

/// Counts the products of the pass: a product [m, k] · [k, n] has 2·m·k·n operations. Attention is of whole
/// rows, also where a token sees nothing.
pub fn work(config: &DecoderConfig, lengths: Lengths) -> Work {
    let c = config;
    let of = |n: usize| n as f64;
    let (layers, d, ff, vocab) =
        (of(c.num_hidden_layers), of(c.hidden_size), of(c.intermediate_size), of(c.vocab_size));
    let queries = of(c.num_attention_heads * c.head_dim);
    let keys = of(c.num_key_value_heads * c.head_dim);
    let (row, answers) = (lengths.row(), lengths.chosen + lengths.rejected);
    let down = d * ff;
    let weights = d * (queries + 2.0 * keys) + queries * d + 2.0 * d * ff + down;
    // Forward, two products for each backward, and forward again but for the last product of a block.
    let blocks = |times: f64, again: f64| layers * 2.0 * row * (times * weights + again * (weights - down));
    // Scores and what they mix, forward and again; scores once more; four products backward.
    let attention = |products: f64| layers * products * 2.0 * queries * row * row;
    let head = |products: f64| products * 2.0 * answers * d * vocab;
    Work {
        training: blocks(3.0, 1.0) + attention(9.0) + head(4.0),
        reference: blocks(1.0, 0.0) + attention(2.0) + head(1.0),
    }
}

/// Seconds of an update of `batch` pairs, whose products reach a share of the card's peak.
pub fn update_seconds(
    config: &DecoderConfig,
    formats: Formats,
    lengths: Lengths,
    batch: usize,
    (card, share): (Card, f64),
) -> f64 {
    let passes = batch as f64 * work(config, lengths).training / (card.tflops * 1e12 * share);
    passes + optimiser_seconds(config, formats, card)
}

/// One way between host and GPU, in TB/s, of memory that the system may move. Assumed.
const HOST_BANDWIDTH: f64 = 0.007;

/// Seconds of AdamW over every weight once: what it reads and writes at the card's bandwidth, and what passes
/// between the host and the card.
pub fn optimiser_seconds(config: &DecoderConfig, formats: Formats, card: Card) -> f64 {
    let moments = moment_bytes(formats);
    let gradients = if formats.exact_gradients { 4.0 } else { 2.0 };
    // Weights and moments both ways; gradients are read for the norm and for the update, and cleared.
    let on_card = (2.0 * (4.0 + moments) + 3.0 * gradients) / card.bandwidth;
    let passing = match formats.moments {
        MomentsFormat::F32OnHost => 2.0 * moments / HOST_BANDWIDTH,
        _ => 0.0,
    };
    config.count() as f64 * (on_card + passing) / 1e12
}
