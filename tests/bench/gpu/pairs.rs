//! Pairs of random tokens.

use lpc::data::tokenize::TokenizedPair;
use lpc::model::config::DecoderConfig;
use lpc::seed;
use lpc::train::budget::Lengths;
use std::path::Path;

/// Pairs drawn in all.
const PAIRS: usize = 640;

/// Spread of the logarithms of lengths, about that of UltraFeedback's.
const SPREAD: f64 = 0.7;

/// Pairs whose rows fit a pack.
pub fn pairs(
    file: Option<&Path>,
    config: &DecoderConfig,
    pack: usize,
) -> Result<Vec<TokenizedPair>, Box<dyn std::error::Error>> {
    let mut rng = seed::stream(1, "pairs of the bench");
    let lengths: Vec<[usize; 3]> = match file {
        Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
        None => {
            // Small shapes have small packs.
            let scale = (pack as f64 / 4096.0).min(1.0);
            let Lengths { prompt, chosen, rejected } = Lengths::ULTRAFEEDBACK;
            let draws = seed::normal(&mut rng, 3 * PAIRS);
            let length = |mean: f64, x: f64| {
                let n = scale * mean * (SPREAD * x - SPREAD * SPREAD / 2.0).exp();
                (n as usize).clamp(1, 1024)
            };
            let of = |x: &[f64]| [length(prompt, x[0]), length(chosen, x[1]), length(rejected, x[2])];
            draws.chunks(3).map(of).collect()
        }
    };
    let fit =
        lengths.into_iter().filter(|l| l.iter().sum::<usize>() <= pack.min(config.max_position_embeddings));
    let pair = |(index, lengths): (usize, [usize; 3])| {
        let [prompt, chosen, rejected] = lengths
            .map(|n| (0..n).map(|_| seed::below(&mut rng, config.vocab_size) as u32).collect::<Vec<u32>>());
        TokenizedPair { index, prompt, chosen, rejected, ..TokenizedPair::default() }
    };
    Ok(fit.enumerate().map(pair).collect())
}
