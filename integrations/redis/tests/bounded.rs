//! However much comes while Redis is frozen, away, or answers and nobody fetches it: memory stays within what the README says.
//!
//! One test, and nothing beside it, since the allocator counts for all threads.

mod support;

use std::time::Duration;

use peak_alloc::PeakAlloc;
use sessionwheel::{SessionCache, SessionOptions};
use support::server::Server;
use support::*;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const QUEUE: usize = 200;
const MARKS: usize = 500;
const VALUE: usize = 1_024;
const SEALED: usize = VALUE + 78;
/// Many times what fits.
const FLOOD: u32 = 4_000;

/// A queue that is too long for these bytes.
const LONG: usize = 3 * QUEUE;
const BYTES: usize = QUEUE * SEALED;

/// What the README says: sessions that wait, or were answered and not fetched; two batches of 128, as they are and as they are
/// sent; notes, removals and questions, 512 bytes each at most. On top of it what there is whatever comes.
fn bound(queue: usize) -> usize {
    2 * BYTES + 2 * 128 * SEALED + (MARKS + 2 * queue) * 512 + 512 * 1_024
}

/// The most that there was, above what there was before `f`.
fn most(what: &str, queue: usize, f: impl FnOnce()) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    f();
    let grown = ALLOCATOR.peak_usage() - before;
    let (all, bound) = (FLOOD as usize * SEALED, bound(queue));
    show(&format!(
        "ci: memory, {what}: {all} bytes of sessions, at most {grown} here; bound {bound}"
    ));
    assert!(grown <= bound, "{what}: {grown} bytes");
    assert!(all > 2 * bound, "that was no flood");
}

#[test]
fn a_flood_is_bounded_whatever_the_server_does() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let short = Duration::from_millis(20);
    let address = server.address();
    let made = |queue, bytes| {
        let tier = builder(&address).deadline(short).queue(queue);
        let tier = tier
            .queue_bytes(bytes)
            .marks(MARKS)
            .pending(short)
            .stop_timeout(short);
        let tier = tier.timeouts(short, short).build().unwrap();
        let cache = SessionCache::builder()
            .internal_store(false)
            .internal_lookup(false)
            .external(tier.clone());
        (cache.build().unwrap(), tier)
    };
    let (cache, tier) = made(QUEUE, usize::MAX);
    let flood = |cache: &Cache, tier: &Tier| {
        for n in 0..FLOOD {
            let options = SessionOptions::default().single_use(n % 2 == 1);
            let value = vec![n as u8; VALUE];
            cache.server().established(key(n), value, options).unwrap();
            // One that is there or was, and one that nobody has.
            let _ = cache.server().resume(&key(n / 2));
            let _ = cache.server().resume(&key(FLOOD + n));
            if n % 3 == 0 {
                cache.remove(&key(n));
            }
        }
        let health = tier.health();
        assert!(health.queued_writes <= QUEUE && health.queued_removals <= QUEUE);
        assert!(health.queued_bytes <= (QUEUE + 128) * SEALED);
        assert!(health.marks <= MARKS);
    };
    eventually("it answers", || {
        let _ = cache.server().resume(&key(0));
        tier.health().counters.misses > 0
    });
    server.signal("-STOP");
    most("frozen", QUEUE, || flood(&cache, &tier));
    server.signal("-CONT");
    server.kill();
    most("away", QUEUE, || flood(&cache, &tier));
    assert!(server.launch());
    drop((cache, tier));

    // It answers, and nobody comes back for the answers.
    let (from, its) = host(builder(&server.address()));
    for n in 0..FLOOD {
        let value = vec![n as u8; VALUE];
        let options = SessionOptions::default();
        from.server().established(key(n), value, options).unwrap();
        if n % 500 == 0 {
            written(&its);
        }
    }
    written(&its);
    drop((from, its));
    for (what, queue, bytes) in [
        ("answers that nobody wants", QUEUE, usize::MAX),
        // So few that there is no room for more long before the first ones are given up.
        ("answers by their bytes", LONG, 0),
    ] {
        let (cache, tier) = made(queue, bytes);
        most(what, queue, || {
            for n in 0..FLOOD {
                let _ = tier.prefetch(&key(n)).wait(short);
            }
        });
        let starved = tier.health().counters.starved;
        assert!(bytes > 0 || starved > 0, "there was room for all");
        drop((cache, tier));
    }

    // By their bytes, which are fewer than the queue has room for.
    let (cache, tier) = made(LONG, BYTES);
    server.signal("-STOP");
    most("frozen, by their bytes", LONG, || {
        for n in 0..FLOOD {
            let value = vec![n as u8; VALUE];
            let options = SessionOptions::default();
            cache.server().established(key(n), value, options).unwrap();
            assert!(tier.health().queued_bytes <= BYTES);
        }
    });
    assert!(tier.health().counters.dropped_writes > u64::from(FLOOD) / 2);
    server.signal("-CONT");
}
