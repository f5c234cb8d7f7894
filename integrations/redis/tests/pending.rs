//! Lookups that no thread waits for.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use sessionwheel::Resumed;
use support::server::Server;
use support::*;

/// Asks until there is an answer; how often there was none.
fn ask(cache: &Cache, n: u32) -> (Option<Vec<u8>>, u64) {
    let mut pending = 0;
    let mut answer = None;
    eventually("an answer", || match cache.server().resume(&key(n)) {
        Resumed::Pending => {
            pending += 1;
            false
        }
        Resumed::Hit(value) => {
            answer = Some(value);
            true
        }
        Resumed::Miss => true,
    });
    (answer, pending)
}

#[test]
fn who_can_come_back_does_not_wait() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    (0..100).for_each(|n| establish(&a, n));
    (100..110).for_each(|n| establish_once(&a, n));
    written(&tier_a);
    let patient = builder(&server.address()).pending(Duration::from_secs(1));
    let (b, tier) = host(patient);
    let mut pending = 0;
    for n in 0..120 {
        let (answer, asked_again) = ask(&b, n);
        assert_eq!(answer, (n < 110).then(|| value(n)), "{n}");
        pending += asked_again;
    }
    assert!((100..110).all(|n| !resumes(&a, n)));
    assert!(pending > 0, "nobody was told to come back");
    assert_eq!(b.counters().pending, pending);
    let counters = tier.health().counters;
    assert_eq!((counters.hits, counters.misses), (110, 10));
    assert_eq!(counters.timeouts, 0);
    show(&format!(
        "ci: pending: 120 lookups, {pending} times told to come back: 110 found, 10 misses"
    ));
}

#[test]
fn patience_ends() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let patient = builder(&server.address()).pending(Duration::from_millis(20));
    let (b, tier) = host(
        patient
            .breaker(u32::MAX, PATIENCE)
            .timeouts(PATIENCE, PATIENCE)
            .stop_timeout(Duration::ZERO),
    );
    assert_eq!(ask(&b, 1).0, None);
    let before = tier.health().counters.timeouts;
    server.signal("-STOP");
    for n in 10..20 {
        assert_eq!(ask(&b, n).0, None);
    }
    assert_eq!(tier.health().counters.timeouts, before + 10);
    server.signal("-CONT");
    show("ci: pending: 10 lookups of a frozen server, 10 counted misses");
}

#[test]
fn who_does_not_answer_is_not_asked_again_at_once() {
    for way in ["frozen", "killed"] {
        let Some(mut server) = Server::start(&[]) else {
            return;
        };
        let short = Duration::from_millis(20);
        let patient = builder(&server.address()).pending(short).breaker(3, short);
        let (b, tier) = host(patient.timeouts(short, short * 10).stop_timeout(short));
        eventually("it answers", || {
            let misses = tier.health().counters.misses;
            ask(&b, 1);
            tier.health().counters.misses > misses
        });
        match way {
            "frozen" => server.signal("-STOP"),
            _ => server.kill(),
        }
        let mut n = 10;
        eventually("the breaker opens", || {
            assert_eq!(ask(&b, n).0, None);
            n += 1;
            tier.health().breaker_openings > 0
        });
        let before = tier.health().counters.skipped;
        assert_eq!(ask(&b, n), (None, 0), "{way}");
        assert_eq!(tier.health().counters.skipped, before + 1);
        match way {
            "frozen" => server.signal("-CONT"),
            _ => assert!(server.launch()),
        }
        eventually("it is asked again", || {
            let misses = tier.health().counters.misses;
            ask(&b, n);
            tier.health().counters.misses > misses
        });
        show(&format!(
            "ci: pending: {way}: given up after {} lookups, and asked again afterwards",
            n - 10
        ));
    }
}

/// Nor does it begin anew for ever.
#[test]
fn patience_without_an_end_has_one() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let patient = builder(&server.address()).pending(Duration::MAX);
    let patient = patient
        .timeouts(PATIENCE, PATIENCE)
        .breaker(5, Duration::MAX);
    let (b, tier) = host(patient.stop_timeout(Duration::ZERO));
    assert_eq!(ask(&b, 1).0, None);
    server.signal("-STOP");
    assert_eq!(ask(&b, 2).0, None);
    server.signal("-CONT");
    assert_eq!(tier.health().counters.timeouts, 1);
}

#[test]
fn with_nobody_to_ask_every_question_ends() {
    let nowhere = builder("unix:///nonexistent/sessionwheel");
    let (b, tier) = host(nowhere.pending(Duration::from_secs(1)).queue(10));
    let prefetches: Vec<_> = (0..100).map(|n| tier.prefetch(&key(n))).collect();
    assert!(prefetches.iter().all(|prefetch| prefetch.wait(PATIENCE)));
    assert!((0..100).all(|n| ask(&b, n).0.is_none()));
    drop((b, tier));
    assert!(prefetches.iter().all(|prefetch| prefetch.wait(PATIENCE)));
    show("ci: pending: 200 questions to nobody, all of them ended");
}

#[test]
fn what_was_prefetched_is_there_when_it_is_looked_up() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    (0..60).for_each(|n| establish(&a, n));
    written(&tier_a);
    // A lookup that waited would find nobody.
    let (b, tier) = host(builder(&server.address()).deadline(Duration::ZERO));
    for n in 0..20 {
        assert!(tier.prefetch(&key(n)).wait(PATIENCE));
        assert!(resumes(&b, n));
    }
    for n in 20..40 {
        block_on(tier.prefetch(&key(n)));
        assert!(resumes(&b, n));
    }
    // Removed after it was asked for, it doesn't come back.
    for n in 40..60 {
        let prefetch = tier.prefetch(&key(n));
        b.remove(&key(n));
        assert!(prefetch.wait(PATIENCE));
        written(&tier);
        assert!(!resumes(&b, n));
    }
    assert_eq!(tier.health().counters.hits, 40);
    show(
        "ci: prefetch: 60 asked ahead, 40 found without waiting, 20 removed meanwhile and not found",
    );
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park_timeout(PATIENCE),
        }
    }
}
