//! Differences between cells with and without LPC, one by one and pooled, and what they decide.

use super::summary::{Comparison, Difference, Pooled, Row, RunSummary, correct};
use crate::Result;
use crate::eval::stats::{Crossed, MeanSquare, paired_interval, shared};
use crate::report::verdict::{Claim, Compared, decide};
use crate::run::records::Record;
use ndarray::Array2;

/// Fills in the rows' comparisons and gives the pooled ones; all are one family.
///
/// A cell's interval takes the seeds' mean square of all cells of its objective together: how much a seed
/// matters is a property of the objective and the recipe, and few seeds a cell say little about it.
pub(super) fn compare<'a>(
    rows: &mut [Row<'a>],
    objectives: &[&'a str],
    margin: Option<f64>,
) -> Result<Vec<Pooled<'a>>> {
    let measured: Vec<Option<Measured<'a>>> = rows.iter().map(Measured::of).collect();
    let mut family: Vec<(Difference, usize)> = vec![];
    for (row, own) in rows.iter().zip(&measured) {
        let Some(own) = own else { continue };
        let fellows = rows.iter().zip(&measured).filter(|(other, _)| other.objective == row.objective);
        let fellows: Vec<&Measured> = fellows.filter_map(|(_, m)| m.as_ref()).collect();
        family.push((own.difference(&fellows)?, own.runs.len()));
    }
    let mut pools: Vec<(Option<&'a str>, Vec<usize>)> = vec![];
    for objective in objectives.iter().copied().map(Some).chain([None]) {
        let of = |i: &usize| measured[*i].is_some() && objective.is_none_or(|o| o == rows[*i].objective);
        let cells: Vec<usize> = (0..rows.len()).filter(of).collect();
        // The mean over one objective's cells is the mean over all, where there is but one.
        if cells.len() > 1 && (objective.is_some() || objectives.len() > 1) {
            pools.push((objective, cells));
        }
    }
    let mut averages = vec![];
    for (objective, cells) in pools {
        let of: Vec<&Measured> = cells.iter().filter_map(|i| measured[*i].as_ref()).collect();
        if let Some(average) = Measured::average(&of) {
            family.push((average.difference(&[])?, average.seeds.len()));
            averages.push((objective, cells, average.seeds.len()));
        }
    }
    let compared = |(difference, seeds): &(Difference, usize)| Compared {
        estimate: difference.decides(),
        claim: Claim::Higher,
        margin,
        seeds: *seeds,
    };
    let decisions = decide(&family.iter().map(compared).collect::<Vec<_>>())?;
    let mut decided = family.into_iter().map(|(difference, _)| difference).zip(decisions);
    for (row, own) in rows.iter_mut().zip(measured) {
        let Some(own) = own else { continue };
        let found = decided.next();
        row.comparison =
            found.map(|(difference, decision)| Comparison { runs: own.runs, difference, decision });
    }
    let pool = |((objective, cells, seeds), (difference, decision)): ((_, Vec<usize>, usize), _)| {
        let published: Option<Vec<f64>> =
            cells.iter().map(|i| rows[*i].published.map(|p| p.with - p.without)).collect();
        let published = published.map(|all| all.iter().sum::<f64>() / all.len() as f64);
        Pooled { objective, cells: cells.len(), seeds, difference, decision, published }
    };
    Ok(averages.into_iter().zip(decided).map(pool).collect())
}

/// Differences of every seed and test pair, by both scores.
struct Measured<'a> {
    runs: Vec<(&'a RunSummary, &'a RunSummary)>,
    seeds: Vec<u64>,
    pairs: Vec<&'a str>,
    by_label: Array2<f64>,
    by_probability: Option<Array2<f64>>,
}

impl<'a> Measured<'a> {
    /// Over the seeds that both arms ran; none without one.
    fn of(row: &Row<'a>) -> Option<Self> {
        let partner = |run: &RunSummary| row.without.runs.iter().find(|r| r.seed == run.seed);
        let paired = row.with.runs.iter().filter_map(|with| Some((*partner(with)?, *with)));
        let runs: Vec<(&RunSummary, &RunSummary)> = paired.collect();
        let (_, first) = runs.first()?;
        let shape = (runs.len(), first.records.len());
        let cell = |(s, e): (usize, usize), score: &dyn Fn(&Record) -> f64| {
            score(&runs[s].1.records[e]) - score(&runs[s].0.records[e])
        };
        let known = first.records.iter().all(|r| r.bayes.is_some());
        let probability = |r: &Record| r.probability().unwrap_or_else(|| correct(r));
        Some(Self {
            seeds: runs.iter().map(|(_, with)| with.seed).collect(),
            pairs: first.records.iter().map(|r| r.id.as_str()).collect(),
            by_label: Array2::from_shape_fn(shape, |at| cell(at, &correct)),
            by_probability: known.then(|| Array2::from_shape_fn(shape, |at| cell(at, &probability))),
            runs,
        })
    }

    /// Seed by seed and pair by pair, so that whatever cells have in common with one another is counted once.
    /// None where the cells have no seed in common, or other test pairs.
    fn average(cells: &[&Self]) -> Option<Self> {
        let first = cells.first()?;
        let seeds: Vec<u64> =
            first.seeds.iter().copied().filter(|s| cells.iter().all(|c| c.seeds.contains(s))).collect();
        if seeds.is_empty() || cells.iter().any(|c| c.pairs != first.pairs) {
            return None;
        }
        let mean = |of: &dyn Fn(&Self) -> Option<&Array2<f64>>| {
            let all: Vec<(&Array2<f64>, Vec<usize>)> = cells
                .iter()
                .map(|cell| {
                    let at = |seed: &u64| cell.seeds.iter().position(|s| s == seed);
                    Some((of(cell)?, seeds.iter().filter_map(at).collect()))
                })
                .collect::<Option<_>>()?;
            let value = |(s, e): (usize, usize)| {
                all.iter().map(|(x, rows)| x[[rows[s], e]]).sum::<f64>() / all.len() as f64
            };
            Some(Array2::from_shape_fn((seeds.len(), first.pairs.len()), value))
        };
        Some(Self {
            runs: vec![],
            by_label: mean(&|m| Some(&m.by_label))?,
            by_probability: mean(&|m| m.by_probability.as_ref()),
            pairs: first.pairs.clone(),
            seeds,
        })
    }

    /// `fellows`: cells, this one among them, whose seeds vary as much as its own.
    fn difference(&self, fellows: &[&Self]) -> Result<Difference> {
        let estimate = |own: &Array2<f64>, of: &dyn Fn(&Self) -> Option<&Array2<f64>>| {
            let alike = fellows.iter().filter_map(|m| of(m));
            let alike = alike.filter(|x| x.nrows() > 1 && x.ncols() == own.ncols());
            let seeds: Vec<MeanSquare> =
                alike.map(|x| Crossed::of(x.view()).map(|c| c.seed)).collect::<Result<_>>()?;
            paired_interval(own.view(), shared(&seeds))
        };
        let by_probability = self.by_probability.as_ref();
        Ok(Difference {
            by_label: estimate(&self.by_label, &|m| Some(&m.by_label))?,
            by_probability: by_probability
                .map(|own| estimate(own, &|m| m.by_probability.as_ref()))
                .transpose()?,
        })
    }
}
