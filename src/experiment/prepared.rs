//! A base model with everything its runs share: tokenised pairs and the reference's answers.

use crate::Result;
use crate::config::{Latent, ModelSource, Precision, Training, Truncation};
use crate::experiment::base;
use crate::experiment::dataset::{PairData, TextPairs};
use crate::experiment::reference::Reference;
use crate::model::load::Loaded;
use crate::model::parameters::Parameters;
use crate::model::policy::Policy;
use crate::progress::Progress;
use std::path::Path;

pub struct Prepared {
    pub base: Loaded,
    pub data: PairData,
    /// For objectives that compare with π_ref, and for the base model's own accuracy.
    pub reference: Option<Reference>,
}

impl Prepared {
    /// The reference answers in the precision that the policy is trained in, by as many pairs at a
    /// time, which changes only the speed.
    ///
    /// Errors: the model or the pairs cannot be read, or do not fit each other.
    pub fn load(
        model: &ModelSource,
        text: &TextPairs,
        truncation: &Truncation,
        needs_reference: bool,
        training: &Training,
        runs: &Path,
        progress: &Progress,
    ) -> Result<Self> {
        let base = base::load(model, runs, progress)?;
        let data = text.tokenized(&base, truncation)?;
        let reference = match needs_reference {
            false => None,
            true => Some(Reference::load(&base, &data, training, runs, progress)?),
        };
        Ok(Self { base, data, reference })
    }
}

/// The base model as a policy without a latent: π_ref.
pub fn reference_policy(base: &Loaded, precision: Precision) -> Result<Policy> {
    Policy::new(&base.config, &Parameters::from_tensors(&base.weights)?, &Latent::None {}, precision)
}
