//! Numbers and phrases as every exhibit sets them.

use crate::eval::stats::Estimate;
use crate::plan::Scale;

pub(super) const NOT_RUN: &str = "not run";

/// Where there is nothing to say.
pub(super) const NONE: &str = "–";

/// Named wherever a number could be taken for one at the paper's scale.
pub(super) fn scale(scale: Scale) -> String {
    match scale {
        Scale::Paper => "The paper's scale".into(),
        other => format!("The {} scale, not the paper's", other.name()),
    }
}

/// Of a run, for readers and in CSV.
pub(super) fn side(latent: bool) -> &'static str {
    if latent { "with" } else { "without" }
}

/// A share as a percentage with one decimal: `70.8`.
pub(super) fn percent(share: f64) -> String {
    unsigned_zero(format!("{:.1}", 100.0 * share))
}

/// A difference of shares in percentage points with two decimals and a sign: `+1.53`.
pub(super) fn points(difference: f64) -> String {
    unsigned_zero(format!("{:+.2}", 100.0 * difference))
}

/// `70.8 [68.5, 73.1]`.
pub(super) fn bracketed(e: &Estimate, format: fn(f64) -> String) -> String {
    format!("{} [{}, {}]", format(e.mean), format(e.low), format(e.high))
}

/// A p-value with three decimals, `<0.001` below that.
pub fn p_value(p: f64) -> String {
    if p < 0.0005 { "<0.001".into() } else { format!("{p:.3}") }
}

/// A number for programs: enough digits to recompute from, few enough to be the same everywhere.
pub(super) fn full(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-3 { format!("{x:.8e}") } else { unsigned_zero(format!("{x:.8}")) }
}

/// What rounds to zero has no sign.
fn unsigned_zero(text: String) -> String {
    let zero = text.chars().all(|c| "+-0.".contains(c));
    if zero { text.trim_start_matches(['+', '-']).into() } else { text }
}
