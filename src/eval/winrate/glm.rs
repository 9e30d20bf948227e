//! AlpacaEval 2's length-controlled win rate: what the win rate would be if both outputs had the
//! same length, by a generalised linear model of the preference.

use super::logistic::{Observation, fit_cross_validated};
use super::{Anchor, Annotation, Estimate};
use crate::Result;
use crate::error::Error;
use crate::spec::numerics::sigmoid;

/// The published models of AlpacaEval 2. In all of them
/// P(model's output wins) = σ(length · tanh(Δ/s) + difficulty · γ_x + constant), where Δ is the
/// baseline's length less the model's, s the standard deviation of Δ over the model's rows and
/// γ_x the instruction's difficulty.
///
/// A row without a verdict also has lengths and a difficulty. It is used for s and for the mean in
/// [`Weights::length_controlled`], but not for the fit.
#[derive(Debug, Clone, PartialEq)]
pub enum Glm {
    /// The fit also gets rows of two gamed baselines, with weight 0.1 each and without the constant. They keep the
    /// length coefficient in a sensible range.
    LengthControlledV1 { anchors: Vec<Anchor> },
    /// The model's rows alone.
    LengthControlledNoreg,
    /// The model's rows alone, without γ_x.
    LengthControlledMinimal,
}

/// Total weight of a pair of gamed rows, of which there is one for each gamed baseline.
const ANCHOR_WEIGHT: f64 = 0.2;

/// Coefficients of a fitted model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub length: f64,
    pub difficulty: f64,
    pub constant: f64,
}

impl Glm {
    /// Fits a model's rows; `difficulty(row)` is γ_x. The penalty is chosen by cross-validation.
    ///
    /// Errors: fewer verdicts than folds, or outputs that all differ in length by the same number.
    pub fn fit(&self, rows: &[Annotation], difficulty: impl Fn(&Annotation) -> f64) -> Result<Weights> {
        let differences: Vec<f64> =
            rows.iter().map(|row| row.length_1 as f64 - row.length_2 as f64).collect();
        let deviation = deviation(&differences);
        if !deviation.is_normal() {
            return Err(Error::argument(
                "length control",
                "standard deviation of the length differences",
                deviation,
                "> 0",
            ));
        }
        let difficulty = |row: &Annotation| match self {
            // A feature that is 0 everywhere has no say.
            Glm::LengthControlledMinimal => 0.0,
            _ => difficulty(row),
        };
        let anchors: &[Anchor] = match self {
            Glm::LengthControlledV1 { anchors } => anchors,
            _ => &[],
        };
        let anchors = anchors.iter().filter_map(|anchor| {
            Some(Observation {
                features: [anchor.standardised_length.tanh(), anchor.difficulty, 0.0],
                positive: anchor.positive?,
                weight: ANCHOR_WEIGHT / 2.0,
            })
        });
        let rows = rows.iter().zip(&differences).filter_map(|(row, difference)| {
            Some(Observation {
                features: [(difference / deviation).tanh(), difficulty(row), 1.0],
                positive: row.preference? - 1.0,
                weight: 1.0,
            })
        });
        // The order decides the folds.
        let observations: Vec<_> = anchors.chain(rows).collect();
        let [length, difficulty, constant] = fit_cross_validated(&observations)?.coefficients;
        Ok(Weights { length, difficulty, constant })
    }
}

impl Weights {
    /// Mean over instructions of the win probability at equal lengths, and its standard error.
    ///
    /// Units: percent. Errors: fewer than two difficulties, or one that is not finite.
    ///
    /// ```
    /// use lpc::eval::winrate::Weights;
    /// let w = Weights { length: -2.0, difficulty: 1.0, constant: 0.0 };
    /// assert_eq!(w.length_controlled([-1.0, 0.0, 1.0]).unwrap().mean, 50.0);
    /// ```
    pub fn length_controlled(&self, difficulties: impl IntoIterator<Item = f64>) -> Result<Estimate> {
        Estimate::of(difficulties.into_iter().map(|d| sigmoid(self.difficulty * d + self.constant)))
    }
}

/// With the n − 1 divisor; not a number for fewer than two values.
fn deviation(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}
