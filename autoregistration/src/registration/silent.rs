//! Streams that have not said `Hello`: so many and not more, and of one identity only a part of them, so that nobody
//! keeps the others out by saying nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::SpiffeId;

/// Places for all.
const MOST: usize = 1000;
/// Places for one identity. A harness says `Hello` in the moment in which it opens its stream, so that thousands of VMs
/// with one identity need few.
const MOST_OF_ONE: usize = MOST / 4;

/// The places.
#[derive(Clone, Debug, Default)]
pub(super) struct Silent(Arc<Mutex<HashMap<SpiffeId, usize>>>);

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Silent,
    identity: SpiffeId,
}

// === impl Silent ===

impl Silent {
    /// A place for one more stream of `identity`, if there is one.
    pub(super) fn enter(&self, identity: &SpiffeId) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(identity).copied().unwrap_or_default();
        if own >= MOST_OF_ONE || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(identity.clone(), own + 1);
        Some(Place {
            places: self.clone(),
            identity: identity.clone(),
        })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.identity) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Silent, name: &str) -> Vec<Place> {
        let identity = format!("spiffe://td/{name}").parse().unwrap();
        let most = std::iter::repeat_with(|| places.enter(&identity)).map_while(|place| place);
        most.take(MOST * 2).collect()
    }

    #[test]
    fn one_identity_has_a_quarter_of_the_places_and_all_of_them_are_given_back() {
        let places = Silent::default();
        let one = fill(&places, "one");
        assert_eq!(one.len(), MOST_OF_ONE);
        let others = ["two", "three", "four"].map(|name| fill(&places, name));
        assert!(others.iter().all(|places| places.len() == MOST_OF_ONE));
        assert!(fill(&places, "five").is_empty());
        drop(one);
        assert_eq!(fill(&places, "five").len(), MOST_OF_ONE);
        drop(others);
        assert!(places.0.lock().unwrap().is_empty());
    }
}
