//! The one rule by which every exhibit decides: its family of comparisons, the correction over it, and what a
//! verdict says.

use super::text::{p_value, points};
use crate::Result;
use crate::eval::stats::{Estimate, SIGNIFICANCE, Seeds, detectable, equivalence_p, holm, seeds_needed};

/// Name of the margin among the settings of evidence, in percentage points.
pub const MARGIN: &str = "margin_points";

/// What is said of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Supported,
    /// Significant the other way.
    Refuted,
    /// Any difference is smaller than the margin that was stated before the runs.
    NoDifference,
    Undecided,
}

/// What a comparison claims of its difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is above 0.
    Higher,
    /// It lies within ± the margin.
    Within,
}

/// One comparison of an exhibit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// A difference of shares, or of anything else in the unit of `margin`.
    pub estimate: Estimate,
    pub claim: Claim,
    /// Smaller differences do not matter. None where none was stated.
    pub margin: Option<f64>,
    pub seeds: usize,
}

/// What the rule says of a comparison within its family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    pub compared: Compared,
    /// That the difference is 0.
    pub p_holm: f64,
    /// That it lies beyond the margin.
    pub p_equivalence: Option<f64>,
    /// The smallest true difference that the design finds with a power of 80 %.
    pub detectable: f64,
    pub verdict: Verdict,
    /// Seeds at which a true difference of the margin would be found.
    pub seeds_needed: Option<Seeds>,
}

/// Decides every comparison of one exhibit. The p-values of all differences are corrected by Holm's method, and so
/// are those of all equivalence tests (TOST); a corrected p below 0.05 decides. A significant direction comes
/// before equivalence. The smallest detectable difference and the seeds are those of the strictest test of the
/// family, at 0.05 over its size.
///
/// Errors: a margin that is not above 0.
///
/// ```
/// use lpc::eval::stats::student_interval;
/// use lpc::report::verdict::{Claim, Compared, Verdict, decide};
/// let around = |mean: f64| {
///     let estimate = student_interval(&[-0.1, 0.0, 0.1, 0.0].map(|x| x + mean)).unwrap();
///     Compared { estimate, claim: Claim::Higher, margin: Some(0.5), seeds: 4 }
/// };
/// let verdicts: Vec<_> = decide(&[around(1.0), around(-1.0), around(0.0)]).unwrap().iter().map(|d| d.verdict).collect();
/// assert_eq!(verdicts, [Verdict::Supported, Verdict::Refuted, Verdict::NoDifference]);
/// ```
pub fn decide(family: &[Compared]) -> Result<Vec<Decision>> {
    let differences: Vec<f64> = family.iter().map(|c| c.estimate.p_value).collect();
    let with_margin = |c: &Compared| c.margin.map(|margin| equivalence_p(&c.estimate, margin)).transpose();
    let raw: Vec<Option<f64>> = family.iter().map(with_margin).collect::<Result<_>>()?;
    let mut equivalences = holm(&raw.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
    let level = SIGNIFICANCE / family.len().max(1) as f64;
    let decide = |((compared, p_holm), raw): ((&Compared, f64), &Option<f64>)| {
        let p_equivalence = raw.and_then(|_| equivalences.next());
        let Compared { estimate, margin, seeds, .. } = *compared;
        Decision {
            compared: *compared,
            p_holm,
            p_equivalence,
            detectable: detectable(&estimate, level),
            verdict: verdict(compared, p_holm, p_equivalence),
            seeds_needed: margin.map(|margin| seeds_needed(&estimate, seeds, margin, level)),
        }
    };
    Ok(family.iter().zip(holm(&differences)).zip(&raw).map(decide).collect())
}

fn verdict(compared: &Compared, p_holm: f64, p_equivalence: Option<f64>) -> Verdict {
    let Estimate { mean, low, high, .. } = compared.estimate;
    let differs = p_holm < SIGNIFICANCE;
    let equal = p_equivalence.is_some_and(|p| p < SIGNIFICANCE);
    match compared.claim {
        Claim::Higher if differs && mean > 0.0 => Verdict::Supported,
        Claim::Higher if differs => Verdict::Refuted,
        Claim::Higher if equal => Verdict::NoDifference,
        Claim::Within if equal => Verdict::Supported,
        Claim::Within if differs && compared.margin.is_some_and(|m| low > m || high < -m) => Verdict::Refuted,
        Claim::Higher | Claim::Within => Verdict::Undecided,
    }
}

/// One verdict on a claim that asks the same of several comparisons: supported where each is, refuted where one is,
/// no difference where each is known well enough and not every one is higher. None without comparisons.
///
/// ```
/// use lpc::report::verdict::{Verdict::*, all};
/// assert_eq!(all(&[Supported, Supported]), Some(Supported));
/// assert_eq!(all(&[Supported, Refuted]), Some(Refuted));
/// assert_eq!(all(&[Supported, NoDifference]), Some(NoDifference));
/// assert_eq!(all(&[NoDifference, Undecided]), Some(Undecided));
/// ```
pub fn all(verdicts: &[Verdict]) -> Option<Verdict> {
    let any = |verdict| verdicts.contains(&verdict);
    let strongest = [Verdict::Refuted, Verdict::Undecided, Verdict::NoDifference, Verdict::Supported];
    strongest.into_iter().find(|verdict| any(*verdict))
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Supported, Self::Refuted, Self::NoDifference, Self::Undecided];

    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::NoDifference => "no difference",
            Self::Undecided => "undecided",
        }
    }
}

impl Decision {
    /// What follows the verdict: the reason, then what the design could have found.
    pub(super) fn because(&self) -> String {
        format!("{}. {}", self.reason(), self.power())
    }

    fn reason(&self) -> String {
        let Compared { claim, margin, .. } = self.compared;
        let margin = margin.map(margin_words).unwrap_or_default();
        let equal = self.p_equivalence.is_some_and(|p| p < SIGNIFICANCE);
        match (self.verdict, claim) {
            (Verdict::Supported, Claim::Higher) if equal => {
                format!("the difference is above 0, but smaller than {margin}")
            }
            (Verdict::Refuted, Claim::Higher) if equal => {
                format!("the difference is below 0, but smaller than {margin}")
            }
            (Verdict::Supported, Claim::Higher) => "the difference is above 0".into(),
            (Verdict::Refuted, Claim::Higher) => "the difference is below 0".into(),
            (Verdict::NoDifference, _) | (Verdict::Supported, Claim::Within) => {
                format!("any difference is smaller than {margin}")
            }
            (Verdict::Refuted, Claim::Within) => format!("the difference is larger than {margin}"),
            (Verdict::Undecided, _) => self.undecided(&margin),
        }
    }

    fn undecided(&self, margin: &str) -> String {
        let seeds = |n: usize| match self.compared.seeds {
            // The estimate wandered towards the margin; at exactly 0 these seeds would have decided.
            now if n <= now => format!("the estimate lies too near the margin for {now} seeds"),
            _ => format!("about {n} seeds would find a difference of {margin}"),
        };
        match self.seeds_needed {
            None => "the difference may lie on either side of 0; no margin was stated".into(),
            Some(Seeds::Enough(n)) => seeds(n),
            Some(Seeds::MoreExamples(times)) => {
                format!("{times} times as many test examples would find a difference of {margin}")
            }
            Some(Seeds::Unknown) => "one seed says nothing about other training runs".into(),
        }
    }

    fn power(&self) -> String {
        let found = points(self.detectable).trim_start_matches('+').to_string();
        let p_is = |p: f64| match p_value(p) {
            small if small.starts_with('<') => format!("p < {}", &small[1..]),
            p => format!("p = {p}"),
        };
        let equal = self.p_equivalence.map_or(String::new(), |p| format!(", equivalence {}", p_is(p)));
        let differs = p_is(self.p_holm);
        format!("After correction {differs}{equal}; detectable with 80 % power: {found} points")
    }
}

/// `1.0 points`, of a share.
pub(super) fn margin_words(margin: f64) -> String {
    let text = format!("{:.2}", 100.0 * margin);
    let text = text.trim_end_matches('0');
    let text = if text.ends_with('.') { format!("{text}0") } else { text.into() };
    format!("{text} points")
}

/// One sentence on how many comparisons came out how.
pub(super) fn count(decided: &[Verdict], not_run: usize) -> String {
    let n = decided.len();
    let of = |verdict: Verdict| decided.iter().filter(|v| **v == verdict).count();
    let name = |verdict: Verdict| match verdict {
        Verdict::NoDifference => "no difference larger than the margin",
        other => other.name(),
    };
    let mut text = match Verdict::ALL.into_iter().find(|v| n > 0 && of(*v) == n) {
        _ if n == 0 => "Nothing was compared".into(),
        Some(one) if n == 1 => format!("The one comparison: {}", name(one)),
        Some(one) => format!("All {n} comparisons: {}", name(one)),
        None => {
            let parts = Verdict::ALL.into_iter().filter(|v| of(*v) > 0);
            let parts: Vec<String> = parts.map(|v| format!("{} in {}", name(v), of(v))).collect();
            format!("Of {n} comparisons: {}", parts.join(", "))
        }
    };
    if not_run > 0 {
        text += &format!("; {not_run} not run");
    }
    text + "."
}

/// The rule in words; `margin`: as it was stated, if it was.
pub(super) fn rule(margin: Option<f64>) -> String {
    let equivalence = match margin {
        Some(margin) => format!(
            " No difference: the two one-sided tests that the true difference lies within ± {} have p < 0.05, after \
             the same correction over all equivalence tests. The margin stood in the recipe before the runs.",
            margin_words(margin)
        ),
        None => " No margin was stated before the runs, so nothing is said of equivalence.".into(),
    };
    format!(
        "Supported and refuted: the difference is above or below 0 with p < 0.05 after Holm's correction over all \
         comparisons shown here.{equivalence}"
    )
}
