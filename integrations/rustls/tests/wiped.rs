//! Are secrets gone from the memory that is given back? An allocator looks.
//!
//! One test, and nothing beside it, since the allocator sees all threads.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::server::StoresServerSessions;
use sessionwheel::{Clock, SessionCache, Timestamp};
use sessionwheel_rustls::{KEY_LEN, RustlsStore};

/// What secrets are made of here; a block that is given back with so many of it in a row holds one.
const SECRET: u8 = 0xA5;
const RUN: usize = 16;

static LOOKING: AtomicBool = AtomicBool::new(false);
static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);
static LEAKED: AtomicUsize = AtomicUsize::new(0);

struct Looking;

/// Whether there is a secret in the block.
fn holds_one(block: *const u8, len: usize) -> bool {
    let mut run = 0;
    for at in 0..len {
        // SAFETY: the block has `len` bytes, and is still the caller's, who gives it back with this call.
        // Volatile: some of it may never have been written, which the compiler is not to draw
        // conclusions from.
        let byte = unsafe { block.add(at).read_volatile() };
        run = if byte == SECRET { run + 1 } else { 0 };
        if run == RUN {
            return true;
        }
    }
    false
}

fn look(block: *const u8, len: usize) {
    if LOOKING.load(Ordering::Relaxed) {
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        if holds_one(block, len) {
            LEAKED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: all of it is the system's allocator, whose promises are kept by passing on what it is called
// with. A block that grows or shrinks is given back by `dealloc`, since `realloc` is not overridden.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        look(block, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// How many blocks with a secret were given back while `f` ran.
fn leaked(f: impl FnOnce()) -> usize {
    let before = LEAKED.load(Ordering::Relaxed);
    LOOKING.store(true, Ordering::Relaxed);
    f();
    LOOKING.store(false, Ordering::Relaxed);
    LEAKED.load(Ordering::Relaxed) - before
}

fn key(n: u8) -> Vec<u8> {
    vec![n; KEY_LEN]
}

fn secret() -> Vec<u8> {
    // With room to spare, as rustls hands them over: the rest of the block counts too.
    let mut secret = Vec::with_capacity(200);
    secret.resize(84, SECRET);
    secret
}

#[test]
fn no_memory_with_a_secret_in_it_is_given_back() {
    assert_eq!(leaked(|| drop(secret())), 1, "it would be seen");

    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let cache = SessionCache::builder()
        .maximum(Some(40))
        .clock(clock)
        .build()
        .unwrap();
    let store = RustlsStore::new(&cache).unwrap();
    let put_into = |store: &RustlsStore, n| store.put(key(n), secret());
    let put = |n| put_into(&store, n);

    let refused = leaked(|| {
        assert!(!store.put(vec![7; 31], secret()));
        let small = RustlsStore::new(&cache).unwrap().with_max_value_len(50);
        assert!(!small.put(key(7), secret()));
    });
    assert_eq!(refused, 0, "what is refused");
    let stored = leaked(|| assert!((0..40).all(put)));
    assert_eq!(stored, 0, "what is stored");
    let replaced = leaked(|| {
        assert!((0..10).all(put));
        assert!((40..50).all(put)); // others make room
        cache.reclaim();
    });
    assert_eq!(replaced, 0, "what is replaced or evicted");
    let flushed = leaked(|| {
        assert!(store.take(&key(49)).map(zeroize::Zeroizing::new).is_some());
        hand.advance(Duration::from_secs(301));
        assert_eq!(cache.flush().removed, 39);
        assert_eq!(cache.reclaim(), 0);
    });
    assert_eq!(flushed, 0, "what is taken or has expired");
    let dropped = leaked(|| {
        assert!((0..40).all(|n| put_into(&store, n)));
        drop(Arc::new((store, cache)));
    });
    assert_eq!(dropped, 0, "what is there to the end");
    let looked_at = LOOKED_AT.load(Ordering::Relaxed);
    println!("{looked_at} blocks of memory were looked at, and no secret was in one");
}
