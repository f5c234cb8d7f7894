//! Who may use a session for a single use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use sessionwheel::{Claim, SessionKey};

use super::{Names, RedisTier, removal_of};
use crate::entry::{Entry, State};
use crate::health::Tallies;

/// How often it is looked whether a write that is under way has been answered.
const LOOK: Duration = Duration::from_micros(50);

/// What is known here of who may use it.
enum Known {
    Won,
    Lost,
    /// Its write was not answered within the deadline.
    Late,
    Ask,
}

impl<V: Send + Sync + 'static> RedisTier<V> {
    pub(super) fn claimed(&self, key: &SessionKey) -> Claim {
        let Some(names) = self.names(key) else {
            return Claim::Won;
        };
        let core = self.core();
        if !core.is_up() {
            // What a child would queue nobody sends.
            return self.undecided();
        }
        let until = self.until();
        let mark = core.mark(key);
        match mark.map_or(Known::Ask, |mark| self.known_by(&mark, until)) {
            Known::Won => {
                Tallies::add(&core.tallies.claimed_here);
                Claim::Won
            }
            Known::Lost => {
                Tallies::add(&core.tallies.lost);
                Claim::Lost
            }
            Known::Late => {
                Tallies::add(&core.tallies.timeouts);
                self.used_undecided(names, key)
            }
            Known::Ask => self.decide(names, key, until),
        }
    }

    /// What the mark alone decides.
    fn known_by(&self, mark: &Arc<Entry>, until: Instant) -> Known {
        let core = self.core();
        loop {
            match mark.state() {
                State::Queued => {
                    if mark.step(State::Queued, State::Gone) {
                        Tallies::add(&core.tallies.cancelled_writes);
                        // There may be an older one of the same id.
                        core.enqueue_removal(removal_of(mark));
                        return Known::Won;
                    }
                }
                State::Unshared => {
                    if mark.step(State::Unshared, State::Gone) {
                        core.settle(mark);
                        return Known::Won;
                    }
                }
                State::Sent => {
                    if Instant::now() >= until {
                        return Known::Late;
                    }
                    std::thread::sleep(LOOK);
                }
                State::Gone | State::Removed => return Known::Lost,
                State::Written | State::Unknown => return Known::Ask,
            }
        }
    }

    /// Whether a session that lies in Redis, if it lies anywhere else, is ours to use.
    fn decide(&self, names: Names, key: &SessionKey, until: Instant) -> Claim {
        let core = self.core();
        let tallies = &core.tallies;
        let ours = match core.ask(redis::cmd("GETDEL").arg(&*names.key), &names.key, until) {
            // Only what was stored for this id is worth it.
            Ok(Value::BulkString(sealed)) => self.open(&names, key, &sealed, 0).is_some(),
            Ok(_) => false,
            Err(_) => return self.used_undecided(names, key),
        };
        Tallies::add(if ours {
            &tallies.claimed
        } else {
            &tallies.lost
        });
        ours.into()
    }

    /// Redis can't say, or couldn't in time. What is used here all the same is to be had there by nobody, once it can be
    /// removed.
    fn used_undecided(&self, names: Names, key: &SessionKey) -> Claim {
        let claim = self.undecided();
        if claim == Claim::Local {
            self.let_go(*key, names.key);
        }
        claim
    }

    fn undecided(&self) -> Claim {
        Tallies::add(&self.core().tallies.undecided);
        if self.core().settings.local_when_down {
            Claim::Local
        } else {
            Claim::Lost
        }
    }
}
