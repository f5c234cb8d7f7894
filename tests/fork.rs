//! A process that forks: what a cache and its flusher are in the child, where no thread lives but the one
//! that forked.
//!
//! The child says by its exit code which step failed. One that never ends is killed, and fails the test.
#![cfg(all(target_os = "linux", not(miri)))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use sessionwheel::{
    Clock, Context, Flusher, ManualClock, SessionCache, SessionCacheBuilder, SessionId, SessionKey,
    Timestamp,
};

/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn builder() -> (SessionCacheBuilder<u64>, ManualClock) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
    let builder = SessionCache::builder().clock(clock).shards(4);
    (builder.automatic_flush(None), hand)
}

fn key(n: u64) -> SessionKey {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    SessionKey::new(Context::DEFAULT, SessionId::from(id))
}

/// Whether it comes true in time.
fn until(done: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > LONG / 2 {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Forks. The child does `steps`, one after the other, until one says false or panics.
fn in_a_child(steps: &mut [(&str, &mut dyn FnMut() -> bool)]) {
    // SAFETY: the child is a copy with one thread; it leaves by `_exit`, so that nothing of the test's
    // runs twice. It allocates and starts threads, which the C library is prepared for.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        let good = |step: &mut &mut dyn FnMut() -> bool| catch_unwind(AssertUnwindSafe(step));
        let bad = (steps.iter_mut()).position(|(_, step)| !good(step).unwrap_or(false));
        // SAFETY: ends the process.
        unsafe { libc::_exit(bad.map_or(0, |at| at as i32 + 1)) };
    }
    let begun = Instant::now();
    let mut status = 0;
    // SAFETY: asks for a child of this process, which nobody else waits for.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if begun.elapsed() > LONG {
            // SAFETY: as above.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child does not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    let code = libc::WEXITSTATUS(status) as usize;
    assert_eq!(code, 0, "in the child: {}", steps[code.saturating_sub(1)].0);
}

/// Whether the flusher removes what expires, and nobody else does.
fn flushes(cache: &SessionCache<u64>, hand: &ManualClock) -> bool {
    let before = cache.stats().expired;
    for n in 0..100 {
        cache.insert(key(n), n).unwrap();
    }
    hand.advance(Duration::from_secs(301));
    // It counts what has left behind that.
    until(|| cache.is_empty() && cache.stats().expired == before + 100)
}

#[test]
fn a_flusher_started_behind_the_fork_runs() {
    let (builder, hand) = builder();
    let cache = builder.build().unwrap();
    cache.insert(key(1_000), 7).unwrap();
    let flusher = std::cell::Cell::new(None::<Flusher>);
    let is_running = || {
        let there = flusher.take();
        let running = there.as_ref().is_some_and(Flusher::is_running);
        flusher.set(there);
        running
    };
    in_a_child(&mut [
        ("what was inside is there", &mut || {
            cache.get_cloned(&key(1_000)) == Some(7) && cache.remove(&key(1_000))
        }),
        ("it starts", &mut || {
            flusher.set(cache.spawn_flusher().ok());
            is_running()
        }),
        ("it flushes", &mut || flushes(&cache, &hand)),
        ("it stops", &mut || {
            drop(flusher.take());
            cache.insert(key(1), 1).unwrap();
            hand.advance(Duration::from_secs(301));
            cache.len() == 1
        }),
    ]);
    assert_eq!(
        cache.get_cloned(&key(1_000)),
        Some(7),
        "the child's is a copy"
    );
}

#[test]
fn a_flusher_started_before_the_fork_is_the_parents() {
    let (builder, hand) = builder();
    let cache = builder.build().unwrap();
    let flusher = cache.spawn_flusher().unwrap();
    assert!(flushes(&cache, &hand));
    let inherited = std::cell::Cell::new(Some(flusher));
    let own = std::cell::Cell::new(None::<Flusher>);
    in_a_child(&mut [
        ("it does not run", &mut || {
            let flusher = inherited.take().unwrap();
            let running = flusher.is_running();
            inherited.set(Some(flusher));
            !running
        }),
        ("nobody flushes", &mut || {
            cache.insert(key(1), 1).unwrap();
            hand.advance(Duration::from_secs(301));
            cache.len() == 1 && cache.flush().removed == 1
        }),
        // Where the thread had its stack there is now another's.
        ("a new one starts", &mut || {
            own.set(cache.spawn_flusher().ok());
            flushes(&cache, &hand)
        }),
        ("the old one is dropped", &mut || {
            drop(inherited.take());
            flushes(&cache, &hand)
        }),
        ("the new one stops", &mut || {
            drop(own.take());
            cache.insert(key(1), 1).unwrap();
            hand.advance(Duration::from_secs(301));
            cache.len() == 1
        }),
    ]);
    let flusher = inherited.take().unwrap();
    assert!(flusher.is_running());
    assert!(flushes(&cache, &hand), "the child has stopped the parent's");
}

/// A counter that parent and children share.
fn shared_counter() -> &'static AtomicU64 {
    let (prot, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new memory, of zeros, never given back.
    unsafe {
        let at = libc::mmap(ptr::null_mut(), size_of::<AtomicU64>(), prot, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast()
    }
}

/// Whatever the flusher is doing at the instant of the fork: it goes no further in the child, and holds up
/// nothing there.
#[test]
fn a_fork_in_the_middle_of_a_flush_leaves_the_cache_usable() {
    const FORKS: u64 = 10;
    const SESSIONS: u64 = 5_000;
    /// How many the flusher may have marked and not counted: 64 of each shard.
    const MARKED: usize = 64 * 4;
    let halfway = shared_counter();
    let (builder, hand) = builder();
    let cache = builder.maximum(Some(SESSIONS as usize)).build().unwrap();
    let _flusher = cache.spawn_flusher().unwrap();
    for fork in 0..FORKS {
        for n in 0..SESSIONS {
            cache.insert(key(n), n).unwrap();
        }
        let before = cache.stats().expired;
        hand.advance(Duration::from_secs(301));
        assert!(until(|| cache.stats().expired != before));
        in_a_child(&mut [
            ("a look", &mut || {
                halfway.fetch_add((!cache.is_empty()).into(), Relaxed);
                true
            }),
            ("an insertion", &mut || {
                cache.insert(key(9_999), fork).is_ok()
            }),
            ("a lookup", &mut || {
                cache.get_cloned(&key(9_999)) == Some(fork)
            }),
            ("a flush", &mut || {
                cache.flush();
                cache.iter(&cache.pin()).count() == 1 && cache.len() <= 1 + MARKED
            }),
            ("a take", &mut || {
                cache.take_cloned(&key(9_999)) == Some(fork)
            }),
        ]);
        assert!(until(|| cache.is_empty()));
    }
    println!("{FORKS} forks, {halfway:?} in the middle of a flush");
    assert_ne!(halfway.load(Relaxed), 0);
}

/// Behind a pool whose threads the child has not, and which will never be ready there.
#[cfg(feature = "rayon")]
#[test]
fn a_flush_in_a_child_asks_no_pool_of_the_parents() {
    use std::sync::mpsc;

    let (builder, hand) = builder();
    let cache = builder.build().unwrap();
    for n in 0..100 {
        cache.insert(key(n), n).unwrap();
    }
    let (begun, begins) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    // Whoever else asks for the pool meanwhile waits until it is there.
    let pool = thread::spawn(move || {
        let built = rayon_core::ThreadPoolBuilder::new()
            .num_threads(2)
            .spawn_handler(|thread| {
                begun.send(()).unwrap();
                // Until it is dropped.
                let _ = goes_on.recv();
                thread::spawn(|| thread.run());
                Ok(())
            })
            .build_global();
        built.expect("nobody else has built it");
    });
    begins.recv().unwrap();
    hand.advance(Duration::from_secs(301));
    let flushed = catch_unwind(AssertUnwindSafe(|| {
        in_a_child(&mut [("a flush", &mut || cache.flush().removed == 100)]);
    }));
    drop(go_on);
    pool.join().unwrap();
    flushed.expect("the child fails");
    assert_eq!(cache.flush().removed, 100, "with the pool's help");
}
