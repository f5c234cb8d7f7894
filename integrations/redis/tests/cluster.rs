//! Hosts on a Redis Cluster: slots move, masters die.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::Duration;

use sessionwheel_redis::{BreakerState, RedisTierBuilder, TierCounters, TierError};
use support::cluster::Cluster;
use support::proxy::Liar;
use support::*;

const SHORT: Duration = Duration::from_millis(20);

/// Knows one of the nodes only, if `first` is not zero another one than `addresses` begins with.
fn on(cluster: &Cluster, first: usize) -> RedisTierBuilder<Vec<u8>> {
    let mut addresses = cluster.addresses();
    addresses.rotate_left(first);
    let builder = builder(&addresses[0]).timeouts(PATIENCE, PATIENCE);
    builder.cluster(&[]).expect("an address")
}

/// Waits until it is known who has which slots.
fn ready(cache: &Cache, tier: &Tier) {
    eventually("the map is there", || {
        assert!(!resumes(cache, u32::MAX));
        let nodes = tier.health().nodes;
        nodes.len() == 3 && nodes.iter().all(|node| node.connections > 0)
    });
}

/// Why a lookup may have come to nothing although its session was there.
fn failures(counters: &TierCounters) -> u64 {
    counters.timeouts + counters.starved + counters.errors + counters.unrouted + counters.skipped
}

#[test]
fn each_session_is_where_its_slot_is_and_used_once() {
    let Some(cluster) = Cluster::start(15_000) else {
        return;
    };
    let (a, tier_a) = host(on(&cluster, 0));
    let (b, tier_b) = host(on(&cluster, 1));
    tier_a.check(PATIENCE).unwrap();
    // Before anybody knows where they have to go.
    (0..300).for_each(|n| establish(&a, n));
    (300..400).for_each(|n| establish_once(&a, n));
    written(&tier_a);
    let sizes = cluster.sizes();
    assert_eq!(sizes.iter().sum::<usize>(), 400);
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
    ready(&b, &tier_b);
    assert!((0..400).all(|n| resumes(&b, n)));
    assert!((300..400).all(|n| !resumes(&a, n) && !resumes(&b, n)));
    (0..100).for_each(|n| assert!(a.remove(&key(n))));
    written(&tier_a);
    assert_eq!(cluster.sizes().iter().sum::<usize>(), 200);
    let counters = tier_b.health().counters;
    assert_eq!((counters.hits, counters.claimed), (400, 100));
    assert_eq!(
        (counters.redirected, failures(&counters) - counters.unrouted),
        (0, 0)
    );
    assert!((1..=3).contains(&counters.maps), "asked all the time");
    show(&format!(
        "ci: Cluster: 400 sessions at three masters, {sizes:?}, all resumed"
    ));
    of_two_hosts_one_wins(&a, &tier_a, &b);
}

fn of_two_hosts_one_wins(a: &Cache, tier_a: &Tier, b: &Cache) {
    let start = Barrier::new(2);
    let mut wins = [0; 2];
    for n in 1_000..1_300 {
        establish_once(a, n);
        written(tier_a);
        let run = |cache: &Cache| {
            start.wait();
            resumes(cache, n)
        };
        let won = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(b));
            [run(a), other.join().unwrap()]
        });
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "round {n}: {won:?}"
        );
        wins[usize::from(won[1])] += 1;
    }
    show(&format!(
        "ci: Cluster: 300 races: {} won here, {} there",
        wins[0], wins[1]
    ));
}

/// All sessions in one slot, which goes round while they are established, resumed and removed: `SESSIONWHEEL_SOAK` times,
/// 3 if not set and 100 at most.
#[test]
fn a_slot_moves_while_its_sessions_are_resumed() {
    let Some(cluster) = Cluster::start(15_000) else {
        return;
    };
    let slot = cluster.masters[0].ask::<u16>(&["CLUSTER", "KEYSLOT", "{hot}"]);
    let (a, tier_a) = host(on(&cluster, 0).prefix(b"{hot}:"));
    let (b, tier_b) = host(on(&cluster, 1).prefix(b"{hot}:"));
    let patient = on(&cluster, 2).prefix(b"{hot}:");
    let (c, tier_c) = host(patient.pending(Duration::from_secs(1)));
    for (cache, tier) in [(&a, &tier_a), (&b, &tier_b), (&c, &tier_c)] {
        ready(cache, tier);
    }
    let wanted = number("SESSIONWHEEL_SOAK").unwrap_or(3).clamp(3, 100);
    let moving = AtomicBool::new(true);
    let (mut rounds, mut moves, mut lost) = (0, 0, 0);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let mut moves = 0;
            while moves < wanted {
                let to = (cluster.owner(slot) + 1) % 3;
                cluster.move_slot(slot, to, Duration::from_millis(100));
                moves += 1;
            }
            moving.store(false, Ordering::Relaxed);
            moves
        });
        while moving.load(Ordering::Relaxed) && !mover.is_finished() {
            let n = 4 * rounds;
            // For many uses, for one at each of the others, and to be removed.
            establish(&a, n);
            establish_once(&a, n + 1);
            establish_once(&a, n + 2);
            establish(&a, n + 3);
            written(&tier_a);
            let mut hits = u32::from(resumes(&b, n)) + u32::from(resumes(&b, n + 1));
            hits += u32::from(asked_again(&c, n + 2));
            hits += u32::from(a.remove(&key(n + 3)));
            lost += 4 - hits;
            for cache in [&a, &b] {
                assert!(!resumes(cache, n + 1), "{n}: used twice");
                assert!(!resumes(cache, n + 2), "{n}: used twice");
            }
            assert!(
                !asked_again(&c, n + 1) && !asked_again(&c, n + 2),
                "{n}: used twice"
            );
            rounds += 1;
        }
        moves = mover.join().unwrap();
    });
    written(&tier_a);
    let [at_a, at_b, at_c] = [&tier_a, &tier_b, &tier_c].map(|tier| tier.health().counters);
    // Only those for many uses are left, each in one place.
    let left = cluster.sizes().iter().sum::<usize>();
    assert_eq!(left, rounds as usize);
    let failed = failures(&at_b) + failures(&at_c) + at_c.undecided + at_a.unconfirmed_writes;
    assert!(
        u64::from(lost) <= failed,
        "{lost} lost, {failed} of them counted"
    );
    assert_eq!(at_a.refused_writes + at_a.dropped_writes, 0);
    assert!(at_a.redirected > 0 && at_b.redirected > 0 && at_c.redirected > 0);
    assert!(at_b.maps > 1, "nobody has told where the slot is now");
    show(&format!(
        "ci: Cluster: a slot moved {moves} times under {rounds} rounds of handshakes: {lost} lookups lost, 0 used twice; \
         redirected {} writes, {} lookups, {} of those that come back",
        at_a.redirected, at_b.redirected, at_c.redirected
    ));
}

/// Asks until there is an answer.
fn asked_again(cache: &Cache, n: u32) -> bool {
    let mut hit = false;
    eventually("an answer", || {
        let found = cache.server().resume(&key(n));
        let pending = found.is_pending();
        if let Some(found) = found.hit() {
            assert_eq!(found, value(n), "another one's session");
            hit = true;
        }
        !pending
    });
    hit
}

#[test]
fn one_master_is_killed_and_the_others_go_on() {
    let Some(mut cluster) = Cluster::start(15_000) else {
        return;
    };
    let (a, tier_a) = host(on(&cluster, 0));
    (0..300).for_each(|n| establish(&a, n));
    written(&tier_a);
    let its: Vec<bool> = (0..300).map(|n| owner(&cluster, n) == 2).collect();
    let short = on(&cluster, 1).deadline(SHORT).breaker(3, SHORT);
    let (b, tier) = host(short);
    ready(&b, &tier);
    for way in ["killed", "frozen"] {
        match way {
            "killed" => cluster.masters[2].kill(),
            _ => cluster.masters[2].signal("-STOP"),
        }
        let before = tier.health().counters;
        let (mut asked, mut hits) = (0, 0);
        for n in 0..150 {
            // Of the first time none is here still.
            let n = if way == "killed" { n } else { n + 150 };
            let hit = resumes(&b, n);
            establish(&b, 1_000 + n);
            asked += u64::from(its[n as usize]);
            hits += u64::from(hit);
            assert!(
                !(hit && its[n as usize]),
                "{n} was with the one that is {way}"
            );
        }
        let after = tier.health();
        let missed = failures(&after.counters) - failures(&before);
        assert!(asked > 10 && hits > 50);
        // Where the others have answered late, that was counted too.
        assert_eq!(missed, 150 - hits);
        let down = |node: &&sessionwheel_redis::NodeHealth| node.breaker != BreakerState::Closed;
        let down: Vec<_> = after
            .nodes
            .iter()
            .filter(down)
            .map(|node| &node.address)
            .collect();
        let dead = format!("127.0.0.1:{}", cluster.masters[2].port);
        assert_eq!(down, [&dead], "{after:?}");
        show(&format!(
            "ci: Cluster: one is {way}: 150 lookups, {hits} resumed at the others, {missed} counted misses"
        ));
        match way {
            "killed" => assert!(cluster.masters[2].launch()),
            _ => cluster.masters[2].signal("-CONT"),
        }
        eventually("it is asked again", || {
            let health = tier.health();
            health.breaker == BreakerState::Closed && health.nodes.iter().all(|n| n.connections > 0)
        });
    }
    // What was established for it meanwhile has waited.
    written(&tier);
    let (c, tier_c) = host(on(&cluster, 0));
    ready(&c, &tier_c);
    assert!(
        (1_000..1_150).all(|n| resumes(&c, n)),
        "{:?}",
        tier_c.health()
    );
}

/// Which master has session `n`.
fn owner(cluster: &Cluster, n: u32) -> usize {
    let name = [&b"sw:test\0"[..], id(n).as_bytes()].concat();
    let mut connection = cluster.masters[0].connection().unwrap();
    let mut keyslot = redis::cmd("CLUSTER");
    let slot = keyslot
        .arg("KEYSLOT")
        .arg(name)
        .query(&mut connection)
        .unwrap();
    cluster.owner(slot)
}

#[test]
fn a_master_dies_and_its_replica_has_its_sessions() {
    let Some(mut cluster) = Cluster::start(1_000) else {
        return;
    };
    let replica = cluster.replica_of(0);
    let (a, tier_a) = host(on(&cluster, 1).deadline(SHORT).breaker(3, SHORT));
    let (b, tier_b) = host(on(&cluster, 2).deadline(SHORT).breaker(3, SHORT));
    (0..60).for_each(|n| establish(&a, n));
    written(&tier_a);
    ready(&b, &tier_b);
    let its = (0..60).filter(|n| owner(&cluster, *n) == 0).count();
    eventually("the replica has them", || {
        replica.ask::<usize>(&["DBSIZE"]) == its
    });
    cluster.masters[0].kill();
    // Some of these wait for the dead one.
    (200..260).for_each(|n| establish(&b, n));
    let of_the_dead: Vec<u32> = {
        let alive: Vec<u32> = (0..60).filter(|n| resumes(&b, *n)).collect();
        (0..60).filter(|n| !alive.contains(n)).collect()
    };
    assert!(of_the_dead.len() >= its);
    eventually("the replica is asked", || {
        of_the_dead.iter().all(|n| resumes(&b, *n))
    });
    (100..160).for_each(|n| establish(&b, n));
    eventually("all is written", || {
        let mut new = (100..160).chain(200..260);
        tier_b.flush_writes(SHORT) && new.all(|n| resumes(&a, n))
    });
    assert!(
        replica
            .ask::<String>(&["INFO", "replication"])
            .contains("role:master")
    );
    let nodes = tier_b.health().nodes;
    let now = format!("127.0.0.1:{}", replica.port);
    assert!(
        nodes.len() == 3 && nodes.iter().any(|node| node.address == now),
        "{nodes:?}"
    );
    show(&format!(
        "ci: Cluster: {its} sessions of a master that died found at its replica"
    ));
}

/// A node that sends each write on to another one that isn't there.
#[test]
fn who_sends_on_to_everywhere_is_not_followed_everywhere() {
    let port = Arc::new(OnceLock::new());
    let (batches, sent) = (Arc::new(AtomicU32::new(0)), Mutex::new(Vec::new()));
    let (of, counted) = (port.clone(), batches.clone());
    let liar = Liar::new(move |command| {
        let is = |word: &[u8]| command.windows(word.len()).any(|part| part == word);
        if is(b"CLUSTER") {
            let port: u16 = *of.wait();
            return format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:{port}\r\n").into_bytes();
        }
        if is(b"\r\nGET\r\n") {
            return b"$-1\r\n".to_vec();
        }
        // Writes, perhaps not the last one's end.
        counted.fetch_add(1, Ordering::Relaxed);
        let mut sent = sent.lock().unwrap();
        sent.extend_from_slice(command);
        let end = b"\r\nPX\r\n";
        let mut answers = Vec::new();
        while let Some(at) = sent.windows(end.len()).position(|part| part == end) {
            sent.drain(..at + end.len());
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            answers.extend(format!("-ASK 1 127.0.1.{next}:1\r\n").bytes());
        }
        answers
    });
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let own = liar.address();
    let own = own.trim_end_matches('/').rsplit_once(':').unwrap().1;
    port.set(own.parse().unwrap()).unwrap();
    let on = builder(&liar.address()).cluster(&[]).unwrap();
    let (cache, tier) = host(on.timeouts(PATIENCE, PATIENCE).stop_timeout(SHORT));
    (0..40).for_each(|n| establish(&cache, n));
    eventually("all have come back", || {
        tier.health().counters.refused_writes == 40
    });
    let failed = tier.health().counters.connections_failed;
    let batches = batches.load(Ordering::Relaxed);
    assert!(
        (1..=16 * u64::from(batches)).contains(&failed),
        "{failed} of {batches}"
    );
    show(&format!(
        "ci: Cluster: 40 writes sent on to 40 places in {batches} batches, {failed} of them tried"
    ));
}

#[test]
fn what_is_no_map_leads_nowhere() {
    let nested = b"*1\r\n".repeat(10_000);
    let deep = [
        &b"*3\r\n"[..],
        b":0\r\n:16383\r\n*2\r\n$1\r\na\r\n:99999\r\n",
    ]
    .concat();
    for (what, answer) in [
        ("nothing", b"*0\r\n".to_vec()),
        ("nil", b"*-1\r\n".to_vec()),
        ("no end of it", b"*2147483647\r\n*1\r\n".to_vec()),
        ("too long", b"*99999999999999999999\r\n".to_vec()),
        ("too deep", nested),
        ("no array in it", deep),
        (
            "an error",
            b"-ERR This instance has cluster support disabled\r\n".to_vec(),
        ),
        ("no end", vec![b'*'; 1 << 20]),
    ] {
        let liar = Liar::new(move |_| answer.clone());
        let on = builder(&liar.address()).cluster(&[]).unwrap();
        let (cache, tier) = host(on.timeouts(SHORT, SHORT).stop_timeout(SHORT));
        eventually(what, || {
            assert!(!resumes(&cache, 1));
            tier.health().last_error.is_some()
        });
        establish(&cache, 2);
        assert!(resumes(&cache, 2));
        let health = tier.health();
        assert!(health.nodes.is_empty() && health.counters.hits == 0);
        assert_eq!((health.counters.maps, health.queued_writes), (0, 1));
        assert!(matches!(tier.check(SHORT), Err(TierError::Server(_))));
    }
}
