//! What `lpc check` reads: pairs as numbers, and everything that decides their loss.

use crate::config::Objective;
use crate::error::{Error, Place, Result};
use crate::files::json_fault;
use crate::spec::latent::Mlp;
use ndarray::{Array1, Array2};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Beyond this a file is no example to look at by hand.
const LARGEST_FILE: u64 = 32 << 20;
/// Vocabulary scores of all completions under every code: 128 MiB, and seconds of work.
const MOST_SCORES: usize = 16 << 20;

/// A checked input. What the mode or the objective does not read is zero where it is absent.
#[derive(Debug, Clone)]
pub struct Problem {
    pub objective: Objective,
    pub latent: Latent,
    /// [V, d]
    pub lm_head: Array2<f64>,
    /// What h_z is a mixture of: codes [K, d], the Gaussian's projection [D, d], the factors' vectors [F, d].
    pub vectors: Array2<f64>,
    /// The control's.
    pub network: Option<Mlp>,
    pub pairs: Vec<Pair>,
}

/// How the code enters the loss.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Latent {
    /// The plain objective. (A variant with braces: serde lets unknown keys pass without.)
    None {},
    /// (7) at one relaxed sample of (11), whose noise is given.
    Gumbel { gumbel_tau: f64, prior_weight: f64, kl_weight: f64 },
    /// (7) with its expectation taken over every code.
    ExactElbo { kl_weight: f64 },
    /// (6).
    Marginal {},
    /// (7) at one sample of diagonal Gaussians in the codes' place, whose noise is given.
    Gaussian { prior_weight: f64, kl_weight: f64 },
    /// The plain objective at h_z = MLP(h_x).
    Control {},
    /// The plain objective at h_z = Σ w_f e_f of given weights.
    Factors {},
}

#[derive(Debug, Clone)]
pub struct Pair {
    /// Logits [K] each, or a Gaussian's μ and then log σ, [2D]
    pub prior: Array1<f64>,
    pub posterior: Array1<f64>,
    /// Whether the file gives a posterior: (6) needs none.
    pub has_posterior: bool,
    /// [K] or [D] each
    pub prior_noise: Array1<f64>,
    pub posterior_noise: Array1<f64>,
    /// [F]
    pub factor_weights: Array1<f64>,
    /// h_x [d]
    pub prompt_hidden: Array1<f64>,
    pub chosen: Completion,
    pub rejected: Completion,
    pub reference_chosen_logps: f64,
    pub reference_rejected_logps: f64,
}

#[derive(Debug, Clone)]
pub struct Completion {
    /// [T, d]: `hidden[t]` predicts `tokens[t]`.
    pub hidden: Array2<f64>,
    /// [T]
    pub tokens: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProblem {
    objective: Objective,
    latent: Latent,
    lm_head: Vec<Vec<f64>>,
    codebook: Option<Vec<Vec<f64>>>,
    projection: Option<Vec<Vec<f64>>>,
    vectors: Option<Vec<Vec<f64>>>,
    network: Option<RawNetwork>,
    pairs: Vec<RawPair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    inner_weight: Vec<Vec<f64>>,
    inner_bias: Vec<f64>,
    outer_weight: Vec<Vec<f64>>,
    outer_bias: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPair {
    prior_logits: Option<Vec<f64>>,
    posterior_logits: Option<Vec<f64>>,
    prior_noise: Option<Vec<f64>>,
    posterior_noise: Option<Vec<f64>>,
    prior_outputs: Option<Vec<f64>>,
    posterior_outputs: Option<Vec<f64>>,
    factor_weights: Option<Vec<f64>>,
    prompt_hidden: Option<Vec<f64>>,
    chosen: RawCompletion,
    rejected: RawCompletion,
    reference_chosen_logps: Option<f64>,
    reference_rejected_logps: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCompletion {
    hidden: Vec<Vec<f64>>,
    tokens: Vec<u32>,
}

impl Problem {
    /// Reads a file and checks every shape and range in it.
    ///
    /// Errors: each names the file and, as far as it is known, the line and the field.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::input(Place::file(path), "a file of at most 32 MiB", "a larger one"));
        }
        let raw: RawProblem = serde_json::from_slice(&bytes).map_err(|e| {
            let place = if e.line() > 0 { Place::file(path).line(e.line()) } else { Place::file(path) };
            Error::input(place, "pairs to check, as JSON", json_fault(&e))
        })?;
        raw.checked().map_err(|e| match e {
            Error::Argument { argument, got, expected, .. } => {
                Error::input(Place::file(path).field(argument), expected, got)
            }
            other => other,
        })
    }
}

impl RawProblem {
    fn checked(self) -> Result<Problem> {
        let Self { objective, latent, lm_head, codebook, projection, vectors, network, pairs } = self;
        objective.validate()?;
        latent.validate()?;
        let d = lm_head.first().map_or(0, Vec::len);
        if d == 0 {
            return Err(fault("lm_head", "at least one row of at least one number", "none"));
        }
        let lm_head = matrix("lm_head", &lm_head, d)?;
        let (key, rows) = match latent {
            Latent::Gaussian { .. } => ("projection", projection),
            Latent::Factors {} => ("vectors", vectors),
            // The plain objective and the control read none, but a file may hold one.
            Latent::None {}
            | Latent::Control {}
            | Latent::Gumbel { .. }
            | Latent::ExactElbo { .. }
            | Latent::Marginal {} => ("codebook", codebook),
        };
        let vectors = match rows {
            Some(rows) if rows.is_empty() => return Err(fault(key, "at least one row", "none")),
            Some(rows) => matrix(key, &rows, d)?,
            None if latent.has_vectors() => return Err(missing(key)),
            None => Array2::zeros((1, d)),
        };
        let network = match (network, latent) {
            (None, Latent::Control {}) => return Err(missing("network")),
            (network, _) => network.map(|network| network.checked(d)).transpose()?,
        };
        if pairs.is_empty() {
            return Err(fault("pairs", "at least one pair", "none"));
        }
        let check = |(i, pair): (usize, RawPair)| {
            pair.checked(&format!("pairs[{i}]"), objective, latent, lm_head.dim(), vectors.nrows())
        };
        let pairs: Vec<Pair> = pairs.into_iter().enumerate().map(check).collect::<Result<_>>()?;
        let tokens: usize = pairs.iter().map(|p| p.chosen.tokens.len() + p.rejected.tokens.len()).sum();
        // One h_z where there are no codes.
        let codes = if latent.has_codes() { vectors.nrows() } else { 1 };
        let scores = tokens.saturating_mul(lm_head.nrows()).saturating_mul(codes);
        if scores > MOST_SCORES {
            let expected = format!("tokens × vocabulary × codes of at most {MOST_SCORES} in all");
            return Err(fault("pairs", expected, scores));
        }
        Ok(Problem { objective, latent, lm_head, vectors, network, pairs })
    }
}

impl RawNetwork {
    /// From d numbers to d, over as many inner ones as `inner_weight` has rows.
    fn checked(self, d: usize) -> Result<Mlp> {
        let width = self.inner_weight.len();
        if width == 0 {
            return Err(fault("network.inner_weight", "at least one row", "none"));
        }
        if self.outer_weight.len() != d {
            return Err(fault("network.outer_weight", format!("{d} rows"), self.outer_weight.len()));
        }
        let vector = |name: &str, values: Vec<f64>, n: usize| match values.len() {
            len if len == n => Ok(Array1::from(values)),
            len => Err(count(&format!("network.{name}"), n, len)),
        };
        Ok(Mlp {
            inner_weight: matrix("network.inner_weight", &self.inner_weight, d)?,
            inner_bias: vector("inner_bias", self.inner_bias, width)?,
            outer_weight: matrix("network.outer_weight", &self.outer_weight, width)?,
            outer_bias: vector("outer_bias", self.outer_bias, d)?,
        })
    }
}

impl RawPair {
    fn checked(
        self,
        at: &str,
        objective: Objective,
        latent: Latent,
        lm_head: (usize, usize),
        vectors: usize,
    ) -> Result<Pair> {
        let vector = |name: &str, values: Option<Vec<f64>>, n: usize, needed: bool| match values {
            Some(values) if values.len() == n => Ok(Array1::from(values)),
            Some(values) => Err(count(&format!("{at}.{name}"), n, values.len())),
            None if needed => Err(missing(format!("{at}.{name}"))),
            None => Ok(Array1::zeros(n)),
        };
        let number = |name: &str, value: Option<f64>| match value {
            None if objective.needs_reference() => Err(missing(format!("{at}.{name}"))),
            value => Ok(value.unwrap_or(0.0)),
        };
        let gaussian = matches!(latent, Latent::Gaussian { .. });
        let sampled = gaussian || matches!(latent, Latent::Gumbel { .. });
        let (names, prior, posterior, n) = match gaussian {
            true => (
                ["prior_outputs", "posterior_outputs"],
                self.prior_outputs,
                self.posterior_outputs,
                2 * vectors,
            ),
            false => {
                (["prior_logits", "posterior_logits"], self.prior_logits, self.posterior_logits, vectors)
            }
        };
        let has_posterior = posterior.is_some();
        let (factors, d) = (latent == Latent::Factors {}, lm_head.1);
        Ok(Pair {
            has_posterior,
            prior: vector(names[0], prior, n, gaussian || latent.has_codes())?,
            posterior: vector(names[1], posterior, n, gaussian || latent.has_posterior())?,
            prior_noise: vector("prior_noise", self.prior_noise, vectors, sampled)?,
            posterior_noise: vector("posterior_noise", self.posterior_noise, vectors, sampled)?,
            factor_weights: match factors {
                true => vector("factor_weights", self.factor_weights, vectors, true)?,
                false => Array1::zeros(0),
            },
            prompt_hidden: vector("prompt_hidden", self.prompt_hidden, d, latent == Latent::Control {})?,
            chosen: self.chosen.checked(&format!("{at}.chosen"), lm_head)?,
            rejected: self.rejected.checked(&format!("{at}.rejected"), lm_head)?,
            reference_chosen_logps: number("reference_chosen_logps", self.reference_chosen_logps)?,
            reference_rejected_logps: number("reference_rejected_logps", self.reference_rejected_logps)?,
        })
    }
}

impl RawCompletion {
    fn checked(self, at: &str, (vocabulary, d): (usize, usize)) -> Result<Completion> {
        let Self { hidden, tokens } = self;
        if tokens.is_empty() {
            return Err(fault(format!("{at}.tokens"), "at least one token", "none"));
        }
        if hidden.len() != tokens.len() {
            let expected = format!("{} rows, one a token", tokens.len());
            return Err(fault(format!("{at}.hidden"), expected, hidden.len()));
        }
        if let Some((t, token)) = tokens.iter().enumerate().find(|&(_, &token)| token as usize >= vocabulary)
        {
            return Err(fault(format!("{at}.tokens[{t}]"), format!("below {vocabulary}"), token));
        }
        Ok(Completion { hidden: matrix(&format!("{at}.hidden"), &hidden, d)?, tokens })
    }
}

impl Latent {
    pub(super) fn has_codes(self) -> bool {
        matches!(self, Self::Gumbel { .. } | Self::ExactElbo { .. } | Self::Marginal {})
    }

    fn has_vectors(self) -> bool {
        self.has_codes() || matches!(self, Self::Gaussian { .. } | Self::Factors {})
    }

    fn has_posterior(self) -> bool {
        matches!(self, Self::Gumbel { .. } | Self::ExactElbo { .. })
    }

    fn validate(self) -> Result<()> {
        let at_least_0 = |v: f64| if v >= 0.0 { Ok(()) } else { Err(fault("latent.kl_weight", ">= 0", v)) };
        match self {
            Self::None {} | Self::Marginal {} | Self::Control {} | Self::Factors {} => Ok(()),
            Self::ExactElbo { kl_weight } => at_least_0(kl_weight),
            Self::Gumbel { gumbel_tau, .. } if gumbel_tau <= 0.0 => {
                Err(fault("latent.gumbel_tau", "> 0", gumbel_tau))
            }
            Self::Gumbel { prior_weight, .. } | Self::Gaussian { prior_weight, .. }
                if !(0.0..=1.0).contains(&prior_weight) =>
            {
                Err(fault("latent.prior_weight", "in [0, 1]", prior_weight))
            }
            Self::Gumbel { kl_weight, .. } | Self::Gaussian { kl_weight, .. } => at_least_0(kl_weight),
        }
    }
}

fn matrix(name: &str, rows: &[Vec<f64>], columns: usize) -> Result<Array2<f64>> {
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != columns) {
        return Err(count(&format!("{name}[{i}]"), columns, row.len()));
    }
    Ok(Array2::from_shape_fn((rows.len(), columns), |(i, j)| rows[i][j]))
}

fn count(field: &str, expected: usize, got: usize) -> Error {
    fault(field, format!("{expected} number{}", if expected == 1 { "" } else { "s" }), got)
}

fn missing(field: impl Into<String>) -> Error {
    fault(field, "a value, which this mode and objective need", "nothing")
}

fn fault(field: impl Into<String>, expected: impl Into<String>, got: impl std::fmt::Display) -> Error {
    Error::argument("check", field, got, expected)
}
