//! Log-probabilities of tokens and completions, (10), in plain differentiable operations.

use crate::tensor::numerics::log_softmax;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// log π(y_t | ·) for each row: the hidden state that predicts a token, and the token.
///
/// Source: (10), with h_z already added to `hidden`. Twin: `spec::logprob::token_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], tokens [N] (u32) → [N]. Units: nats.
/// Errors: no tokens; other shapes than these; a token outside the vocabulary.
/// Numerics: materialises [N, V]; [`crate::tensor::lm_head::token_logps_fused`] does not.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// // A zero state leaves all four tokens equally likely.
/// let (hidden, head) = (Tensor::new(&[[0f64]], &Cpu)?, Tensor::new(&[[1f64], [2.0], [3.0], [4.0]], &Cpu)?);
/// let logps = lpc::tensor::logprob::token_logps(&hidden, &head, &Tensor::new(&[2u32], &Cpu)?)?;
/// assert!((logps.to_vec1::<f64>()?[0] + 4f64.ln()).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn token_logps(hidden: &Tensor, lm_head: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    // Candle's gather takes u32::MAX for padding and returns 0 there.
    check_tokens(hidden, lm_head, &tokens.to_vec1()?)?;
    let logps = log_softmax(&hidden.matmul(&lm_head.t()?)?)?;
    Ok(logps.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)?)
}

/// log π(y_t | ·, z = k) for each row and each code, the hidden states without h_z.
///
/// Source: (6), (10). Twin: `spec::logprob::code_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], codebook [K, d], tokens [N] (u32) → [N, K]. Units: nats.
/// Errors: those of [`token_logps`]; a codebook of another width, or without codes.
/// Numerics: scores of states and of codes are exponentiated apart, each about its largest, and
/// meet in one product; should any sum of it be small enough to have lost terms, every code is
/// scored on its own instead. Materialises [N, V]; [`crate::tensor::code_head::code_logps_fused`]
/// does not.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (hidden, head) = (Tensor::new(&[[0f64]], &Cpu)?, Tensor::new(&[[1f64], [0.0]], &Cpu)?);
/// let (codebook, token) = (Tensor::new(&[[0f64], [3f64.ln()]], &Cpu)?, Tensor::new(&[0u32], &Cpu)?);
/// let logps = lpc::tensor::logprob::code_logps(&hidden, &head, &codebook, &token)?.to_vec2::<f64>()?;
/// assert!((logps[0][0] - 0.5f64.ln()).abs() < 1e-12); // 1 against 1
/// assert!((logps[0][1] - 0.75f64.ln()).abs() < 1e-12); // 3 against 1
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn code_logps(hidden: &Tensor, lm_head: &Tensor, codebook: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    check_codes(hidden, lm_head, codebook, &tokens.to_vec1()?)?;
    let (scores, biases) = (hidden.matmul(&lm_head.t()?)?, codebook.matmul(&lm_head.t()?)?);
    let shifted = |x: &Tensor| -> Result<_> { Ok(x.broadcast_sub(&x.max_keepdim(1)?.detach())?) };
    let (scores, biases) = (shifted(&scores)?, shifted(&biases)?);
    let sums = scores.exp()?.matmul(&biases.exp()?.t()?)?;
    let safe = if sums.dtype() == DType::F64 { 1e-290 } else { 1e-26 };
    if sums.min_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? < safe {
        let code =
            |k: usize| token_logps(&hidden.broadcast_add(&codebook.narrow(0, k, 1)?)?, lm_head, tokens);
        let codes = (0..codebook.dim(0)?).map(code).collect::<Result<Vec<_>>>()?;
        return Ok(Tensor::stack(&codes, 1)?);
    }
    let own_score = scores.gather(&tokens.unsqueeze(1)?, 1)?;
    let own_bias = biases.index_select(tokens, 1)?.t()?;
    Ok(own_bias.broadcast_add(&own_score)?.sub(&sums.log()?)?)
}

/// [`check_tokens`], and codes of the same width.
pub(super) fn check_codes(
    hidden: &Tensor,
    lm_head: &Tensor,
    codebook: &Tensor,
    tokens: &[u32],
) -> Result<()> {
    check_tokens(hidden, lm_head, tokens)?;
    let d = hidden.dim(1)?;
    match codebook.dims() {
        &[codes, width] if codes > 0 && width == d => Ok(()),
        _ => Err(Error::argument("code_logps", "codebook", shape(codebook), format!("[K, {d}], K > 0"))),
    }
}

/// One state of the head's width a token, and every token in the vocabulary.
pub(super) fn check_tokens(hidden: &Tensor, lm_head: &Tensor, tokens: &[u32]) -> Result<()> {
    let n = tokens.len();
    if n == 0 {
        return Err(Error::argument("token_logps", "tokens", "none", "at least 1"));
    }
    let &[vocabulary, d] = lm_head.dims() else {
        return Err(Error::argument("token_logps", "lm_head", shape(lm_head), "[V, d]"));
    };
    if d == 0 || hidden.dims() != [n, d] {
        return Err(Error::argument("token_logps", "hidden", shape(hidden), format!("[{n}, {d}], d > 0")));
    }
    check_below("token_logps", "token", tokens, vocabulary)
}

fn check_below(op: &'static str, argument: &str, indices: &[u32], bound: usize) -> Result<()> {
    match indices.iter().find(|&&i| i as usize >= bound) {
        Some(bad) => Err(Error::argument(op, argument, bad, format!("below {bound}"))),
        None => Ok(()),
    }
}

fn shape(tensor: &Tensor) -> String {
    format!("{:?}", tensor.dims())
}

/// Σ_t log π(y_t|·) of each completion.
///
/// Source: (4), (5), (10). Twin: `spec::logprob::completion_logps_sum`.
/// Shapes: logps [N], or [N, K] for K codes at once; completion [N] (u32, which completion a token
/// belongs to) → [completions], or [completions, K].
/// Units: nats, summed and not averaged.
/// Errors: a completion without tokens, or beyond `completions`; not one completion a token.
/// Numerics: one fixed order of a few hundred terms, in the dtype of `logps`.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let logps = Tensor::new(&[-1f64, -2.0, -4.0], &Cpu)?;
/// let sums = lpc::tensor::logprob::completion_logps_sum(&logps, &[0, 1, 0], 2)?;
/// assert_eq!(sums.to_vec1::<f64>()?, [-5.0, -2.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn completion_logps_sum(logps: &Tensor, completion: &[u32], completions: usize) -> Result<Tensor> {
    let op = "completion_logps_sum";
    if logps.rank() == 0 || logps.rank() > 2 || logps.dim(0)? != completion.len() {
        let expected = format!("[{0}] or [{0}, K]", completion.len());
        return Err(Error::argument(op, "logps", shape(logps), expected));
    }
    check_below(op, "completion", completion, completions)?;
    let mut seen = vec![false; completions];
    completion.iter().for_each(|&c| seen[c as usize] = true);
    if let Some(empty) = seen.iter().position(|s| !s) {
        return Err(Error::argument(op, format!("completion {empty}"), 0, "at least 1 token"));
    }
    let index = Tensor::new(completion, logps.device())?;
    // index_add is sequential, hence reproducible.
    let sums = [&[completions], &logps.dims()[1..]].concat();
    Ok(Tensor::zeros(sums, logps.dtype(), logps.device())?.index_add(&index, logps, 0)?)
}

/// Adds each pair's h_z to the hidden states of its tokens.
///
/// Source: (10). Twin: `spec::logprob::add_latent`.
/// Shapes: hidden [N, d], latent [B, d], pair [N] (u32) → [N, d].
/// Errors: other shapes than these; a pair that `latent` lacks.
/// Numerics: one addition a number; gradients of h_z sum over its pair's tokens.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (hidden, latent) = (Tensor::new(&[[1f64], [2.0], [3.0]], &Cpu)?, Tensor::new(&[[10f64], [20.0]], &Cpu)?);
/// let sum = lpc::tensor::logprob::add_latent(&hidden, &latent, &Tensor::new(&[0u32, 1, 1], &Cpu)?)?;
/// assert_eq!(sum.to_vec2::<f64>()?, [[11.0], [22.0], [23.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn add_latent(hidden: &Tensor, latent: &Tensor, pair: &Tensor) -> Result<Tensor> {
    let pairs = pair.to_vec1()?;
    let &[b, d] = latent.dims() else {
        return Err(Error::argument("add_latent", "latent", shape(latent), "[B, d]"));
    };
    if hidden.dims() != [pairs.len(), d] {
        return Err(Error::argument(
            "add_latent",
            "hidden",
            shape(hidden),
            format!("[{}, {d}]", pairs.len()),
        ));
    }
    check_below("add_latent", "pair", &pairs, b)?;
    Ok((hidden + latent.index_select(pair, 0)?)?)
}
