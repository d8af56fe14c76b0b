//! Takes a change of files only when two looks in a row saw the same, so that a file which is just being written, or a
//! certificate whose key comes a moment later, is never taken half.

use std::time::Duration;

/// Between two looks at files. A change is in effect after one to two of these.
pub const LOOK: Duration = Duration::from_millis(500);

/// What was last accepted and what was last seen.
#[derive(Clone, Debug)]
pub struct Settled<T> {
    accepted: T,
    seen: T,
}

// === impl Settled ===

impl<T: PartialEq + Clone> Settled<T> {
    /// Begins with what is in use.
    pub fn new(accepted: T) -> Self {
        Self {
            seen: accepted.clone(),
            accepted,
        }
    }

    /// Takes one look; answers with a value that is not in use and has held still, until [`Self::accept`].
    pub fn look(&mut self, value: T) -> Option<&T> {
        let still = self.seen == value;
        self.seen = value;
        (still && !self.is_in_use()).then_some(&self.seen)
    }

    /// What was last seen is in use, or need not be looked at again.
    pub fn accept(&mut self) {
        self.accepted = self.seen.clone();
    }

    /// What is in use.
    pub fn in_use(&self) -> &T {
        &self.accepted
    }

    /// Whether what was last seen is what is in use.
    pub fn is_in_use(&self) -> bool {
        self.accepted == self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_holds_still_until_it_is_accepted() {
        let mut settled = Settled::new("a");
        assert_eq!(settled.look("a"), None);
        assert_eq!(settled.look("half"), None);
        assert_eq!(settled.look("whole"), None);
        assert_eq!(settled.look("whole"), Some(&"whole"));
        assert_eq!(settled.look("whole"), Some(&"whole"));
        settled.accept();
        assert_eq!(settled.look("whole"), None);
    }

    #[test]
    fn a_change_that_is_taken_back_never_counts() {
        let mut settled = Settled::new("a");
        assert_eq!(settled.look("b"), None);
        assert_eq!(settled.look("a"), None);
        assert_eq!(settled.look("a"), None);
    }
}
