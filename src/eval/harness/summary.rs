//! A task's metrics over its documents: mean, standard error, 95 % interval.

use super::Record;
use crate::Result;
use crate::eval::stats::{Interval, mean_and_error, student_interval, wilson_interval};
use std::collections::BTreeMap;

/// One metric over a task's documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub metric: String,
    pub documents: usize,
    pub mean: f64,
    /// s/√n with the n − 1 divisor, as in the harness. None for a single document.
    pub standard_error: Option<f64>,
    /// Wilson's interval for right and wrong answers, Student's within 0 and 1 for shares. None for a single share.
    pub interval: Option<Interval>,
}

/// Every metric that the records have, by name.
///
/// Errors: no records.
pub fn summarise(records: &[Record]) -> Result<Vec<Measured>> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for record in records {
        for (metric, value) in &record.verdicts {
            values.entry(metric).or_default().push(*value);
        }
    }
    values.into_iter().map(|(metric, values)| measure(metric, &values)).collect()
}

fn measure(metric: &str, values: &[f64]) -> Result<Measured> {
    let n = values.len();
    let right = values.iter().filter(|v| **v == 1.0).count();
    let binary = values.iter().all(|v| *v == 0.0 || *v == 1.0);
    let interval = match (binary, n) {
        (true, _) => Some(wilson_interval(right, n)?),
        (false, 1) => None,
        (false, _) => {
            let estimate = student_interval(values)?.within(0.0, 1.0);
            Some(Interval { low: estimate.low, high: estimate.high })
        }
    };
    Ok(Measured {
        metric: metric.into(),
        documents: n,
        mean: values.iter().sum::<f64>() / n as f64,
        standard_error: if n > 1 { Some(mean_and_error(values)?.1) } else { None },
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::measure;

    /// By hand: mean 29/30, standard error 1/30, Student's 0.975 quantile of 2 degrees of freedom 4.302653.
    #[test]
    fn an_interval_of_shares_stays_among_shares() {
        let near_1 = measure("mc2", &[1.0, 1.0, 0.9]).unwrap();
        let interval = near_1.interval.unwrap();
        assert!((interval.low - (29.0 - 4.302_653) / 30.0).abs() < 1e-6, "{interval:?}");
        assert_eq!(interval.high, 1.0);
        let near_0 = measure("mc2", &[0.0, 0.0, 0.1]).unwrap().interval.unwrap();
        assert!(near_0.low == 0.0 && (near_0.high - (1.0 - interval.low)).abs() < 1e-12, "{near_0:?}");
        // In the middle nothing is cut.
        let middle = measure("mc2", &[0.5, 0.5, 0.6]).unwrap().interval.unwrap();
        assert!((middle.high - middle.low - 2.0 * 4.302_653 / 30.0).abs() < 1e-6);
        // Right and wrong: Wilson's, of 3 of 3 from 1/(1 + z²/3).
        let binary = measure("acc", &[1.0; 3]).unwrap().interval.unwrap();
        assert!((binary.low - 0.438_503).abs() < 1e-6 && binary.high == 1.0, "{binary:?}");
    }
}
