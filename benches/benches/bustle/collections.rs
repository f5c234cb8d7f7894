//! Ours and three maps as collections of the harness.

use std::hint::black_box;
use std::sync::Arc;

use bustle::{Collection, CollectionHandle};
use sessionwheel::{ExpiringMap, Timestamp};
use sessionwheel_bench::peers::Hasher;

type Value = u32;

/// Ours. Values do not change in place: an update reads one and replaces it.
#[derive(Clone)]
pub(crate) struct Ours(Arc<ExpiringMap<u64, Value>>);

impl Collection for Ours {
    type Handle = Self;

    fn with_capacity(_: usize) -> Self {
        let map = ExpiringMap::builder().build();
        Self(Arc::new(map.expect("good numbers")))
    }

    fn pin(&self) -> Self {
        self.clone()
    }
}

impl CollectionHandle for Ours {
    type Key = u64;

    fn get(&mut self, key: &u64) -> bool {
        let value = self.0.get_cloned(key, Timestamp::ZERO);
        black_box(value).is_some()
    }

    fn insert(&mut self, key: &u64) -> bool {
        put(&self.0, *key, 0)
    }

    fn remove(&mut self, key: &u64) -> bool {
        self.0.remove(key)
    }

    fn update(&mut self, key: &u64) -> bool {
        let guard = self.0.pin();
        let Some(value) = self.0.get(key, Timestamp::ZERO, &guard) else {
            return false;
        };
        !put(&self.0, *key, value + 1)
    }
}

/// Whether the key is new.
fn put(map: &ExpiringMap<u64, Value>, key: u64, value: Value) -> bool {
    let inserted = map.insert(key, value, Timestamp::NEVER, Timestamp::ZERO);
    !inserted.expect("room").replaced
}

/// dashmap.
#[derive(Clone)]
pub(crate) struct Dash<S>(Arc<dashmap::DashMap<u64, Value, S>>);

impl<S: Hasher> Collection for Dash<S> {
    type Handle = Self;

    fn with_capacity(capacity: usize) -> Self {
        let map = dashmap::DashMap::with_capacity_and_hasher(capacity, S::default());
        Self(Arc::new(map))
    }

    fn pin(&self) -> Self {
        self.clone()
    }
}

impl<S: Hasher> CollectionHandle for Dash<S> {
    type Key = u64;

    fn get(&mut self, key: &u64) -> bool {
        let value = self.0.get(key).map(|value| *value);
        black_box(value).is_some()
    }

    fn insert(&mut self, key: &u64) -> bool {
        self.0.insert(*key, 0).is_none()
    }

    fn remove(&mut self, key: &u64) -> bool {
        self.0.remove(key).is_some()
    }

    fn update(&mut self, key: &u64) -> bool {
        self.0.get_mut(key).map(|mut value| *value += 1).is_some()
    }
}

/// papaya.
#[derive(Clone)]
pub(crate) struct Papaya<S>(Arc<papaya::HashMap<u64, Value, S>>);

impl<S: Hasher> Collection for Papaya<S> {
    type Handle = Self;

    fn with_capacity(capacity: usize) -> Self {
        let map = papaya::HashMap::with_capacity_and_hasher(capacity, S::default());
        Self(Arc::new(map))
    }

    fn pin(&self) -> Self {
        self.clone()
    }
}

impl<S: Hasher> CollectionHandle for Papaya<S> {
    type Key = u64;

    fn get(&mut self, key: &u64) -> bool {
        let value = self.0.pin().get(key).copied();
        black_box(value).is_some()
    }

    fn insert(&mut self, key: &u64) -> bool {
        self.0.pin().insert(*key, 0).is_none()
    }

    fn remove(&mut self, key: &u64) -> bool {
        self.0.pin().remove(key).is_some()
    }

    fn update(&mut self, key: &u64) -> bool {
        self.0.pin().update(*key, |value| value + 1).is_some()
    }
}

/// scc's `HashMap`.
#[derive(Clone)]
pub(crate) struct Scc<S: Hasher>(Arc<scc::HashMap<u64, Value, S>>);

impl<S: Hasher> Collection for Scc<S> {
    type Handle = Self;

    fn with_capacity(capacity: usize) -> Self {
        let map = scc::HashMap::with_capacity_and_hasher(capacity, S::default());
        Self(Arc::new(map))
    }

    fn pin(&self) -> Self {
        self.clone()
    }
}

impl<S: Hasher> CollectionHandle for Scc<S> {
    type Key = u64;

    fn get(&mut self, key: &u64) -> bool {
        let value = self.0.read_sync(key, |_, value| *value);
        black_box(value).is_some()
    }

    fn insert(&mut self, key: &u64) -> bool {
        self.0.insert_sync(*key, 0).is_ok()
    }

    fn remove(&mut self, key: &u64) -> bool {
        self.0.remove_sync(key).is_some()
    }

    fn update(&mut self, key: &u64) -> bool {
        self.0.update_sync(key, |_, value| *value += 1).is_some()
    }
}
