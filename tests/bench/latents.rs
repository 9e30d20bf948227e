//! What the latent costs at the LM head: the paper's sampled loss against the exact ones.
//!
//! Everything above the decoder, forward and backward: networks, codes, head, loss. In turns
//! within one run (A B C A B C ..), medians compared: `cargo bench`.

use candle_core::{DType, Device, Tensor, Var};
use lpc::config::{Latent, Objective, Precision, PriorWeight};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::LatentInputs;
use lpc::latent::init_heads;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::{PairStates, Policy};
use lpc::seed;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::objective::PairLogps;
use lpc::train::loss::pair_losses;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: lpc::machine::allocator::Allocator = lpc::machine::allocator::ALLOCATOR;

/// SmolLM2-135M's head; two pairs of 64 + 64 completion tokens.
const CONFIG: DecoderConfig = DecoderConfig {
    vocab_size: 49_152,
    hidden_size: 576,
    intermediate_size: 2,
    num_hidden_layers: 0,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    head_dim: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 1e5,
    rope_scaling: None,
    max_position_embeddings: 2048,
    sliding_window: None,
    tie_word_embeddings: true,
};
const CODES: usize = 32;
const PAIRS: usize = 2;
const TOKENS: usize = 64;
const ROUNDS: usize = 41;

fn latents() -> Vec<(&'static str, Latent)> {
    let (codes, codebook_std, heads_learning_rate) = (CODES, 0.02, None);
    let gumbel = Latent::Gumbel {
        codes,
        gumbel_tau: 1.0,
        kl_weight: 0.05,
        prior_weight: PriorWeight::Fixed { value: 0.5 },
        codebook_std,
        heads_learning_rate,
        heads_input: Default::default(),
    };
    vec![
        ("none", Latent::None {}),
        ("gumbel", gumbel),
        (
            "exact-elbo",
            Latent::ExactElbo {
                codes,
                kl_weight: 0.05,
                codebook_std,
                heads_learning_rate,
                heads_input: Default::default(),
            },
        ),
        (
            "marginal",
            Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() },
        ),
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> lpc::Result<()> {
    lpc::machine::allocator::keep_freed_memory();
    let mut rng = seed::stream(1, "bench");
    let mut parameters = Parameters::random_decoder(&CONFIG, &mut rng)?;
    // All but the first share their heads.
    init_heads(&mut parameters, CONFIG.hidden_size, &latents()[1].1, &mut rng)?;
    let mut words = |n: usize| (0..n).map(|_| seed::below(&mut rng, CONFIG.vocab_size) as u32).collect();
    let pairs: Vec<TokenizedPair> = (0..PAIRS)
        .map(|index| TokenizedPair {
            index,
            prompt: words(8),
            chosen: words(TOKENS),
            rejected: words(TOKENS),
            ..TokenizedPair::default()
        })
        .collect();
    let batch = PairBatch::new(&pairs.iter().collect::<Vec<_>>(), DType::F32, &Device::Cpu)?;
    let mut normal = |shape: &[usize]| -> lpc::Result<Tensor> {
        let values: Vec<f32> =
            seed::normal(&mut rng, shape.iter().product()).into_iter().map(|v| v as f32).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let hidden = Var::from_tensor(&normal(&[batch.rows.tokens(), CONFIG.hidden_size])?)?;
    let reference = PairLogps { chosen: normal(&[PAIRS])?, rejected: normal(&[PAIRS])? };
    let noise = SampleNoise { prior: normal(&[PAIRS, CODES])?, posterior: normal(&[PAIRS, CODES])? };
    let inputs = LatentInputs { noise, prior_weight: 0.5 };

    let step = |latent: Latent| -> lpc::Result<f64> {
        let policy = Policy::new(&CONFIG, &parameters, &latent, Precision::F32)?;
        let begun = Instant::now();
        let states = PairStates::select(&hidden, &batch)?;
        let objective = Objective::Dpo { beta: 0.1 };
        let outputs = pair_losses(&policy, &states, &batch, Some(&reference), objective, Some(&inputs))?;
        let gradients = outputs.loss.mean_all()?.backward()?;
        let seconds = begun.elapsed().as_secs_f64();
        drop(gradients);
        Ok(seconds)
    };
    let latents = latents();
    let mut seconds = vec![vec![]; latents.len()];
    for round in 0..=ROUNDS {
        for ((_, latent), seconds) in latents.iter().zip(&mut seconds) {
            let took = step(*latent)?;
            // The first round warms up.
            if round > 0 {
                seconds.push(took);
            }
        }
    }
    println!(
        "V = {}, d = {}, K = {CODES}, T = {} tokens, f32, {} threads, medians of {ROUNDS} in turns",
        CONFIG.vocab_size,
        CONFIG.hidden_size,
        2 * PAIRS * TOKENS,
        candle_core::utils::get_num_threads()
    );
    let medians: Vec<f64> = seconds.into_iter().map(median).collect();
    for ((name, _), seconds) in latents.iter().zip(&medians) {
        println!("{name:<10} {:7.1} ms   {:.3} x gumbel", seconds * 1e3, seconds / medians[1]);
    }
    Ok(())
}
