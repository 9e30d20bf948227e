//! Language-model training of the toy scale's base models, on the built-in world's corpus.

use crate::config::Training;
use crate::interrupt;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;
use crate::model::gradients::Gradients;
use crate::model::parameters::Parameters;
use crate::model::rows::{Row, TokenRows};
use crate::passes;
use crate::progress::Task;
use crate::train::optim::{AdamW, linear_schedule};
use crate::train::step::forward_backward;
use crate::{Error, Result, seed};
use candle_core::Tensor;

/// Minimises the mean −log p of every token after the first, in place. Returns the mean loss
/// of the last tenth of the steps, nats a token.
pub fn pretrain(
    config: &DecoderConfig,
    parameters: &Parameters,
    texts: &[Vec<u32>],
    training: &Training,
    seed: u64,
    progress: &Task,
) -> Result<f64> {
    let decoder = Decoder::new(config, parameters, training.dtype)?;
    let mut optimiser = AdamW::new(parameters, training, 0.0)?;
    let per_epoch = texts.len().div_ceil(training.batch_size);
    let steps = training.epochs * per_epoch;
    let mut losses = vec![];
    for step in 0..steps {
        interrupt::check("pre-training")?;
        let mut rng = seed::stream(seed, &format!("pretrain/{}", step / per_epoch));
        let order = seed::permutation(&mut rng, texts.len());
        let members = order.iter().skip(step % per_epoch * training.batch_size).take(training.batch_size);
        let rows: Vec<Row> = members.map(|&i| Row::causal(&texts[i])).collect();
        let mut gradients = Gradients::default();
        let loss = language_model_step(&decoder, parameters, rows, training.recompute, &mut gradients)?;
        if !loss.is_finite() {
            return Err(Error::argument("pretrain", format!("loss of step {step}"), loss, "finite"));
        }
        optimiser.step(
            &gradients.into_tensors(parameters)?,
            linear_schedule(step, steps, training.warmup_ratio),
        )?;
        losses.push(loss);
        progress.advance(1, || format!("loss {loss:.3}"));
    }
    let tail = &losses[steps - steps.div_ceil(10)..];
    Ok(tail.iter().sum::<f64>() / tail.len() as f64)
}

/// Mean −log p of the rows' tokens after the first, and its gradients.
fn language_model_step(
    decoder: &Decoder,
    parameters: &Parameters,
    rows: Vec<Row>,
    recompute: bool,
    gradients: &mut Gradients,
) -> Result<f64> {
    let rows = TokenRows::new(rows);
    let predictors = rows.iter().flat_map(|(start, row)| start as u32..(start + row.ids.len() - 1) as u32);
    let predictors = Tensor::from_iter(predictors, decoder.device())?;
    let targets: Vec<u32> = rows.iter().flat_map(|(_, row)| row.ids[1..].iter().copied()).collect();
    let passes = passes::of(parameters);
    let pass = passes::tracked(passes, decoder, &rows, recompute)?;
    forward_backward(pass, parameters, gradients, |hidden| {
        let states = hidden.index_select(&predictors, 0)?;
        let loss = passes.token_logps(decoder, &states, &targets)?.mean_all()?.neg()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        Ok((loss, value))
    })
}
