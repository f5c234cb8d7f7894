//! Dropping what was removed, while somebody holds it back.

use super::*;
use crate::inside::{Inside, Name};
use crate::map::debris::Debris;
use crate::reclaim::tests::Held;
use crate::slab::Origin;
use crate::sync::yield_now;

fn drop_all(map: &ExpiringMap<u64, u64>, mut debris: Debris) {
    while debris.left != 0 {
        map.drop_debris(&mut debris, u64::MAX);
        yield_now();
    }
}

#[test]
fn what_was_removed_is_left_to_drop_until_no_guard_is_held() {
    let map = map(4, None);
    fill(&map, 1..=100, at(500));
    let guard = map.pin();
    for key in 1..=5 {
        assert!(map.take(&key, at(0), &guard).is_some());
    }
    let mut debris = map.debris();
    for key in 6..=8 {
        assert!(map.take(&key, at(0), &guard).is_some());
    }
    map.drop_debris(&mut debris, u64::MAX);
    assert_eq!(debris.left, 5);
    assert_eq!((map.reclaim(), map.stats().garbage), (8, 8));
    drop(guard);
    map.drop_debris(&mut debris, 0);
    assert_eq!(debris.left, 5, "dropped more than it may");
    drop_all(&map, debris);
    while map.reclaim() > 0 {}
    assert_eq!(map.stats().garbage, 0);
}

#[test]
fn who_is_held_back_rests_once_and_not_again_before_he_got_on() {
    let map = map(4, None);
    let both = [Origin::Single, Origin::Flushed];
    // How often it rests, if each rest is so long, and turns that it gives to others take no time.
    let rests = |time| {
        let mut rests = 0;
        map.core.drop_garbage(&both, |rest| {
            rests += u32::from(!rest.is_zero());
            if rest.is_zero() { rest } else { time }
        });
        rests
    };
    let turns = |time| {
        let mut turns = 0;
        map.core.drop_garbage(&both, |rest| {
            assert_eq!(rest, Duration::ZERO);
            turns += 1;
            time
        });
        turns
    };
    let (short, long) = (Duration::from_micros(100), Duration::from_millis(7));
    let mut other = Held::new();
    for round in 0..3 {
        fill(&map, 0..10, at(500));
        assert_eq!(rests(long), 0, "nothing to drop");
        assert!((0..10).all(|key| map.remove(&key)));
        let guard = map.pin();
        assert_eq!(rests(long), 0, "no hope");
        drop(guard);
        let inside = Inside::enter(&Name::new());
        assert_eq!(rests(long), 0, "no hope");
        drop(inside);
        let (time, often) = [(short, 200), (long, 3), (short, 200)][round];
        assert_eq!(rests(time), often, "round {round}");
        assert_eq!(rests(time), 0, "round {round}");
        // What has nothing to drop learns nothing.
        map.core.drop_flushed();
        assert_eq!((rests(time), map.reclaim()), (0, 10), "round {round}");
        // Nor does it give turns to others for longer than it would have slept.
        assert_eq!((turns(Duration::ZERO), turns(long)), (127, 3));
        // They come to an end when all is dropped: if other tests don't hold it back.
        other.let_go();
        while map.reclaim() > 0 {}
        // Again, and the guard is let go while it rests.
        assert_eq!(fill(&map, 0..10, at(500)), 0);
        other = Held::new();
        assert!((0..10).all(|key| map.remove(&key)));
        let (mut held, mut rests) = (Some(other), 0);
        map.core.drop_garbage(&both, |rest| {
            if rest.is_zero() {
                return rest;
            }
            rests += 1;
            held.take().into_iter().for_each(Held::let_go);
            drop_all(&map, map.debris());
            long
        });
        assert_eq!((rests, map.stats().garbage), (1, 0));
        other = Held::new();
    }
    other.let_go();
}

#[test]
fn a_flush_drops_what_others_have_left() {
    let map = map(4, None);
    let leave = || {
        fill(&map, 1..=100, at(500));
        let guard = map.pin();
        assert_eq!(map.flush(at(501)).removed, 100);
        let waiting = each_shard(&map, |shard| shard.slab.garbage());
        assert_eq!(waiting.iter().sum::<u64>(), 100);
        drop(guard);
    };
    leave();
    while map.stats().garbage > 0 {
        assert_eq!(map.flush(at(501)).removed, 0);
    }
    leave();
    // Nothing is due any more. Each turn drops ten at the most; none as long as other tests hold the epoch back.
    let mut turns = 0;
    while map.stats().garbage > 0 {
        assert_eq!(map.flush_within(at(501), 10).removed, 0);
        turns += 1;
        yield_now();
    }
    assert!(turns >= 10, "{turns} turns are too few");
}
