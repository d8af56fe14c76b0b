//! Values that live while somebody uses them and for a while after.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Values by key; one that nobody holds is dropped after `idle`.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    slots: Arc<Mutex<HashMap<K, Slot<V>>>>,
    idle: Duration,
}

#[derive(Debug)]
struct Slot<V> {
    value: Arc<V>,
    leases: usize,
    /// Counts uses, so that a timer knows whether the value was used since it was set.
    uses: u64,
}

/// The use of a value.
#[derive(Debug)]
pub(crate) struct Lease<K: Eq + Hash + Clone + Send + 'static, V: Send + Sync + 'static> {
    pub(crate) value: Arc<V>,
    key: K,
    slots: Arc<Mutex<HashMap<K, Slot<V>>>>,
    idle: Duration,
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Send + Sync + 'static> Cache<K, V> {
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            slots: Arc::default(),
            idle,
        }
    }

    /// The value of a key, made if it is not there.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> V) -> Lease<K, V> {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot {
            value: Arc::new(make()),
            leases: 0,
            uses: 0,
        });
        slot.leases += 1;
        slot.uses += 1;
        Lease {
            value: Arc::clone(&slot.value),
            key,
            slots: Arc::clone(&self.slots),
            idle: self.idle,
        }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Send + Sync + 'static> Drop for Lease<K, V> {
    fn drop(&mut self) {
        let uses = {
            let mut slots = lock(&self.slots);
            let Some(slot) = slots.get_mut(&self.key) else {
                return;
            };
            slot.leases -= 1;
            if slot.leases > 0 {
                return;
            }
            slot.uses
        };
        let (key, slots, idle) = (self.key.clone(), Arc::clone(&self.slots), self.idle);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            tokio::time::sleep(idle).await;
            let mut slots = lock(&slots);
            if slots
                .get(&key)
                .is_some_and(|slot| slot.leases == 0 && slot.uses == uses)
            {
                slots.remove(&key);
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_outlives_its_last_use_by_the_idle_time() {
        let cache = Cache::<u16, &str>::new(Duration::from_secs(5));
        let first = cache.get(80, || "first");
        let second = cache.get(80, || "second");
        assert_eq!(*second.value, "first");
        drop((first, second));
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(cache.get(80, || "third"));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(
            *cache.get(80, || "fourth").value,
            "first",
            "a use starts the idle time anew"
        );
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(*cache.get(80, || "fifth").value, "fifth");
    }
}
