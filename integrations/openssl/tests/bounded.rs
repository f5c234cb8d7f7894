//! What a client may cost that offers all the tickets that it has ever been given.

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use openssl::ssl::{ErrorCode, SslContext, SslVersion};
use sessionwheel::{
    Claim, Clock, ExternalTier, Fetched, ManualClock, Reason, SessionCache, SessionKey,
    TierSession, Timestamp,
};
use sessionwheel_openssl::{Attachment, Options, Session, SingleUse, attach, suspend};
use support::{Client, Identity, NAME, server_context};

/// So many are looked up for one connection.
const MOST: usize = 4;

/// So many tickets are offered.
const TICKETS: usize = 100;

#[derive(Default)]
struct Asked {
    ahead: HashSet<SessionKey>,
    fetched: Vec<SessionKey>,
    claimed: usize,
}

/// A tier that has nothing, lets everything be claimed, and knows what it was asked.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Asked>>);

impl Outside {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap()
    }
}

impl ExternalTier<Session> for Outside {
    fn store(&self, _: TierSession<&Session>) {}

    fn fetch(&self, key: &SessionKey) -> Fetched<Session> {
        self.asked().fetched.push(*key);
        Fetched::Miss
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        self.asked().claimed += 1;
        Claim::Won
    }

    /// When it is asked for the second time.
    fn prepare(&self, key: &SessionKey) -> bool {
        !self.asked().ahead.insert(*key)
    }

    fn remove(&self, _: &SessionKey, _: Reason) {}
}

struct Host {
    context: SslContext,
    attachment: Attachment,
    hand: ManualClock,
    outside: Outside,
}

impl Host {
    fn new(options: Options, suspended: bool) -> Self {
        let outside = Outside::default();
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
        let cache = SessionCache::builder()
            .clock(clock)
            .external(outside.clone())
            .build()
            .unwrap();
        let mut context = server_context(&Identity::new(NAME));
        let attachment = attach(&mut context, &cache, options).unwrap();
        if suspended {
            suspend(&mut context, &attachment);
        }
        Self {
            context: context.build(),
            attachment,
            hand,
            outside,
        }
    }

    /// The ids of so many tickets that this host has made.
    fn tickets(&self) -> Vec<Vec<u8>> {
        let cache = self.attachment.cache();
        let client = Client::new(SslVersion::TLS1_3);
        while cache.len() < TICKETS {
            client.session(&self.context);
        }
        let guard = cache.pin();
        let ids = cache.iter(&guard).map(|s| s.key().id().as_bytes().to_vec());
        ids.take(TICKETS).collect()
    }

    /// Lets a client offer these. The server has answered then.
    fn is_offered(&self, tickets: &[Vec<u8>], name: &str) {
        let client = Client::new(SslVersion::TLS1_3);
        let mut connection = client.begin(&self.context, None, Some(name));
        connection.change_hello(|hello| hello.with_tickets(tickets));
        loop {
            match connection.server.do_handshake().unwrap_err().code() {
                ErrorCode::WANT_CLIENT_HELLO_CB => {}
                code => break assert_eq!(code, ErrorCode::WANT_READ),
            }
        }
    }

    /// What has expired inside, and is still there, would not be asked for outside.
    fn expire(&self) {
        let cache = self.attachment.cache();
        self.hand
            .advance(cache.timeout() + std::time::Duration::from_nanos(1));
        cache.flush();
        assert!(cache.is_empty());
    }
}

#[test]
fn a_hundred_expired_tickets_ask_outside_four_times() {
    for uses in [SingleUse::EarlyData, SingleUse::Tls13] {
        for suspended in [false, true] {
            let host = Host::new(Options::default().single_use(uses), suspended);
            let tickets = host.tickets();
            host.expire();
            // Strangers' before ours.
            let foreign = vec![vec![7; 32]; TICKETS];
            host.is_offered(&[foreign, tickets].concat(), NAME);

            let (stats, counters) = (host.attachment.stats(), host.attachment.cache().counters());
            let asked = host.outside.asked();
            assert_eq!(asked.fetched.len(), MOST);
            assert_eq!(counters.misses, MOST as u64);
            assert_eq!(stats.too_many_ids, (TICKETS - MOST) as u64);
            assert_eq!(stats.foreign_ids, TICKETS as u64);
            let fetched: HashSet<_> = asked.fetched.iter().copied().collect();
            if suspended {
                assert_eq!(
                    fetched, asked.ahead,
                    "it waits for nothing that was not asked for"
                );
            }
            drop(asked);
            println!(
                "{uses:?}, suspended {suspended}: of {TICKETS} tickets {} asked for outside",
                fetched.len()
            );

            // Nobody else has a disadvantage.
            let client = Client::new(SslVersion::TLS1_3);
            let session = client.session(&host.context);
            if !suspended {
                assert!(client.resumes(&host.context, &session));
            }
        }
    }
}

/// They are in the cache, for another name: each is claimed outside before that is seen.
#[test]
fn a_hundred_tickets_of_another_name_claim_four() {
    let host = Host::new(Options::default().single_use(SingleUse::Tls13), false);
    let tickets = host.tickets();
    host.is_offered(&tickets, "another");
    let stats = host.attachment.stats();
    assert_eq!(host.outside.asked().claimed, MOST);
    assert_eq!(stats.other_names, MOST as u64);
    assert_eq!(stats.too_many_ids, (TICKETS - MOST) as u64);
}
