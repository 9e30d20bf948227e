//! The ranges of a recipe's values.

use super::{DataSource, Recipe, Training, Truncation};
use crate::error::{Error, Result};

// Far above any sensible run, and products of them stay inside 64 bits.
pub(super) const MOST_AT_ONCE: usize = 1 << 16;
const MOST_PAIRS: usize = 10_000_000;
const MOST_STEPS: usize = 1_000_000_000;

impl Recipe {
    /// Refuses values outside their range, naming the key.
    ///
    /// Numerics: the range holds for the value as a 32-bit float too, which training computes with.
    pub fn validate(&self) -> Result<()> {
        self.objective.validate()?;
        self.latent.validate(self.evaluation.latent, &self.data)?;
        match &self.data {
            DataSource::World(w) => {
                at_least_0("data.sharpness", w.sharpness)?;
                fraction("data.flip_rate", w.flip_rate)?;
                count("data.train", w.train, MOST_PAIRS)?;
                count("data.test", w.test, MOST_PAIRS)?;
            }
            DataSource::Jsonl { flip_rate, .. } => fraction("data.flip_rate", *flip_rate)?,
        }
        self.training.validate()?;
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

impl Training {
    fn validate(&self) -> Result<()> {
        count("training.epochs", self.epochs, MOST_AT_ONCE)?;
        count("training.batch_size", self.batch_size, MOST_AT_ONCE)?;
        count("training.micro_batch_size", self.micro_batch_size, MOST_AT_ONCE)?;
        count("training.checkpoint_every", self.checkpoint_every, MOST_STEPS)?;
        at_least_0("training.learning_rate", self.learning_rate)?;
        fraction("training.warmup_ratio", self.warmup_ratio)?;
        at_least_0("training.weight_decay", self.weight_decay)?;
        for (key, v) in [("training.adam_beta1", self.adam_beta1), ("training.adam_beta2", self.adam_beta2)] {
            check(key, v, |v| (0.0..1.0).contains(&v), "in [0, 1)")?;
        }
        positive("training.adam_epsilon", self.adam_epsilon)?;
        positive("training.max_grad_norm", self.max_grad_norm)?;
        self.validate_memory()
    }
}

pub(super) fn fraction(key: &str, got: f64) -> Result<()> {
    check(key, got, |v| (0.0..=1.0).contains(&v), "in [0, 1]")
}

pub(super) fn at_least_0(key: &str, got: f64) -> Result<()> {
    check(key, got, |v| v.is_finite() && v >= 0.0, "finite and >= 0")
}

pub(super) fn count(key: &str, got: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&got) {
        return Ok(());
    }
    Err(Error::argument("recipe", key, got, format!("at least 1 and at most {most}")))
}

pub(super) fn positive(key: &str, got: f64) -> Result<()> {
    check(key, got, |v| v.is_finite() && v > 0.0, "finite and > 0")
}

pub(super) fn check(key: &str, got: f64, allowed: impl Fn(f64) -> bool, expected: &str) -> Result<()> {
    let expected = match (allowed(got), allowed(f64::from(got as f32))) {
        (true, true) => return Ok(()),
        (true, false) => format!("{expected} as a 32-bit float"),
        (false, _) => expected.into(),
    };
    Err(Error::argument("recipe", key, got, expected))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_range_holds_in_single_precision() {
        let below_1 = |v| check("beta", v, |v| (0.0..1.0).contains(&v), "in [0, 1)");
        assert!(below_1(0.999).is_ok());
        assert_eq!(below_1(1.0).unwrap_err().to_string(), "recipe: beta = 1, expected in [0, 1)");
        // 1 - 1e-9 rounds to 1.
        assert!(below_1(1.0 - 1e-9).unwrap_err().to_string().ends_with("in [0, 1) as a 32-bit float"));
    }
}
