//! A thread that flushes, so that no handshake has to.

use std::time::Duration;
use std::{fmt, io, mem, process};

use super::handle::{Inner, SessionCache};
use super::pace::{Pace, Paced};
use crate::Timestamp;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Weak, thread};

/// It looks this often at least: an insertion doesn't wake it, and may expire before all others.
const LONGEST: Duration = Duration::from_secs(1);

/// It doesn't look more often than that: the next expiry may be told too early.
const SHORTEST: Duration = Duration::from_millis(10);

/// A thread that removes what has expired, from [`SessionCache::spawn_flusher`].
///
/// It stops when this is dropped, which waits for it to end the part of a flush that it is in, some hundred sessions, but not the flush; and
/// when the last handle of its cache is dropped. It uses no pool of threads, and may be dropped by a listener or a
/// destructor, on whatever thread that runs.
pub struct Flusher {
    stop: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
    /// The process that has the thread.
    process: u32,
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// Starts a thread that sleeps until the [next expiry](Self::next_expiry), but a second at the most, and
    /// flushes.
    ///
    /// So an expired session is out of memory about a second after its time, if nobody holds a guard,
    /// whether or not there are handshakes. With [`automatic_flush(None)`] no insertion has a part in that. Several
    /// flushers do no harm and no good.
    ///
    /// A child that a process forks off has no thread but the one that forked: there
    /// [`Flusher::is_running`] is false, dropping the flusher does nothing, to the parent's neither, and
    /// another one may be started for the child's copy of the cache. What other threads were in the middle of
    /// stays as it was: lookups, insertions and flushes go on in the child, but what a flusher had marked
    /// and not counted yet keeps its room there (64 sessions of each shard at the most, and the memory of
    /// 256), and if a thread held a guard nothing that leaves is dropped. So it is better to fork first, and to start the flusher
    /// then.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    /// use std::time::Duration;
    ///
    /// let cache = SessionCache::builder()
    ///     .automatic_flush(None)
    ///     .timeout(Duration::from_millis(5))
    ///     .build()?;
    /// let flusher = cache.spawn_flusher()?;
    ///
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, ()).unwrap();
    /// while !cache.is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// drop(flusher);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`automatic_flush(None)`]: super::SessionCacheBuilder::automatic_flush
    pub fn spawn_flusher(&self) -> io::Result<Flusher> {
        self.spawn_flusher_at_pace(Pace::FULL)
    }

    /// Like [`spawn_flusher`](Self::spawn_flusher), with flushes like those of
    /// [`flush_at_pace`](Self::flush_at_pace).
    ///
    /// # Errors
    ///
    /// As for `spawn_flusher`.
    ///
    /// ```
    /// use sessionwheel::{Pace, SessionCache};
    ///
    /// let cache = SessionCache::<Vec<u8>>::builder().automatic_flush(None).build()?;
    /// let flusher = cache.spawn_flusher_at_pace(Pace::percent(20))?;
    /// assert!(flusher.is_running());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_flusher_at_pace(&self, pace: Pace) -> io::Result<Flusher> {
        let stop = Arc::new(AtomicU32::new(0));
        let (cache, stopped) = (Arc::downgrade(&self.inner), stop.clone());
        let thread = thread::Builder::new()
            .name("sessionwheel flusher".into())
            .spawn(move || {
                // Relaxed: unparking the thread makes the order, or the next look does.
                let goes_on = || stopped.load(Ordering::Relaxed) == 0;
                let mut flush = None;
                while goes_on() {
                    let Some(pause) = work(&cache, pace, &mut flush, goes_on) else {
                        return;
                    };
                    thread::park_timeout(pause);
                }
            })?;
        Ok(Flusher {
            stop,
            thread: Some(thread),
            process: process::id(),
        })
    }
}

/// Begins a flush if it is time, or goes on with one; how long to sleep then, unless the cache is no more.
fn work<V: Send + Sync + 'static>(
    cache: &Weak<Inner<V>>,
    pace: Pace,
    flush: &mut Option<Paced>,
    goes_on: impl Fn() -> bool,
) -> Option<Duration> {
    let cache = SessionCache {
        inner: cache.upgrade()?,
    };
    let now = cache.now();
    let due = || cache.next_expiry().is_some_and(|at| at <= now);
    if flush.is_none() && (due() || cache.stats().garbage != 0) {
        *flush = Some(Paced::new(&cache.inner, now, pace));
    }
    let under_way = flush.as_mut();
    if let Some(rest) = under_way.and_then(|f| f.stretch_while(&cache.inner, goes_on)) {
        return Some(rest);
    }
    *flush = None;
    let next = cache.next_expiry().unwrap_or(Timestamp::NEVER);
    Some(next.saturating_since(now).clamp(SHORTEST, LONGEST))
}

impl Flusher {
    /// Whether the thread is there: not after the cache has gone, nor in a process that was forked off since.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process == process::id() && self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.process != process::id() {
            // Not even detached: in a child another thread may go by its number.
            mem::forget(thread);
            return;
        }
        self.stop.store(1, Ordering::Relaxed);
        // A listener may drop it, on the very thread.
        let itself = thread.thread().id() == thread::current().id();
        if !itself {
            thread.thread().unpark();
            // It contains all panics that are other people's.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Clock, Context, SessionId, SessionKey};
    use crate::sync::OnceLock;
    use std::sync::mpsc;

    const START: Timestamp = Timestamp::from_secs(1 << 33);

    fn key(n: u8) -> SessionKey {
        SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
    }

    /// Ends when it is true; a test that never does is stopped by its runner.
    fn until(done: impl Fn() -> bool) {
        while !done() {
            thread::yield_now();
        }
    }

    #[test]
    fn it_flushes_what_expires_and_nothing_else() {
        let (clock, hand) = Clock::manual(START);
        let (left, told) = mpsc::sync_channel(100);
        let cache = SessionCache::builder()
            .clock(clock)
            .automatic_flush(None)
            .on_remove(move |_, &value, reason| {
                let on = thread::current().name().map(String::from);
                left.send((value, reason, on)).unwrap();
            })
            .build()
            .unwrap();
        let flusher = cache.spawn_flusher().unwrap();
        assert!(flusher.is_running());
        for n in 0..50 {
            cache.insert(key(n), n).unwrap();
            assert!(cache.retime(&key(n), Duration::from_secs(n.into())));
        }
        hand.advance(Duration::from_secs(25));
        let mut all: Vec<_> = told.iter().take(25).collect();
        all.sort_by_key(|&(value, ..)| value);
        for (n, (value, reason, on)) in (0..).zip(all) {
            assert_eq!((value, reason), (n, crate::Reason::Expired));
            assert_eq!(on.as_deref(), Some("sessionwheel flusher"));
        }
        assert_eq!(cache.len(), 25);
        until(|| cache.stats().garbage == 0);
        drop(flusher);
        hand.advance(Duration::from_secs(100));
        assert_eq!(cache.len(), 25, "it has stopped");
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn it_ends_with_its_cache_and_does_not_keep_it() {
        let value = Arc::new(());
        let cache = SessionCache::builder().build().unwrap();
        cache.insert(key(1), value.clone()).unwrap();
        let flusher = cache.spawn_flusher().unwrap();
        drop(cache);
        until(|| Arc::strong_count(&value) == 1);
        until(|| !flusher.is_running());
    }

    #[test]
    fn it_is_stopped_in_the_middle_of_a_flush() {
        const SESSIONS: u64 = 50_000;
        let (clock, hand) = Clock::manual(START);
        let builder = SessionCache::builder().clock(clock).maximum(None);
        let cache = builder.automatic_flush(None).build().unwrap();
        for n in 0..SESSIONS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            let key = SessionKey::new(Context::DEFAULT, SessionId::from(id));
            cache.insert(key, ()).unwrap();
        }
        hand.advance(Duration::from_secs(301));
        // At this pace all of it takes longer than the test will wait.
        let flusher = cache.spawn_flusher_at_pace(Pace::percent(1)).unwrap();
        until(|| cache.stats().expired != 0);
        drop(flusher);
        let left = cache.len();
        println!("{left} of {SESSIONS} left");
        assert!(0 < left && (left as u64) < SESSIONS);
        assert_eq!(cache.flush().removed, left);
    }

    #[test]
    fn who_stops_it_at_full_pace_waits_for_no_more_than_a_part() {
        const SESSIONS: usize = 20_000;
        // And what it takes to come to its end.
        const PART: usize = 700;
        let (clock, hand) = Clock::manual(START);
        let stop = Arc::new(OnceLock::<Arc<AtomicU32>>::new());
        let (flag, begun) = (stop.clone(), Arc::new(AtomicU32::new(0)));
        let begins = begun.clone();
        let cache = SessionCache::builder()
            .clock(clock)
            .maximum(None)
            .automatic_flush(None)
            // Takes long: until it is to be stopped.
            .on_remove(move |_, (), _| {
                begins.store(1, Ordering::Relaxed);
                let stopped = |flag: &Arc<AtomicU32>| flag.load(Ordering::Relaxed) == 1;
                until(|| flag.get().is_some_and(stopped));
            })
            .build()
            .unwrap();
        for n in 0..SESSIONS as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            let key = SessionKey::new(Context::DEFAULT, SessionId::from(id));
            cache.insert(key, ()).unwrap();
        }
        let flusher = cache.spawn_flusher().unwrap();
        assert!(stop.set(flusher.stop.clone()).is_ok());
        hand.advance(Duration::from_secs(301));
        until(|| begun.load(Ordering::Relaxed) == 1);
        drop(flusher);
        println!("{} of {SESSIONS} left", cache.len());
        assert!((SESSIONS - PART..SESSIONS).contains(&cache.len()));
    }

    #[test]
    fn a_listener_may_stop_it() {
        let (clock, hand) = Clock::manual(START);
        let own = Arc::new(std::sync::Mutex::new(None));
        let shared = own.clone();
        let cache = SessionCache::builder()
            .clock(clock)
            .automatic_flush(None)
            .on_remove(move |_, (), _| drop(shared.lock().unwrap().take()))
            .build()
            .unwrap();
        *own.lock().unwrap() = Some(cache.spawn_flusher().unwrap());
        cache.insert(key(1), ()).unwrap();
        hand.advance(Duration::from_secs(301));
        until(|| cache.is_empty() && own.lock().unwrap().is_none());
        cache.insert(key(2), ()).unwrap();
        hand.advance(Duration::from_secs(301));
        assert_eq!(cache.len(), 1);
    }
}
