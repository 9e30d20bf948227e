//! What an argument may be; anything else is refused before work begins.

use crate::{Error, Result};
use candle_core::Device;
use clap::builder::RangedU64ValueParser;

/// Whole numbers from 1 to `most`.
pub(super) fn up_to<T: TryFrom<u64> + Clone + Send + Sync + 'static>(most: u64) -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(1..=most)
}

pub(super) fn at_least_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number, at least 1".into())
}

/// For what an interval is made of.
pub(super) fn at_least_2(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 1).ok_or_else(|| "expected a whole number, at least 2".into())
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    number(text, |t| t.is_finite() && t >= 0.0, "expected a finite number, at least 0")
}

pub(super) fn top_p(text: &str) -> Result<f64, String> {
    number(text, |p| p > 0.0 && p <= 1.0, "expected a number above 0 and at most 1")
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    number(text, |s| (0.0..=86400.0).contains(&s), "expected a number from 0 to 86400")
}

pub(super) fn dollars(text: &str) -> Result<f64, String> {
    number(text, |d| d.is_finite() && d >= 0.0, "expected a finite number, at least 0")
}

pub(super) fn date(text: &str) -> Result<String, String> {
    let date = text.parse::<jiff::civil::Date>().map_err(|_| "expected a date, as 2026-01-31".to_string())?;
    Ok(date.to_string())
}

/// What `--device` names. Only commands that compute open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceName {
    Cpu,
    Cuda(usize),
}

pub(super) fn device(text: &str) -> Result<DeviceName, String> {
    match (text, text.strip_prefix("cuda:").and_then(|n| n.parse().ok())) {
        ("cpu", _) => Ok(DeviceName::Cpu),
        ("cuda", _) => Ok(DeviceName::Cuda(0)),
        (_, Some(n)) => Ok(DeviceName::Cuda(n)),
        _ => Err("expected cpu, cuda or cuda:N".into()),
    }
}

impl DeviceName {
    pub(super) fn open(self) -> Result<Device> {
        let Self::Cuda(n) = self else { return Ok(Device::Cpu) };
        Device::new_cuda(n).map_err(|e| {
            let (got, expected) = match e {
                candle_core::Error::NotCompiledWithCudaSupport => {
                    ("a program without CUDA".to_string(), "a build with `--features cuda`")
                }
                // A trace may follow.
                e => (e.to_string().lines().take(1).collect::<String>(), "a CUDA driver and that device"),
            };
            Error::argument("--device", format!("cuda:{n}"), got, expected)
        })
    }
}

fn number(text: &str, allowed: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&v| allowed(v)).ok_or_else(|| expected.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        assert_eq!(device("cpu"), Ok(DeviceName::Cpu));
        assert_eq!(device("cuda"), Ok(DeviceName::Cuda(0)));
        assert_eq!(device("cuda:3"), Ok(DeviceName::Cuda(3)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cpu:0"] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
