//! Clients and a server, with a cache of OpenSSL's and one of ours at either end.

use std::cell::Cell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use sessionwheel::Role;

use crate::difference::Met;
use crate::end::{End, Handshake};
use crate::handshake::{self, Version, context, shake};
use crate::pair::{Wrong, ensure};
use crate::spec::{Kept, Setup};

/// Ids are numbers from 1 up to here.
pub const IDS: usize = 24;

/// So many sessions are made by another host before.
const ELSEWHERE: usize = 4;

/// A handshake of a client with another host, which keeps nothing.
fn made_elsewhere(version: Version, id: usize) -> handshake::Done {
    let mode = openssl_sys::SSL_SESS_CACHE_SERVER | openssl_sys::SSL_SESS_CACHE_NO_INTERNAL;
    let off = openssl_sys::SSL_SESS_CACHE_OFF;
    let client = context(version, Role::Client, off, false);
    let server = context(version, Role::Server, mode, false);
    shake(&client, &server, None, id, true).expect("a handshake")
}

/// What is done at both ends.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A handshake.
    Shake {
        /// The client offers the session that was made last with this id, if there was one.
        offer: Option<usize>,
        /// A new session has this id, or the next one that is free. (There is one at the most.)
        id: usize,
        /// For so many thousand seconds, and some hundreds.
        timeout: i64,
        /// Whether the new-session callback wants it.
        keeps: bool,
    },
    /// So many thousand seconds go by.
    Advance(i64),
    /// Whoever wants to resume a session takes it, at the server.
    Take(usize),
    /// A session is removed.
    Remove(usize),
    /// What has expired is.
    Flush,
    /// A session disappears outside.
    Withdraw(usize),
}

/// Acts of one sequence at the most: each takes a second, and deadlines end a quarter of a thousand seconds before or
/// after its thousands, so that none is met by the seconds that the test takes.
pub const LENGTH: usize = 200;

/// How much was done.
#[derive(Default, Debug)]
pub struct Done {
    /// Sequences, each on new caches.
    pub sequences: Cell<u64>,
    /// Acts.
    pub acts: Cell<u64>,
    /// Handshakes of TLS 1.2, and of TLS 1.3.
    pub handshakes: [Cell<u64>; 2],
    /// Those among them that OpenSSL resumed.
    pub resumed: [Cell<u64>; 2],
    /// Intended differences.
    pub met: Met,
}

fn one_more(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sequences, acts) = (self.sequences.get(), self.acts.get());
        write!(f, "{acts} operations in {sequences} sequences")?;
        for (n, version) in ["TLS 1.2", "TLS 1.3"].into_iter().enumerate() {
            let (handshakes, resumed) = (self.handshakes[n].get(), self.resumed[n].get());
            write!(
                f,
                ", {handshakes} handshakes of {version}, {resumed} resumed"
            )?;
        }
        Ok(())
    }
}

/// A client and a server.
pub struct Wire {
    version: Version,
    client: End,
    server: End,
    serial: u32,
}

impl Wire {
    /// With empty caches.
    ///
    /// # Panics
    /// If the system's clock stands before 1970.
    #[must_use]
    pub fn new(version: Version, client: Setup, server: Setup) -> Self {
        let start = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let start = start.as_secs() as i64;
        let elsewhere: Vec<_> = (1..=ELSEWHERE)
            .map(|id| (id, made_elsewhere(version, id)))
            .collect();
        // A client has nothing outside, and a lookup that its server does not resume renews nothing.
        let mut wire = Self {
            version,
            client: End::new(
                Role::Client,
                version,
                Setup {
                    outside: false,
                    update_time: false,
                    ..client
                },
                start,
            ),
            server: End::new(Role::Server, version, server, start),
            serial: ELSEWHERE as u32,
        };
        for (id, made) in elsewhere {
            let timeout = 1_000 * id as i64 + 500;
            // Never two deadlines at once.
            let (deadline, serial) = (start + timeout - id as i64, id as u32);
            let kept = Kept {
                deadline,
                timeout,
                serial,
            };
            wire.client.learn(id, &made.client, kept);
            wire.server.learn(id, &made.server, kept);
        }
        wire
    }

    /// Does it, and compares.
    ///
    /// # Errors
    /// If a cache does not do what the specification says.
    pub fn step(&mut self, act: &Act, done: &Done) -> Result<(), Wrong> {
        one_more(&done.acts);
        let (client, server) = (&mut self.client, &mut self.server);
        for end in [&mut *client, &mut *server] {
            end.advance(1);
        }
        match *act {
            Act::Shake {
                offer,
                id,
                timeout,
                keeps,
            } => self.shake(offer, id, timeout, keeps, done),
            Act::Advance(thousands) => {
                client.advance(1_000 * thousands);
                server.advance(1_000 * thousands);
                Ok(())
            }
            Act::Take(id) => server.take(id, &done.met),
            Act::Remove(id) => {
                client.remove(id, &done.met)?;
                server.remove(id, &done.met)
            }
            Act::Flush => {
                client.flush(&done.met)?;
                server.flush(&done.met)
            }
            Act::Withdraw(id) => {
                server.withdraw(id);
                Ok(())
            }
        }
    }

    fn shake(
        &mut self,
        offer: Option<usize>,
        id: usize,
        timeout: i64,
        keeps: bool,
        done: &Done,
    ) -> Result<(), Wrong> {
        let (client, server) = (&mut self.client, &mut self.server);
        // With the id that it has offered, a client would take a new session for the old one.
        let free = (0..IDS).map(|more| 1 + (id + more) % IDS);
        let Some(id) = free
            .into_iter()
            .find(|&id| server.is_free(id) && offer != Some(id))
        else {
            return Ok(());
        };
        // A client has one session of an id: so has the world outside.
        let keeps = keeps || server.is_outside(id);
        server.withdraw_expired();
        let offered = offer.and_then(|offer| Some((offer, client.offered(offer)?)));
        let made = shake(
            &client.context,
            &server.context,
            offered.as_ref().map(|(_, session)| session),
            id,
            keeps,
        )?;
        let of_version = usize::from(self.version.is_13());
        one_more(&done.handshakes[of_version]);
        let offer = offered.map(|(offer, _)| offer);
        if made.resumed {
            one_more(&done.resumed[of_version]);
        }
        // In TLS 1.3 it goes on to a session of its own.
        if made.resumed && !self.version.is_13() {
            let resumed = handshake::id_of(made.server.view().id());
            ensure!(
                Some(resumed) == offer,
                "OpenSSL resumed {resumed} in place of {offer:?}"
            );
        }
        // What is offered may be renewed by this use, and must not expire in the same second as what is made by it.
        let offered = offer.into_iter().flat_map(|offer| server.timeouts(offer));
        let taken: Vec<_> = offered.map(|timeout| timeout % 1_000).collect();
        let rest = [500, 250, 750].into_iter().find(|r| !taken.contains(r));
        let timeout = 1_000 * timeout + rest.expect("inside and outside make two");
        self.serial += 1;
        let handshake = Handshake {
            offer,
            resumed: made.resumed,
            id,
            kept: Kept {
                deadline: server.now + timeout,
                timeout,
                serial: self.serial,
            },
            keeps,
            made: &made.server,
        };
        server.handshake(&handshake, &done.met)?;
        client.handshake(
            &Handshake {
                made: &made.client,
                ..handshake
            },
            &done.met,
        )
    }
}
