//! How long many things took.

use std::time::Duration;

/// Durations, sorted. Few enough that all of them are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

// === impl Latencies ===

impl FromIterator<Duration> for Latencies {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        let mut durations = durations.into_iter().collect::<Vec<_>>();
        durations.sort_unstable();
        Self(durations)
    }
}

impl Latencies {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What so many of a thousand are no longer than; zero when there is none.
    pub fn permille(&self, permille: usize) -> Duration {
        let rank = (self.0.len() * permille).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The longest; zero when there is none.
    pub fn longest(&self) -> Duration {
        self.permille(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_sorted_list() {
        let millis = |millis| Duration::from_millis(millis);
        let latencies = (1..=200).rev().map(millis).collect::<Latencies>();
        let ranks = [500, 990, 1000].map(|permille| latencies.permille(permille));
        assert_eq!(ranks, [100, 198, 200].map(millis));
        assert_eq!(latencies.permille(0), millis(1));
        assert_eq!(Latencies::default().longest(), Duration::ZERO);
    }
}
