//! Many measurements of one thing.

use std::fmt;
use std::time::Duration;

/// At least one number.
#[derive(Debug)]
pub(crate) struct Spread(Vec<f64>);

// === impl Spread ===

impl Spread {
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        Self(numbers)
    }

    /// Of the pairs' ratios.
    pub(crate) fn of_ratios(ours: &[Duration], others: &[Duration]) -> Self {
        let pairs = ours.iter().zip(others);
        Self::of(pairs.map(|(ours, others)| ours.as_secs_f64() / others.as_secs_f64()))
    }

    pub(crate) fn of_millis(times: &[Duration]) -> Self {
        Self::of(times.iter().map(|time| time.as_secs_f64() * 1e3))
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// What nine of ten are below.
    pub(crate) fn p90(&self) -> f64 {
        self.0[self.0.len() * 9 / 10]
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{:.2} ({least:.2} to {most:.2})", self.median())
    }
}
