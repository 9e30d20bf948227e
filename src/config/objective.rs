//! The preference objectives with their parameters.

use super::validate::{check, positive};
use crate::error::Result;
use serde::{Deserialize, Serialize};

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
        match self {
            Self::Dpo { .. } | Self::Ipo { .. } | Self::Gpo { .. } => true,
            Self::Simpo { .. } => false,
        }
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

#[cfg(test)]
mod tests {
    use super::{Gpo, Objective};

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
}
