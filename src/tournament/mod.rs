//! The tournament: who of a shard leaves first.
//!
//! A tournament tree (Knuth, *The Art of Computer Programming*, vol. 3, 5.4.1) over slot numbers:
//! every slot has a key, every match knows the best key of its sixteen players. So the entry that
//! expires first is found, and the tree put right after it has left, in a number of steps that does
//! not depend on how many entries there are or how far ahead their deadlines lie.
//!
//! **The slots are the truth, keys are copies.** A key names a slot to look at; whoever follows it
//! judges the slot itself, and puts the key right if it tells something else.
//!
//! Ground rules:
//! - Callers are pinned, and have seen the slot live under their guard or removed it themselves.
//! - Whoever publishes a slot, re-times it or marks it enters its key *afterwards*, and reads the
//!   slot again after that (but for who has marked it: that is the end). Keys change by swaps only, so
//!   who enters one sees what led to the key it replaced; the last one to swap has seen the last change.
//! - Who raises a key or a match then reads the matches above, and raises those that say less, until
//!   none does. Who lowers matches reads their players again *after* that, and goes up with what it had
//!   missed. A `SeqCst` fence lies between in both: one for all the matches of a path. So either the
//!   one sees the other's match, or the other its player. These fences are all the order that matches
//!   need: who finds one raised and not the player below lowers it, and finds the player after its fence.
//! - A match that says more than its players do costs whoever follows it a replay. One that says
//!   less hides a slot from this search, and only while the thread that lowered it is between its
//!   two steps; so does a key, while who entered it reads the slot again. Nothing depends on the
//!   tournament but the choice of a victim.

mod rank;

pub(crate) use rank::Rank;

use crate::geometry::{MATCH_BITS, NUMBER_BITS, ROUNDS};
use crate::prefetch::prefetch;
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Players in a match: sixteen make two cache lines.
const PLAYERS: u32 = 1 << MATCH_BITS;

const OFF: u32 = 0;
const BEGUN: u32 = 1;
const COMPLETE: u32 = 2;

#[cfg(not(loom))]
const SEGMENTS: usize = (NUMBER_BITS + 1) as usize;
#[cfg(loom)]
const SEGMENTS: usize = 5;

/// The keys, or the matches of one round.
type Round = Segments<AtomicU64, MATCH_BITS, SEGMENTS>;

pub(crate) struct Tournament {
    /// Whether it is being played: an unlimited map needs no victims.
    state: AtomicU32,
    /// Round 0 are the keys, one for each slot. The last round has no final: it is looked through.
    rounds: [Round; ROUNDS + 1],
    /// Among equals the first from here on wins.
    turn: AtomicU32,
    /// The highest slot that ever had a key.
    reach: AtomicU32,
}

impl Tournament {
    pub(crate) fn new() -> Self {
        const { assert!(ROUNDS as u32 * MATCH_BITS < NUMBER_BITS) };
        Self {
            state: AtomicU32::new(OFF),
            rounds: std::array::from_fn(|_| Round::new()),
            turn: AtomicU32::new(0),
            reach: AtomicU32::new(0),
        }
    }

    /// The round whose first match's worth of matches is all there is: where searches begin, and
    /// replays end. What stands above says too much, until the reach grows and a search finds out.
    fn top(&self) -> usize {
        // Relaxed: who has seen a slot's enterer come back sees its reach.
        let reach = self.reach.load(Ordering::Relaxed);
        let bits = u32::BITS - reach.leading_zeros();
        (bits.saturating_sub(1) / MATCH_BITS).min(ROUNDS as u32) as usize
    }

    /// Begins it; the caller then enters every slot there is. Those who publish or re-time a slot
    /// make a `SeqCst` fence after it and then ask [`is_on`](Self::is_on): either they see it, or that
    /// caller sees their slot.
    pub(crate) fn begin(&self) {
        // The first insert would allocate them all, and no insert is to allocate more than one. Later
        // ones fall due one by one: each round's next with sixteen times the slots of that below.
        for round in &self.rounds {
            round.get_or_alloc(0);
        }
        let _ = self
            .state
            .compare_exchange(OFF, BEGUN, Ordering::Relaxed, Ordering::Relaxed);
        // Partner: the fences in `Shard::publish` and `Core::retime`.
        fence(Ordering::SeqCst);
    }

    /// Every slot has been entered that was there when it began.
    pub(crate) fn complete(&self) {
        // Release: partner of the Acquire in `is_complete`. The last fence in `climb` lies behind what
        // this thread has raised, but not behind what it then found raised by others.
        self.state.store(COMPLETE, Ordering::Release);
    }

    pub(crate) fn is_complete(&self) -> bool {
        // Acquire: partner of the Release in `complete`. Without it who sees this, under a guard that
        // it has had for long, could search before it sees who was entered.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: the fences make the order, see `begin`.
        self.state.load(Ordering::Relaxed) != OFF
    }

    /// Asks for the line of a slot's key.
    #[inline]
    pub(crate) fn prefetch(&self, slot: SlotNumber) {
        self.rounds[0].get(slot).into_iter().for_each(prefetch);
    }

    /// Makes a slot's key what `rank_of` says, which reads the slot anew each time it is called.
    #[inline]
    pub(crate) fn enter(&self, slot: SlotNumber, mut rank_of: impl FnMut() -> Rank) {
        let cell = self.rounds[0].get_or_alloc(slot);
        if self.reach.load(Ordering::Relaxed) < slot {
            self.reach.fetch_max(slot, Ordering::Relaxed);
        }
        let mut before = Rank::NOBODY;
        let mut rank = rank_of();
        loop {
            // AcqRel: partner of itself and of the swap in `leave`. Without it the slot could be
            // read as it was before whoever put there what is found here changed it, and a key would
            // stay that belongs to nobody.
            let found = Rank::from_raw(cell.swap(rank.raw(), Ordering::AcqRel));
            before = before.max(found);
            let now = rank_of();
            if now == rank {
                break;
            }
            before = before.max(rank);
            rank = now;
        }
        step!("tournament: has entered");
        if rank != Rank::NOBODY {
            self.climb(0, slot, rank);
        }
        if rank < before {
            self.replay(slot, before);
        }
    }

    /// Removes the key of a slot that the caller has marked.
    #[inline]
    pub(crate) fn leave(&self, slot: SlotNumber) {
        // Even if nobody has entered it yet: who is about to must see this swap, or be seen by it.
        let cell = self.rounds[0].get_or_alloc(slot);
        // Release: partner of the swap in `enter`, which then finds the slot marked. What it takes
        // away is not asked where it came from.
        let before = Rank::from_raw(cell.swap(Rank::NOBODY.raw(), Ordering::Release));
        step!("tournament: has left");
        if before != Rank::NOBODY {
            self.replay(slot, before);
        }
    }

    /// A slot whose key nobody's beats, and that key.
    pub(crate) fn first(&self) -> Option<(SlotNumber, Rank)> {
        // Relaxed: only a place to begin.
        let mut turn = self.turn.load(Ordering::Relaxed);
        'search: loop {
            let top = self.top();
            let (mut at, mut best) = self.finalist(top, place(turn, top))?;
            for round in (0..top).rev() {
                let turn_here = place(turn, round);
                let first = at << MATCH_BITS;
                let mut winners = equals(self.players(round, first), best);
                if winners == 0 {
                    let now = self.best(round + 1, at);
                    if now < best {
                        // Who played here has left and was not replayed yet.
                        self.replay_from(round + 1, at, best);
                        continue 'search;
                    }
                    // A better one has come, and is on its way up.
                    best = now;
                    winners = equals(self.players(round, first), best);
                }
                let Some(player) = choose(winners, turn_here.saturating_sub(first)) else {
                    continue 'search; // gone again
                };
                let index = first + player;
                if at == place(turn, round + 1) && index < turn_here {
                    // Of the equals in this match those from the turn on have gone: it is the next
                    // match's turn.
                    turn = (at + 1) << ((round + 1) as u32 * MATCH_BITS);
                    continue 'search;
                }
                at = index;
            }
            self.turn.store(at.wrapping_add(1), Ordering::Relaxed);
            return Some((at, best));
        }
    }

    /// The best of the matches of the top round, and its rank; among equals the first from `turn`
    /// on, else the first of all.
    fn finalist(&self, top: usize, turn: u32) -> Option<(u32, Rank)> {
        if top < ROUNDS {
            // There is one match's worth of them.
            let players = self.players(top, 0);
            loop {
                let best = max(players);
                if best == Rank::NOBODY {
                    return None;
                }
                if let Some(player) = choose(equals(players, best), turn) {
                    return Some((player, best));
                }
                // All of those have gone since.
            }
        }
        let finalists = self.rounds[top].allocated(0);
        let finalists = finalists.map(|(index, cell)| (index, ranked(cell)));
        let mut best: Option<(u32, Rank)> = None;
        for (index, rank) in finalists {
            let better = match best {
                None => rank != Rank::NOBODY,
                Some((_, leader)) if rank != leader => rank > leader,
                Some((leader, _)) => leader < turn && turn <= index,
            };
            if better {
                best = Some((index, rank));
            }
        }
        best
    }

    /// The players of a match, from the first one's number on.
    #[inline]
    fn players(&self, round: usize, first: u32) -> &[AtomicU64] {
        self.rounds[round].aligned(first, PLAYERS as usize)
    }

    /// The best rank of a match's players.
    fn best(&self, round: usize, at: u32) -> Rank {
        max(self.players(round - 1, at << MATCH_BITS))
    }

    /// Raises the matches above a player to its rank.
    fn climb(&self, round: usize, player: u32, rank: Rank) {
        loop {
            // Partner: the fence in `replay_from`. The player, and the matches raised in the turn
            // before, are written before; the matches above them are read after.
            fence(Ordering::SeqCst);
            let mut raised = false;
            let mut at = player;
            for above in &self.rounds[round + 1..] {
                at >>= MATCH_BITS;
                let cell = above.get_or_alloc(at);
                // A match that says enough already stays, whoever wrote it.
                if ranked(cell) < rank {
                    cell.fetch_max(rank.raw(), Ordering::Relaxed);
                    step!("tournament: has climbed");
                    raised = true;
                }
            }
            if !raised {
                return;
            }
        }
    }

    /// Replays the matches that somebody of rank `gone` had won, from a slot upwards.
    #[inline]
    fn replay(&self, slot: SlotNumber, gone: Rank) {
        self.replay_from(1, slot >> MATCH_BITS, gone);
    }

    fn replay_from(&self, first: usize, match_of_first: u32, gone: Rank) {
        let mut lowered = [Rank::NOBODY; ROUNDS + 1];
        let mut end = first;
        let mut at = match_of_first;
        let top = self.top();
        while end <= top {
            let Some(best) = self.lower(end, at, gone) else {
                break;
            };
            lowered[end] = best;
            end += 1;
            at >>= MATCH_BITS;
        }
        if end == first {
            return;
        }
        step!("tournament: has lowered");
        // Partner: the fence in `climb`. The matches are written before, players are read after.
        fence(Ordering::SeqCst);
        let mut at = match_of_first;
        for (round, &best) in lowered.iter().enumerate().take(end).skip(first) {
            let again = self.best(round, at);
            if again > best {
                // The player is there already; its matches, this one included, go up.
                let cell = self.rounds[round].get_or_alloc(at);
                cell.fetch_max(again.raw(), Ordering::Relaxed);
                self.climb(round, at, again);
            }
            at >>= MATCH_BITS;
        }
    }

    /// Lowers a match that somebody of rank `gone` had won to the best of its players; to what, if
    /// this thread did.
    fn lower(&self, round: usize, at: u32, gone: Rank) -> Option<Rank> {
        let cell = self.rounds[round].get(at)?;
        // Won by somebody else: then those above were too, or are being replayed.
        let won = ranked(cell);
        if won != gone {
            return None;
        }
        let best = self.best(round, at);
        if best >= won {
            return None;
        }
        // If it fails: raised meanwhile, or replayed by another.
        let lowered =
            cell.compare_exchange(won.raw(), best.raw(), Ordering::Relaxed, Ordering::Relaxed);
        lowered.is_ok().then_some(best)
    }
}

/// Where the path to a slot passes a round.
fn place(slot: SlotNumber, round: usize) -> u32 {
    slot >> (round as u32 * MATCH_BITS)
}

/// What a key or a match says.
#[inline]
fn ranked(cell: &AtomicU64) -> Rank {
    // Relaxed, here and wherever a match changes: the fences make the order. Who follows a key that
    // is ahead of what it sees of the slot enters it again, by a swap that shows it the slot.
    Rank::from_raw(cell.load(Ordering::Relaxed))
}

/// The best rank of some players.
#[inline]
fn max(players: &[AtomicU64]) -> Rank {
    players.iter().map(ranked).fold(Rank::NOBODY, Rank::max)
}

/// Which players of a match have a rank: a bit for each.
#[inline]
fn equals(players: &[AtomicU64], rank: Rank) -> u32 {
    let bit = |(player, cell): (usize, &AtomicU64)| u32::from(ranked(cell) == rank) << player;
    players.iter().enumerate().map(bit).fold(0, |a, b| a | b)
}

/// The first of some players from one on, else the first of all.
#[inline]
fn choose(players: u32, from: u32) -> Option<u32> {
    let behind = players & u32::MAX.checked_shl(from).unwrap_or(0);
    let players = if behind != 0 { behind } else { players };
    (players != 0).then_some(players.trailing_zeros())
}

#[cfg(all(test, not(loom)))]
mod tests;
