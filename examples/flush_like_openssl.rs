//! `SSL_CTX_flush_sessions`, and who is told: sessions come, expire, and are flushed.
//!
//! ```text
//! cargo run --example flush_like_openssl
//! ```

use std::error::Error;
use std::time::Duration;

use sessionwheel::{
    Clock, Context, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp,
};

fn main() -> Result<(), Box<dyn Error>> {
    // A clock that is set by hand, so that nobody has to wait for five minutes.
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
    let cache = SessionCache::<String>::builder()
        .clock(clock)
        .timeout(Duration::from_secs(300))
        .on_remove(|_key, user, reason| println!("  removed: {user} ({reason:?})"))
        .build()?;

    let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    let users = [("Ada", 100), ("Bob", 200), ("Cem", 300)];
    for (n, (user, seconds)) in (0..).zip(users) {
        let options = SessionOptions::default().timeout(Duration::from_secs(seconds));
        cache.insert_with(key(n), user.into(), options)?;
        println!("{user}'s session lives for {seconds} s");
    }

    hand.advance(Duration::from_secs(150));
    println!(
        "after 150 s Ada resumes: {}",
        cache.get_cloned(&key(0)).is_some()
    );
    println!("and Bob: {}", cache.get_cloned(&key(1)).is_some());
    println!(
        "her session still takes room, beside {} others",
        cache.len() - 1
    );

    println!("a flush, by the cache's own clock:");
    let swept = cache.flush();
    println!(
        "  {} removed, {} slots looked at",
        swept.removed, swept.visited
    );

    // As the page has it: what expires at the time itself stays, 0 removes all, and less than 0 nothing.
    for tm in [-1, 1_000_200, 1_000_201, 0] {
        println!("flush_sessions({tm}):");
        let removed = cache.flush_sessions(tm);
        println!("  {removed} removed, {} left", cache.len());
    }
    Ok(())
}
