//! What a client goes through that keeps its last session and offers it at each connection.

use std::net::SocketAddr;

use crate::gate::Gate;
use crate::{End, Site, Value, Version};

/// A server may close its connections in either way: no session suffers from it.
pub const ENDS: [End; 2] = [End::Clean, End::Unclean];

/// What has happened when a connection reaches the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    Nothing,
    /// All sessions have expired.
    Expiry,
    /// Those of the server were purged.
    Purge,
    /// All were taken out.
    Take,
    /// It is the server elsewhere that the connection reaches.
    Detour,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) before: Before,
    pub(crate) resumed: bool,
}

impl Step {
    /// Lets it happen. Where the connection leads to.
    pub(crate) fn happen<V: Value>(&self, site: &Site<V>) -> SocketAddr {
        match self.before {
            Before::Nothing => (),
            Before::Expiry => site.expire(),
            Before::Purge => site.purge(),
            Before::Take => site.take(),
            Before::Detour => return site.elsewhere,
        }
        site.here
    }

    /// The answer is the one that has to come.
    pub(crate) fn hold(&self, who: &str, version: Version, answer: &str) {
        let seen = resumed(answer, version);
        assert_eq!(seen, self.resumed, "{who}, {version}, {self:?}: {answer}");
    }
}

const fn step(before: Before, resumed: bool) -> Step {
    Step { before, resumed }
}

const FIRST: Step = step(Before::Nothing, false);
const AGAIN: Step = step(Before::Nothing, true);

/// A visit and five more.
pub(crate) const RECONNECT: [Step; 6] = [FIRST, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN];

/// All that makes a session unusable; after each the next session is resumed.
pub(crate) const COURSE: [Step; 14] = [
    FIRST,
    AGAIN,
    AGAIN,
    AGAIN,
    step(Before::Expiry, false),
    AGAIN,
    step(Before::Purge, false),
    AGAIN,
    step(Before::Take, false),
    AGAIN,
    step(Before::Detour, false),
    step(Before::Detour, true),
    // With a session from elsewhere.
    step(Before::Nothing, false),
    AGAIN,
];

/// The same for a program that connects twice.
pub(crate) const PAIRS: [[Step; 2]; 5] = [
    [FIRST, AGAIN],
    [FIRST, step(Before::Expiry, false)],
    [FIRST, step(Before::Purge, false)],
    [FIRST, step(Before::Take, false)],
    [FIRST, step(Before::Detour, false)],
];

/// Whether the server says that the connection was resumed.
pub fn resumed(answer: &str, version: Version) -> bool {
    let says = |what: &str| answer.contains(&format!("{version} {what}"));
    assert_ne!(says("resumed"), says("handshake"), "{answer}");
    says("resumed")
}

/// A client goes all the way: `connect` to this address, and what the server has answered. False if there is no such
/// program.
pub(crate) fn walk<V: Value>(
    who: &str,
    version: Version,
    site: &Site<V>,
    mut connect: impl FnMut(&str) -> Option<String>,
) -> bool {
    let gate = Gate::open(site, &COURSE);
    for step in &COURSE {
        let Some(answer) = connect(&gate.address) else {
            return false;
        };
        step.hold(who, version, &answer);
    }
    assert_eq!(gate.passed(), COURSE.len(), "{who}");
    say(who, version, &COURSE);
    true
}

/// The same without a gate, for a client that goes where it is told, and by another way than TCP.
pub fn walk_by_itself<V: Value>(
    who: &str,
    version: Version,
    site: &Site<V>,
    mut connect: impl FnMut(SocketAddr) -> String,
) {
    for step in &COURSE {
        step.hold(who, version, &connect(step.happen(site)));
    }
    say(who, version, &COURSE);
}

/// Says what was seen: that all steps were as they have to be.
pub(crate) fn say(who: &str, version: Version, steps: &[Step]) {
    let resumed = steps.iter().filter(|step| step.resumed).count();
    let not = steps.len() - resumed;
    println!("{who}, {version}: {resumed} resumed, {not} not");
}
