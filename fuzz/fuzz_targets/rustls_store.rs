//! The rustls store with keys and values that no rustls would send, against a plain map.
#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustls::server::StoresServerSessions;
use sessionwheel::SessionCache;
use sessionwheel_rustls::{KEY_LEN, MAX_VALUE_LEN, RustlsStore};

/// As long as rustls makes them and few, or whatever.
#[derive(Arbitrary, Debug)]
enum Key {
    Usual(u8),
    Any(Vec<u8>),
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Usual(byte) => vec![byte % 8; KEY_LEN],
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

/// Its bytes, and so many more of the last one: around the limit as well.
#[derive(Arbitrary, Debug)]
struct Value(Vec<u8>, u32);

impl Value {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let more = self.1 as usize % (2 * MAX_VALUE_LEN);
        // Seldom: they take their time.
        if self.1 % 16 == 0 {
            bytes.resize(bytes.len() + more, bytes.last().copied().unwrap_or(0));
        }
        bytes
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Put(Key, Value),
    Get(Key),
    Take(Key),
    Flush,
}

fuzz_target!(|steps: Vec<Step>| {
    let cache = SessionCache::builder().maximum(None).build().unwrap();
    let store = RustlsStore::new(&cache).unwrap();
    // Another configuration's, with the same keys: never to be found.
    let other = RustlsStore::new(&cache).unwrap();
    let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let (mut bad_keys, mut oversized) = (0, 0);
    for step in &steps {
        match step {
            Step::Put(key, value) => {
                let (key, value) = (key.bytes(), value.bytes());
                let stored = store.put(key.clone(), value.clone());
                let good = key.len() == KEY_LEN;
                bad_keys += u64::from(!good);
                oversized += u64::from(good && value.len() > MAX_VALUE_LEN);
                assert_eq!(stored, good && value.len() <= MAX_VALUE_LEN);
                if stored {
                    model.insert(key, value);
                }
            }
            Step::Get(key) => {
                let key = key.bytes();
                bad_keys += u64::from(key.len() != KEY_LEN);
                assert_eq!(store.get(&key).as_ref(), model.get(&key));
                assert_eq!(other.get(&key), None);
            }
            Step::Take(key) => {
                let key = key.bytes();
                bad_keys += u64::from(key.len() != KEY_LEN);
                assert_eq!(other.take(&key), None);
                assert_eq!(store.take(&key), model.remove(&key));
            }
            Step::Flush => assert_eq!(cache.flush().removed, 0, "nothing expires so soon"),
        }
    }
    assert_eq!(cache.len(), model.len());
    let stats = store.stats();
    assert_eq!((stats.bad_keys, stats.oversized), (bad_keys, oversized));
});
