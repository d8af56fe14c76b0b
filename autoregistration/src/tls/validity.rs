//! From when to when a certificate is valid, and whether its end is near.

use time::OffsetDateTime;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: OffsetDateTime,
    /// Until when.
    pub until: OffsetDateTime,
}

/// How much of a certificate's life is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Enough.
    Good,
    /// Less than a tenth: whoever renews it is late.
    Ending,
    /// None: every client refuses it.
    Ended,
}

// === impl Validity ===

impl Validity {
    /// The stage at this moment.
    pub(super) fn stage(&self, now: OffsetDateTime) -> Stage {
        let (life, left) = (self.until - self.from, self.until - now);
        if left.is_negative() {
            Stage::Ended
        } else if left < life / 10 {
            Stage::Ending
        } else {
            Stage::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn the_last_tenth_of_a_life_is_its_ending() {
        let from = OffsetDateTime::UNIX_EPOCH;
        let until = from + Duration::days(10);
        let validity = Validity { from, until };
        for (days, stage) in [
            (0, Stage::Good),
            (9, Stage::Good),
            (10, Stage::Ending),
            (11, Stage::Ended),
        ] {
            assert_eq!(validity.stage(from + Duration::days(days)), stage, "{days}");
        }
        let moment = Duration::seconds(1);
        assert_eq!(
            validity.stage(until - Duration::days(1) + moment),
            Stage::Ending
        );
        assert_eq!(validity.stage(until + moment), Stage::Ended);
    }
}
