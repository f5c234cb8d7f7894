//! What OpenSSL's session cache is known to do in handshakes, asked of ours by what a stack calls in one.
//! `verification/openssl` has handshakes of OpenSSL beside it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sessionwheel::{
    Claim, Clock, Context, ExternalTier, Fetched, Mode, Reason, SessionCache, SessionId,
    SessionKey, SessionOptions, TierSession, Timestamp,
};

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What is called in handshakes: for a new session, to store one outside, to ask for one there, to say there that one
/// has left or was used, and for one that has left.
type Calls = Arc<Mutex<[u32; 5]>>;

/// Has all that was ever stored there, as if other hosts still needed it.
struct Outside(Calls);

impl ExternalTier<u8> for Outside {
    fn store(&self, _: TierSession<&u8>) {
        self.0.lock().unwrap()[1] += 1;
    }
    fn fetch(&self, key: &SessionKey) -> Fetched<u8> {
        self.0.lock().unwrap()[2] += 1;
        Fetched::Hit(TierSession::new(*key, 0, seconds(100)))
    }
    fn claim(&self, _: &SessionKey) -> Claim {
        self.0.lock().unwrap()[3] += 1;
        Claim::Won
    }
    fn remove(&self, _: &SessionKey, _: Reason) {
        self.0.lock().unwrap()[3] += 1;
    }
}

#[test]
fn c08_inside_outside_or_both_each_callback_is_called_as_often() {
    for (inside, outside) in [(true, false), (false, true), (true, true)] {
        // A full handshake comes to so many sessions, one that resumes to so many.
        for (full, more) in [(1, 0), (2, 1)] {
            let calls = Calls::default();
            let (new, gone) = (Arc::clone(&calls), Arc::clone(&calls));
            let mut builder = SessionCache::builder()
                .internal_lookup(inside)
                .internal_store(inside)
                .on_new(move |_, _| {
                    new.lock().unwrap()[0] += 1;
                    true
                })
                .on_remove(move |_, _, _| gone.lock().unwrap()[4] += 1);
            if outside {
                builder = builder.external(Outside(Arc::clone(&calls)));
            }
            let cache = builder.build().unwrap();
            let server = cache.server();
            let called = || std::mem::take(&mut *calls.lock().unwrap());
            let handshake = |offer: Option<u8>, id: u8| {
                let resumed = offer.is_some_and(|n| server.resume(&key(n)).hit().is_some());
                for n in id..id + if resumed { more } else { full } {
                    let options = SessionOptions::default();
                    server.established(key(n), n, options).unwrap();
                }
                resumed
            };
            let (stored, asked) = (u32::from(outside), u32::from(!inside));
            let [full, more] = [full, more].map(u32::from);

            assert!(!handshake(None, 10));
            assert_eq!(called(), [full, full * stored, 0, 0, 0]);
            assert!(handshake(Some(10), 20));
            assert_eq!(called(), [more, more * stored, asked, 0, 0]);
            // Removed inside, it is asked for outside; there it was told that it is to be used no more.
            assert_eq!(cache.remove(&key(10)), inside);
            assert_eq!(called(), [0, 0, 0, stored, inside.into()]);
            assert_eq!(handshake(Some(10), 30), outside);
            let now = if outside { more } else { full };
            assert_eq!(called(), [now, now * stored, stored, 0, 0]);
            // A ticket for one use is taken, inside and outside.
            let taken = server.take_with(&key(30), |_| ()).hit().is_some();
            assert_eq!(taken, now > 0 || outside);
            let left = u32::from(inside && now > 0);
            assert_eq!(
                called(),
                [0, 0, u32::from(taken && left == 0), stored, left]
            );
        }
    }
}

/// OpenSSL's code gates adding only; its page says of off that no caching takes place.
#[test]
fn c09_modes_gate_adding_and_lookups_too() {
    for (mode, server, client) in [
        (Mode::Off, false, false),
        (Mode::Client, false, true),
        (Mode::Server, true, false),
        (Mode::Both, true, true),
    ] {
        let cache = SessionCache::builder().mode(mode).build().unwrap();
        assert_eq!(cache.mode(), mode);
        // Who adds by hand is asked by no mode, as with `SSL_CTX_add_session`.
        cache.insert(key(9), 9).unwrap();
        for (n, endpoint, included) in [(1, cache.server(), server), (2, cache.client(), client)] {
            let options = SessionOptions::default();
            let established = endpoint.established(key(n), n, options).unwrap();
            assert_eq!(established.is_kept(), included, "{mode:?}");
            assert_eq!(cache.contains(&key(n)), included, "{mode:?}");
            assert_eq!(endpoint.resume(&key(9)).hit().is_some(), included);
        }
        let counters = cache.counters();
        let uses = u64::from(server) + u64::from(client);
        assert_eq!((counters.hits, counters.misses), (uses, 0), "{mode:?}");
        assert_eq!(counters.declined, 2 - uses, "{mode:?}");
    }
}

/// OpenSSL has no cap: there each of them begins anew, for ever.
#[test]
fn c10_renewals_and_resumptions_extend_life_up_to_a_hard_lineage_cap() {
    let (day, week) = (86_400, 7 * 86_400);
    for (cap, tls13, ends) in [
        (Some(day), false, Some(day)),
        (Some(day), true, Some(day)),
        (Some(2 * week), true, Some(week)),
        (None, true, Some(week)),
        (None, false, None),
    ] {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
        let cache = SessionCache::builder()
            .clock(clock)
            .timeout(seconds(7_200))
            .lineage(cap.map(seconds))
            .update_time(true)
            .build()
            .unwrap();
        let server = cache.server();
        let options = SessionOptions::default().tls13(tls13);
        // One that each use renews, as in TLS 1.2, and tickets that each resumption mints.
        for n in [0, 1] {
            server.established(key(n), n, options).unwrap();
        }
        let (mut age, mut ticket) = (0, 1);
        let refused = loop {
            hand.advance(seconds(3_600));
            age += 3_600;
            let renewed = server.resume(&key(0)).hit();
            let since = server.resume_entry(&key(ticket), |found| found.authenticated_at());
            assert_eq!(renewed.is_some(), since.hit().is_some(), "after {age} s");
            let Some(since) = since.hit() else {
                break Some(age);
            };
            if age > 2 * week {
                break None;
            }
            ticket = if ticket == 1 { 2 } else { 1 };
            let inherits = options.authenticated_at(since);
            server.established(key(ticket), ticket, inherits).unwrap();
        };
        // Valid at the last second, and one look later not.
        assert_eq!(refused, ends.map(|end| end + 3_600), "{cap:?}, {tls13}");
    }
}
