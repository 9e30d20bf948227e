//! How a run uses its codes, measured on the test pairs.

use crate::eval::clusters::AgainstNull;
use serde::{Deserialize, Serialize};

/// How a run uses its codes, measured on the test pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    pub pairs: usize,
    /// By code.
    pub usage: Vec<Usage>,
    /// Mean entropy of p(z|x), nats.
    pub prior_entropy: f64,
    /// Mean KL(q ‖ p), nats.
    pub kl: f64,
    /// Share of pairs whose likeliest code is the same before and after seeing the preference.
    pub same_code: f64,
    /// Mutual information of p(z|x) with each label, in nats.
    pub information: Vec<Information>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Mean of p(k|x), and of q.
    pub prior: f64,
    pub posterior: f64,
    /// Share of the prompts for which this is the likeliest code.
    pub likeliest: f64,
    /// The tokens whose scores W e_k raises most, strongest first.
    pub tokens: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Information {
    pub of: String,
    /// Entropy of the label: no code can tell more than this.
    pub entropy: f64,
    pub found: AgainstNull,
}

impl Codes {
    /// The effective number of codes, by prior and by posterior: exp of the entropy of the codes' mean weights.
    /// It is K if all codes are used equally.
    pub fn perplexities(&self) -> [f64; 2] {
        let of = |share: fn(&Usage) -> f64| entropy(self.usage.iter().map(share)).exp();
        [of(|u| u.prior), of(|u| u.posterior)]
    }

    /// The codes, those that the prior uses most first.
    pub fn by_use(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.usage.len()).collect();
        order.sort_by(|a, b| self.usage[*b].prior.total_cmp(&self.usage[*a].prior));
        order
    }

    /// Codes with less than a tenth of an equal share, before and after the preference is seen.
    pub fn dead(&self) -> usize {
        let least = 0.1 / self.usage.len() as f64;
        self.usage.iter().filter(|u| u.prior < least && u.posterior < least).count()
    }
}

pub fn entropy(p: impl Iterator<Item = f64>) -> f64 {
    p.filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}
