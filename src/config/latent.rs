//! How the latent enters the policy, in training and at test time.

use super::DataSource;
use super::validate::{MOST_AT_ONCE, at_least_0, count, fraction, positive};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the latent code enters the policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Latent {
    /// The plain objective: no codebook. Braces, or serde would let unknown keys pass.
    None {},
    /// The paper's: relaxed Gumbel samples of prior and posterior, mixed by (11).
    Gumbel {
        /// K.
        codes: usize,
        gumbel_tau: f64,
        kl_weight: f64,
        prior_weight: PriorWeight,
        /// Standard deviation of the codebook's normal initialisation.
        codebook_std: f64,
        /// Learning rate of codebook, prior and posterior; absent: the backbone's.
        /// 0 freezes them and leaves them out of the clipping norm.
        heads_learning_rate: Option<f64>,
        #[serde(default, skip_serializing_if = "HeadsInput::is_raw")]
        heads_input: HeadsInput,
    },
    /// (7) with its expectation taken over every code: no sample, no relaxation.
    ExactElbo {
        codes: usize,
        kl_weight: f64,
        codebook_std: f64,
        heads_learning_rate: Option<f64>,
        #[serde(default, skip_serializing_if = "HeadsInput::is_raw")]
        heads_input: HeadsInput,
    },
    /// (6) itself: no posterior either.
    Marginal {
        codes: usize,
        codebook_std: f64,
        heads_learning_rate: Option<f64>,
        #[serde(default, skip_serializing_if = "HeadsInput::is_raw")]
        heads_input: HeadsInput,
    },
    /// h_z = MLP(h_x), with the parameters of LPC at K = `match_codes`: neither codes nor samples
    /// nor a divergence. A reviewer's question: is it the latent, or more parameters?
    Control {
        match_codes: usize,
        /// Scale of h_z as training begins; see `latent`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
        #[serde(default, skip_serializing_if = "HeadsInput::is_raw")]
        heads_input: HeadsInput,
    },
    /// z ~ N(μ, diag σ²) in the place of a code: prior, posterior, their KL and (11) as LPC has them,
    /// h_z = Σ_i z_i e_i. A reviewer's question: why discrete?
    Gaussian {
        /// Of z.
        dimension: usize,
        kl_weight: f64,
        prior_weight: PriorWeight,
        /// Scale of h_z as training begins; see `latent`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
        #[serde(default, skip_serializing_if = "HeadsInput::is_raw")]
        heads_input: HeadsInput,
    },
    /// h_z = Σ_f w_f(x) e_f with the built-in world's true weights of the prompt's factors, given in
    /// training and at test: what a latent could know at most. A reviewer's question: does LPC beat
    /// explicit multi-objective training?
    Factors {
        /// Scale of h_z as training begins; see `latent`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
    },
}

/// What the networks of a latent read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadsInput {
    /// Hidden states as they are: the paper's reading.
    #[default]
    Raw,
    /// h − μ, μ the base model's mean over the training pairs.
    Centred,
    /// (Σ + ε)^(−1/2) (h − μ), with the base model's covariance Σ too: every direction of h varies alike.
    Whitened,
}

impl HeadsInput {
    pub fn is_raw(&self) -> bool {
        *self == Self::Raw
    }
}

/// What every latent of discrete codes has: the codebook, and how it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codes {
    /// K.
    pub codes: usize,
    pub codebook_std: f64,
}

impl Latent {
    /// None for a latent without a codebook, and for the plain objective.
    pub fn codes(&self) -> Option<Codes> {
        match *self {
            Self::None {} | Self::Control { .. } | Self::Gaussian { .. } | Self::Factors { .. } => None,
            Self::Gumbel { codes, codebook_std, .. }
            | Self::ExactElbo { codes, codebook_std, .. }
            | Self::Marginal { codes, codebook_std, .. } => Some(Codes { codes, codebook_std }),
        }
    }

    /// Whether the policy has parameters of the latent's, beside the decoder's.
    pub fn has_heads(&self) -> bool {
        *self != Self::None {}
    }

    /// The heads' own learning rate, if the recipe sets one.
    pub fn heads_learning_rate(&self) -> Option<f64> {
        match *self {
            Self::None {} => None,
            Self::Gumbel { heads_learning_rate, .. }
            | Self::ExactElbo { heads_learning_rate, .. }
            | Self::Marginal { heads_learning_rate, .. }
            | Self::Control { heads_learning_rate, .. }
            | Self::Gaussian { heads_learning_rate, .. }
            | Self::Factors { heads_learning_rate, .. } => heads_learning_rate,
        }
    }

    /// What the networks read; [`HeadsInput::Raw`] where nothing is read.
    pub fn heads_input(&self) -> HeadsInput {
        match *self {
            Self::None {} | Self::Factors { .. } => HeadsInput::Raw,
            Self::Gumbel { heads_input, .. }
            | Self::ExactElbo { heads_input, .. }
            | Self::Marginal { heads_input, .. }
            | Self::Control { heads_input, .. }
            | Self::Gaussian { heads_input, .. } => heads_input,
        }
    }

    /// Whether a network reads the pair's completions too.
    pub fn reads_completions(&self) -> bool {
        match self {
            Self::Gumbel { .. } | Self::ExactElbo { .. } | Self::Marginal { .. } | Self::Gaussian { .. } => {
                true
            }
            Self::None {} | Self::Control { .. } | Self::Factors { .. } => false,
        }
    }

    /// The schedule of (11)'s α, where samples are mixed.
    pub fn prior_weight(&self) -> Option<PriorWeight> {
        match *self {
            Self::Gumbel { prior_weight, .. } | Self::Gaussian { prior_weight, .. } => Some(prior_weight),
            Self::None {}
            | Self::ExactElbo { .. }
            | Self::Marginal { .. }
            | Self::Control { .. }
            | Self::Factors { .. } => None,
        }
    }

    /// Refuses values outside their range, naming the key, and what this latent cannot be with such data or
    /// at test time.
    ///
    /// Numerics: as [`Recipe::validate`](super::Recipe::validate).
    pub fn validate(&self, at_test: LatentAtTest, data: &DataSource) -> Result<()> {
        at_least_0("latent.heads_learning_rate", self.heads_learning_rate().unwrap_or(0.0))?;
        if let Some(Codes { codes, codebook_std }) = self.codes() {
            count("latent.codes", codes, MOST_AT_ONCE)?;
            at_least_0("latent.codebook_std", codebook_std)?;
        }
        if let Some(PriorWeight::Fixed { value }) = self.prior_weight() {
            fraction("latent.prior_weight.value", value)?;
        }
        match *self {
            Self::Gumbel { gumbel_tau, kl_weight, .. } => {
                positive("latent.gumbel_tau", gumbel_tau)?;
                at_least_0("latent.kl_weight", kl_weight)?;
            }
            Self::Gaussian { dimension, kl_weight, output_std, .. } => {
                count("latent.dimension", dimension, MOST_AT_ONCE)?;
                at_least_0("latent.kl_weight", kl_weight)?;
                at_least_0("latent.output_std", output_std)?;
            }
            Self::ExactElbo { kl_weight, .. } => at_least_0("latent.kl_weight", kl_weight)?,
            Self::Control { match_codes, output_std, .. } => {
                count("latent.match_codes", match_codes, MOST_AT_ONCE)?;
                at_least_0("latent.output_std", output_std)?;
            }
            Self::Factors { output_std, .. } => {
                at_least_0("latent.output_std", output_std)?;
                if !matches!(data, DataSource::World(_)) {
                    let expected =
                        "another mode where data.kind is not \"world\": no other pairs carry true weights";
                    return Err(Error::argument("recipe", "latent.mode", "factors", expected));
                }
            }
            Self::Marginal { .. } | Self::None {} => {}
        }
        self.validate_at_test(at_test)
    }

    /// Refuses what this latent cannot be at test time.
    pub fn validate_at_test(&self, at_test: LatentAtTest) -> Result<()> {
        if at_test == LatentAtTest::Exact && self.has_heads() && self.codes().is_none() {
            let expected = "mean or sample where latent.mode has no codes to sum over";
            return Err(Error::argument("recipe", "evaluation.latent", "exact", expected));
        }
        Ok(())
    }
}

/// α of (11), the share of the prior's sample in h_z.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PriorWeight {
    /// 0 at the first step, 1 at the last.
    Linear {},
    Fixed {
        value: f64,
    },
}

/// h_z from the prior alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum LatentAtTest {
    /// The prior's mean: Σ_k p(k|x) e_k, or the mean of a Gaussian prior. Nothing is random.
    Mean,
    /// One sample of p(z|x), drawn with the run's seed. A sample of codes is relaxed as in training.
    Sample,
    /// All codes: Σ_k p(k|x) π(y|x, k), the likelihood under every code, weighted by the prior.
    Exact,
}
