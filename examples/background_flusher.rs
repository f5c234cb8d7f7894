//! A thread that flushes beside the handshakes, so that none of them has to.
//!
//! ```text
//! cargo run --release --example background_flusher
//! ```

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use sessionwheel::{Context, SessionCache, SessionId, SessionKey};

/// Sessions that each of two threads makes.
const SESSIONS: u64 = 50_000;

fn key(n: u64) -> SessionKey {
    let mut id = [0; SessionId::MAX_LEN];
    id[..8].copy_from_slice(&n.to_le_bytes());
    SessionKey::new(Context::DEFAULT, SessionId::from(id))
}

fn main() -> Result<(), Box<dyn Error>> {
    let cache = SessionCache::<[u8; 128]>::builder()
        .maximum(None)
        .timeout(Duration::from_millis(200))
        .automatic_flush(None)
        .build()?;
    // Stops when it is dropped. A server that forks starts it in each child.
    let flusher = cache.spawn_flusher()?;

    let begun = Instant::now();
    thread::scope(|scope| {
        for half in 0..2 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..SESSIONS {
                    let key = key(n * 2 + half);
                    cache.insert(key, [7; 128]).expect("there is no maximum");
                    assert!(
                        cache
                            .get_with(&key, |state| state[0])
                            .is_none_or(|byte| byte == 7)
                    );
                }
            });
        }
    });
    println!(
        "{} sessions made and resumed in {:?}",
        2 * SESSIONS,
        begun.elapsed()
    );
    println!("{} of them are there, and expire", cache.len());

    while !cache.is_empty() {
        assert!(flusher.is_running());
        thread::sleep(Duration::from_millis(10));
    }
    println!("all flushed {:?} after the start", begun.elapsed());
    drop(flusher);

    let stats = cache.stats();
    println!(
        "expired {}, not yet reclaimed {}",
        stats.expired, stats.garbage
    );
    assert_eq!(stats.expired, 2 * SESSIONS);
    Ok(())
}
