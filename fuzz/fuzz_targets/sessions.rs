//! A session cache with ids of any length, contexts, single use, purges, time and lineages, against a plain model.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sessionwheel::{Clock, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp};

/// An id as a client sends it: whatever bytes, or one of few that others use too.
#[derive(Arbitrary, Debug)]
enum Id {
    Any(Vec<u8>),
    Of(u8, u8),
}

impl Id {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Any(bytes) => bytes.clone(),
            Self::Of(byte, len) => vec![byte % 4; usize::from(*len) % 40],
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Insert {
        id: Id,
        context: u8,
        timeout: Option<u16>,
        single_use: bool,
        len: u16,
    },
    Get(Id, u8),
    Take(Id, u8),
    Remove(Id, u8),
    Retime(Id, u8, u16),
    Purge(u8),
    PurgeWhere(u8),
    Advance(u16),
    Flush,
    FlushWithin(u8),
    FlushSessions(i64),
}

/// No session lives longer after its authentication, here its insertion: a day, as by default. Two steps of the
/// clock may lead past that.
const LINEAGE: u64 = 86_400;

struct Stored {
    len: usize,
    born: u64,
    deadline: u64,
    single_use: bool,
}

impl Stored {
    /// Lives until then, or until the end of its lineage.
    fn until(&mut self, deadline: u64) {
        self.deadline = deadline.min(self.born + LINEAGE);
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let builder = SessionCache::<Vec<u8>>::builder().clock(clock);
    // The model removes nothing by itself.
    let builder = builder.automatic_flush(None);
    let cache = builder.maximum(None).shards(2).build().unwrap();
    assert_eq!(cache.lineage(), Some(Duration::from_secs(LINEAGE)));
    let contexts = [(); 3].map(|()| cache.context().unwrap());
    let context = |number: u8| contexts[usize::from(number) % contexts.len()];
    let mut model: HashMap<SessionKey, Stored> = HashMap::new();
    let mut now = 1_000;
    let key = |id: &Id, number: u8| {
        let bytes = id.bytes();
        let id = SessionId::new(&bytes);
        assert_eq!(id.is_err(), bytes.len() > 32, "up to 32 bytes, as in TLS");
        let id = id.ok()?;
        assert_eq!(id.as_bytes(), bytes);
        Some(SessionKey::new(context(number), id))
    };
    for step in &steps {
        match step {
            Step::Insert {
                id,
                context,
                timeout,
                single_use,
                len,
            } => {
                let Some(key) = key(id, *context) else {
                    continue;
                };
                let mut options = SessionOptions::default().single_use(*single_use);
                if let Some(seconds) = timeout {
                    options = options.timeout(Duration::from_secs((*seconds).into()));
                }
                let len = usize::from(*len);
                cache.insert_with(key, vec![7; len], options).unwrap();
                let mut stored = Stored {
                    len,
                    born: now,
                    deadline: now,
                    single_use: *single_use,
                };
                stored.until(now + timeout.map_or(300, u64::from));
                model.insert(key, stored);
            }
            Step::Get(id, context) | Step::Take(id, context) => {
                let Some(key) = key(id, *context) else {
                    continue;
                };
                let taken = matches!(step, Step::Take(..));
                let there = model.get(&key).filter(|stored| stored.deadline >= now);
                let expected = there.map(|stored| (stored.len, stored.single_use));
                let found = if taken {
                    cache.take_cloned(&key)
                } else {
                    cache.get_cloned(&key)
                };
                assert_eq!(found.map(|v| v.len()), expected.map(|(len, _)| len));
                if expected.is_some_and(|(_, single_use)| taken || single_use) {
                    model.remove(&key);
                }
            }
            Step::Remove(id, context) => {
                if let Some(key) = key(id, *context) {
                    // What was purged may still be there to be removed.
                    let there = model.remove(&key).is_some();
                    assert!(cache.remove(&key) || !there);
                }
            }
            Step::Retime(id, context, seconds) => {
                let Some(key) = key(id, *context) else {
                    continue;
                };
                let there = model.get_mut(&key).filter(|stored| stored.deadline >= now);
                let timeout = Duration::from_secs((*seconds).into());
                assert_eq!(cache.retime(&key, timeout), there.is_some());
                if let Some(stored) = there {
                    stored.until(now + u64::from(*seconds));
                }
            }
            Step::Purge(number) => {
                cache.purge(context(*number));
                model.retain(|key, _| key.context() != context(*number));
            }
            Step::PurgeWhere(bits) => {
                let unwanted = |len: usize| len % 4 == usize::from(*bits) % 4;
                let before = model.len();
                model.retain(|_, stored| !unwanted(stored.len));
                let removed = cache.purge_where(|_, value| unwanted(value.len()));
                assert_eq!(removed, before - model.len());
            }
            Step::Advance(seconds) => {
                now += u64::from(*seconds);
                hand.advance(Duration::from_secs((*seconds).into()));
            }
            Step::Flush => {
                cache.flush();
                model.retain(|_, stored| stored.deadline >= now);
                assert_eq!(cache.len(), model.len());
            }
            Step::FlushWithin(budget) => {
                let budget = usize::from(*budget);
                let swept = cache.flush_within(budget);
                assert!(swept.visited <= budget && swept.removed <= swept.visited);
                // Some of what has expired is gone, and nobody else.
                let guard = cache.pin();
                let left: HashSet<_> = cache.iter(&guard).map(|s| *s.key()).collect();
                model.retain(|key, stored| stored.deadline >= now || left.contains(key));
                assert_eq!(left.len(), model.len());
            }
            Step::FlushSessions(tm) => {
                // Near to now, most of the time.
                let tm = if tm % 2 == 0 {
                    *tm
                } else {
                    now as i64 + tm % 1_000
                };
                cache.flush_sessions(tm);
                model.retain(|_, stored| match tm {
                    ..0 => true,
                    0 => false,
                    _ => stored.deadline >= tm as u64,
                });
            }
        }
    }
    for (key, stored) in &model {
        assert_eq!(cache.contains(key), stored.deadline >= now);
    }
    let guard = cache.pin();
    assert_eq!(cache.iter(&guard).count(), model.len());
});
