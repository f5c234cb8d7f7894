//! Rows 5 and 6: inserts into a cache that grows.

use std::collections::hash_map::RandomState;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::peers::{Dash, Ours, Papaya, Peer, RwLocked, SccIndex, SccMap, Seconds};
use sessionwheel_bench::{Ids, LATE};

use crate::rows::{Line, against, contestants, line, openssl, say};
use crate::work;
use sessionwheel_bench::contest::{Bar, Contestant, Plan, compare};

type Std = RandomState;
type Our = DefaultHashBuilder;

fn late(_: &mut Ids) -> Seconds {
    LATE
}

fn random(draw: &mut Ids) -> Seconds {
    LATE + draw.below(6_900) as u64
}

pub(crate) fn grow(plan: Plan) -> Vec<Line> {
    let plan = plan.fresh();
    let n = 1_000_000 / plan.divisor;
    let name = format!("insert into a growing cache, to {n}");
    let maps = |n| {
        contestants!(work::grow(n, 1, late);
            Dash<Std>, Dash<Our>, Papaya<Std>, Papaya<Our>, SccMap<Std>, SccMap<Our>,
            SccIndex<Std>, SccIndex<Our>, RwLocked<Std>, RwLocked<Our>)
    };
    let mut peers = maps(n);
    peers.extend(openssl!(work::grow(n, 1, late)));
    let mut ours = work::grow::<Ours>(n, 1, late);
    let (bar, scouts) = (Bar::TimeAtMost(0.75), maps(plan.part_scouted(n)));
    against(5, &name, bar, plan, &mut ours, (&scouts, &peers))
}

pub(crate) fn lifetimes(plan: Plan) -> Vec<Line> {
    let plan = plan.fresh();
    let bar = Bar::TimeAtMost(1.1);
    let of = |(n, repeat): (usize, usize)| {
        let n = n / plan.divisor;
        let name = format!("insert, random against equal lifetimes, {n}");
        say(6, &name);
        let mut random = work::grow::<Ours>(n, repeat, random);
        let mut equal = work::grow::<Ours>(n, repeat, late);
        let outcome = compare(&mut random, &mut equal, bar, plan);
        line(6, &name, "ours, equal lifetimes", bar, &outcome)
    };
    [(16_000, 20), (1_000_000, 1)].map(of).into()
}
