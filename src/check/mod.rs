//! A pair's loss from given numbers, by both implementations: what `lpc check` calculates.

mod by_spec;
mod by_tensor;
pub mod input;

use crate::error::{Error, Place, Result};
use input::Problem;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// How far the two sides may lie apart: |a − b| / max(1, |a|, |b|). Both compute in f64 and differ in
/// the order of sums, by some 1e-15 of the largest term; a number that cancels from terms a million
/// times its own size is still within.
pub const TOLERANCE: f64 = 1e-9;

/// What one side says of one pair; absent is what the mode does not have. Log-probabilities are
/// sums in nats.
#[derive(Debug, Clone, Serialize)]
pub struct PairNumbers {
    pub loss: f64,
    /// Δ of (5), for SimPO the whole argument of σ in (12). It and the next two belong to one h_z,
    /// which the exact modes do not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// KL(q ‖ p)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_chosen_logps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_rejected_logps: Option<f64>,
    /// [d]: h_z, where it is no mixture of codes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<Vec<f64>>,
    /// [K], the mixture of (11)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_weights: Option<Vec<f64>>,
    /// [K], the margin at each code alone
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_margins: Option<Vec<f64>>,
    /// [K], p(z | x, y_w ≻ y_l) by Bayes' rule on (6)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_posterior: Option<Vec<f64>>,
    /// KL(q ‖ exact_posterior): by how much (7) at λ = 1 exceeds (6)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_gap: Option<f64>,
}

/// ∂(mean loss over the pairs) / ∂(matrix), row by row, by the matrix's name in the file: `lm_head` [V, d]
/// and, of what the mode has, `codebook` [K, d], `projection` [D, d], `vectors` [F, d], or the network's
/// four (a bias is a row).
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Gradients(pub BTreeMap<&'static str, Vec<Vec<f64>>>);

/// Something that both sides calculate.
#[derive(Debug, Clone, Serialize)]
pub struct Both<T> {
    pub spec: T,
    pub tensor: T,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub pairs: Vec<Both<PairNumbers>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients: Option<Both<Gradients>>,
    /// The largest |a − b| / max(1, |a|, |b|) of all numbers above.
    pub max_rel_diff: f64,
    pub tolerance: f64,
}

/// One number of the report under both implementations.
#[derive(Debug, Clone)]
pub struct Row {
    /// `pairs[0].code_margins[2]`
    pub name: String,
    pub spec: f64,
    pub tensor: f64,
}

impl Row {
    pub fn difference(&self) -> f64 {
        (self.spec - self.tensor).abs() / self.spec.abs().max(self.tensor.abs()).max(1.0)
    }
}

/// Calculates a file's pairs on both sides.
///
/// Errors: those of [`Problem::read`]; numbers that overflow f64 on the way, naming the formula.
pub fn check(path: &Path, with_gradients: bool) -> Result<Report> {
    let problem = Problem::read(path)?;
    let overflow = |e: Error| Error::input(Place::file(path), "numbers that stay finite", e);
    let (spec, spec_gradients) = by_spec::numbers(&problem).map_err(overflow)?;
    let (tensor, tensor_gradients) = by_tensor::numbers(&problem).map_err(overflow)?;
    let mut report = Report {
        pairs: spec.into_iter().zip(tensor).map(|(spec, tensor)| Both { spec, tensor }).collect(),
        gradients: with_gradients.then_some(Both { spec: spec_gradients, tensor: tensor_gradients }),
        max_rel_diff: 0.0,
        tolerance: TOLERANCE,
    };
    report.max_rel_diff = report.worst().map_or(0.0, |row| row.difference());
    Ok(report)
}

impl Report {
    /// Every number, in the order of the JSON.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (i, pair) in self.pairs.iter().enumerate() {
            rows.extend(joined(&format!("pairs[{i}]"), pair.spec.blocks(), pair.tensor.blocks()));
        }
        if let Some(Both { spec, tensor }) = &self.gradients {
            rows.extend(joined("gradients", spec.blocks(), tensor.blocks()));
        }
        rows
    }

    /// The number on which the sides differ most; one that is not a number differs most of all.
    pub fn worst(&self) -> Option<Row> {
        let size = |row: &Row| if row.difference().is_nan() { f64::INFINITY } else { row.difference() };
        self.rows().into_iter().max_by(|a, b| size(a).total_cmp(&size(b)))
    }

    /// Whether every number agrees within [`TOLERANCE`].
    pub fn agrees(&self) -> bool {
        self.max_rel_diff <= self.tolerance
    }
}

type Blocks<'a> = Vec<(String, &'a [f64])>;

fn joined(at: &str, spec: Blocks, tensor: Blocks) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((name, spec), (_, tensor)) in spec.into_iter().zip(tensor) {
        for (i, (&spec, &tensor)) in spec.iter().zip(tensor).enumerate() {
            rows.push(Row { name: format!("{at}.{}", name.replace('#', &i.to_string())), spec, tensor });
        }
    }
    rows
}

impl PairNumbers {
    /// Vectors have a `#` for the place in them.
    fn blocks(&self) -> Blocks<'_> {
        let one = std::slice::from_ref::<f64>;
        let scalars = [
            ("margin", &self.margin),
            ("kl", &self.kl),
            ("policy_chosen_logps", &self.policy_chosen_logps),
            ("policy_rejected_logps", &self.policy_rejected_logps),
            ("bound_gap", &self.bound_gap),
        ];
        let vectors = [
            ("latent[#]", &self.latent),
            ("code_weights[#]", &self.code_weights),
            ("code_margins[#]", &self.code_margins),
            ("exact_posterior[#]", &self.exact_posterior),
        ];
        let scalars = scalars.into_iter().filter_map(|(name, v)| Some((name.into(), one(v.as_ref()?))));
        let vectors = vectors.into_iter().filter_map(|(name, v)| Some((name.into(), v.as_deref()?)));
        std::iter::once(("loss".into(), one(&self.loss))).chain(scalars).chain(vectors).collect()
    }
}

impl Gradients {
    fn blocks(&self) -> Blocks<'_> {
        let rows = self.0.iter().flat_map(|(name, rows)| rows.iter().enumerate().map(move |r| (name, r)));
        rows.map(|(name, (i, row))| (format!("{name}[{i}][#]"), row.as_slice())).collect()
    }
}
