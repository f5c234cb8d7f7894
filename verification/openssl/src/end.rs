//! One end of the handshakes: OpenSSL's cache and ours, and whether both do what the specification says.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use libc::{c_int, c_long};
use openssl::ssl::SslContext;
use sessionwheel::{Clock, Endpoint, ManualClock, Mode, Role, SessionCache, SessionOptions};
use sessionwheel_openssl::ffi::{
    SSL_CTRL_SESS_CACHE_FULL, SSL_CTRL_SESS_NUMBER, SSL_SESS_CACHE_UPDATE_TIME,
};

use crate::desk::{Outside, Shared, id_of, key};
use crate::difference::Met;
use crate::ffi::{Cache, Session};
use crate::handshake::{self, Version, calls, like};
use crate::pair::{Wrong, ensure, seconds};
use crate::spec::{Counts, Events, Kept, Setup, Spec, State, TIMEOUT};

/// `SSL_CTRL_SESS_CONNECT` and so on, of clients and of servers.
const BEGUN: [c_int; 2] = [21, 24];
const GOOD: [c_int; 2] = [22, 25];
const RENEGOTIATED: [c_int; 2] = [23, 26];
/// `SSL_CTRL_SESS_HIT`, `_CB_HIT`, `_MISSES`, `_TIMEOUTS`.
const LOOKUPS: [c_int; 4] = [27, 28, 29, 30];

/// A handshake as OpenSSL did it.
pub(crate) struct Handshake<'h> {
    /// What the client has offered.
    pub(crate) offer: Option<usize>,
    /// Whether the server has resumed it.
    pub(crate) resumed: bool,
    /// The id of the session that it made, here or at the other cache: in TLS 1.2 if it has resumed none,
    pub(crate) id: usize,
    /// how that is kept,
    pub(crate) kept: Kept,
    /// whether the new-session callback says that it is,
    pub(crate) keeps: bool,
    /// and the object, or the one that was resumed. In TLS 1.2 it has no id if the server does not keep it.
    pub(crate) made: &'h Session,
}

impl Handshake<'_> {
    /// Whether there is a new session.
    fn is_new(&self) -> bool {
        let name = self.made.view().id();
        !name.is_empty() && handshake::id_of(name) == self.id
    }
}

/// Both caches at one end.
pub(crate) struct End {
    pub(crate) role: Role,
    version: Version,
    pub(crate) setup: Setup,
    pub(crate) context: SslContext,
    theirs: Cache,
    ours: SessionCache<u32>,
    hand: ManualClock,
    desk: Shared,
    /// What OpenSSL's has to be, and what ours.
    states: [State; 2],
    /// What OpenSSL has made, by id, in no cache.
    objects: BTreeMap<usize, Session>,
    /// The time when it began: OpenSSL takes it from the system, where it is still about the same.
    start: i64,
    pub(crate) now: i64,
}

impl End {
    pub(crate) fn new(role: Role, version: Version, setup: Setup, start: i64) -> Self {
        let context = handshake::context(version, role, bits(&setup), setup.outside);
        let mut theirs = handshake::cache(&context);
        theirs.set_size(match setup.maximum {
            0 => 0,
            1 => 1,
            n => n as i64 + 1,
        });
        let (clock, hand) = Clock::manual(seconds(start));
        let desk = Shared::default();
        let (new, gone) = (Arc::clone(&desk), Arc::clone(&desk));
        let mut builder = SessionCache::builder()
            .shards(1)
            .clock(clock)
            .maximum((setup.maximum != 0).then_some(setup.maximum))
            .timeout(Duration::from_secs(TIMEOUT as u64))
            .lineage(None)
            .automatic_flush(None)
            .mode(setup.mode)
            .internal_lookup(setup.lookup)
            .internal_store(setup.store)
            .update_time(setup.update_time)
            .on_new(move |key, _| {
                let mut desk = new.lock().unwrap();
                desk.events.new.push(id_of(key));
                desk.keeps
            })
            .on_remove(move |key, _, reason| {
                gone.lock().unwrap().events.gone.push((id_of(key), reason));
            });
        if setup.outside {
            builder = builder.external(Outside(Arc::clone(&desk)));
        }
        let mut end = Self {
            role,
            version,
            setup,
            context,
            theirs,
            ours: builder.build().expect("one shard"),
            hand,
            desk,
            states: Default::default(),
            objects: BTreeMap::new(),
            start,
            now: start,
        };
        end.advance(0);
        end
    }

    /// Time goes on: for ours the clock does, OpenSSL's sessions get older.
    pub(crate) fn advance(&mut self, more: i64) {
        self.now += more;
        self.hand.set(seconds(self.now));
        self.desk.lock().unwrap().now = self.now;
        self.stamp_all();
    }

    /// Gives one of OpenSSL's objects time and timeout.
    fn stamp(&self, session: &Session, kept: Kept) {
        session.set_time(self.start + kept.deadline - kept.timeout - self.now);
        assert!(session.set_timeout(kept.timeout));
    }

    /// All that OpenSSL has inside or outside gets the deadlines that the specification knows.
    fn stamp_all(&self) {
        for session in self.theirs.sessions() {
            let id = handshake::id_of(session.view().id());
            if let Some(&kept) = self.states[0].inside.get(&id) {
                self.stamp(&session, kept);
            }
        }
        if self.setup.outside {
            let outside = &self.states[0].outside;
            let all = outside
                .iter()
                .map(|(&id, &kept)| (id, self.object(id, kept)));
            handshake::set_outside(all.collect());
        }
    }

    /// Another object of that session.
    fn object(&self, id: usize, kept: Kept) -> Session {
        let object = self.objects[&id].duplicate();
        self.stamp(&object, kept);
        object
    }

    /// Whether a session may be made with this id: OpenSSL makes none with one that is inside.
    pub(crate) fn is_free(&self, id: usize) -> bool {
        self.states
            .iter()
            .all(|state| !state.inside.contains_key(&id))
    }

    pub(crate) fn is_outside(&self, id: usize) -> bool {
        self.states[0].outside.contains_key(&id)
    }

    /// For how long sessions of that id live each time, inside and outside.
    pub(crate) fn timeouts(&self, id: usize) -> impl Iterator<Item = i64> {
        let places = self.states.iter().flat_map(|s| [&s.inside, &s.outside]);
        places.filter_map(move |sessions| Some(sessions.get(&id)?.timeout))
    }

    fn endpoint(&self) -> Endpoint<'_, u32> {
        match self.role {
            Role::Server => self.ours.server(),
            Role::Client => self.ours.client(),
        }
    }

    /// What is to be, of OpenSSL's cache (0) or of ours (1).
    fn spec<'s>(&self, states: &'s mut [State; 2], which: usize, met: &'s Met) -> Spec<'s> {
        Spec {
            ours: which == 1,
            role: self.role,
            version: self.version,
            setup: self.setup,
            now: self.now,
            state: &mut states[which],
            events: Events::default(),
            met,
        }
    }

    /// A handshake was done by OpenSSL: what both caches at this end make of it.
    pub(crate) fn handshake(&mut self, done: &Handshake<'_>, met: &Met) -> Result<(), Wrong> {
        let mut states = std::mem::take(&mut self.states);
        let [(found_there, theirs), (found, ours)] = [0, 1].map(|which| {
            let mut spec = self.spec(&mut states, which, met);
            spec.state.counts.begun += 1;
            let found = done.offer.and_then(|offer| match self.role {
                Role::Server => spec.resume(offer),
                Role::Client => spec.offer(offer, done.resumed),
            });
            // It is the server that decides.
            let resumed = match self.role {
                Role::Server => found.is_some(),
                Role::Client => done.resumed,
            };
            if let Some(used) = self.uses(done) {
                spec.used(used);
            }
            if self.establishes(done, resumed) {
                spec.established(done.id, done.kept, done.keeps);
            }
            spec.state.counts.good += 1;
            (found, spec.events)
        });
        self.states = states;
        ensure!(
            self.role == Role::Client || done.resumed == found_there.is_some(),
            "OpenSSL resumed {:?}: {}, and should have found {found_there:?}",
            done.offer,
            done.resumed
        );
        if done.is_new() {
            self.objects.insert(done.id, done.made.duplicate());
        }

        self.desk.lock().unwrap().keeps = done.keeps;
        let endpoint = self.endpoint();
        endpoint.begins();
        let got = done
            .offer
            .and_then(|offer| endpoint.resume(&key(offer)).hit());
        let wanted = found.map(|kept| kept.serial);
        ensure!(
            got == wanted,
            "ours found {got:?} for {:?}, and should {wanted:?}",
            done.offer
        );
        let resumed = match self.role {
            Role::Server => got.is_some(),
            Role::Client => done.resumed,
        };
        if let Some(used) = self
            .uses(done)
            .filter(|_| self.setup.mode.includes(self.role))
        {
            self.ours.remove(&key(used));
        }
        if self.establishes(done, resumed) {
            let timeout = Duration::from_secs(done.kept.timeout as u64);
            let options = SessionOptions::default().timeout(timeout);
            let options = options.tls13(self.version.is_13());
            let established = endpoint.established(key(done.id), done.kept.serial, options);
            established.map_err(|error| format!("ours refused {}: {error}", done.id))?;
        }
        endpoint.ends();
        self.compare([theirs, ours])
    }

    /// Whether a handshake comes to a new session here: for a client it does not without an id.
    fn establishes(&self, done: &Handshake<'_>, resumed: bool) -> bool {
        match self.role {
            Role::Server => self.version.is_13() || !resumed,
            Role::Client => done.is_new(),
        }
    }

    /// What a client has resumed, if it does that once: in TLS 1.3.
    fn uses(&self, done: &Handshake<'_>) -> Option<usize> {
        let used = self.role == Role::Client && self.version.is_13() && done.resumed;
        done.offer.filter(|_| used)
    }

    /// An operation on both that no handshake comes to; what it gives has to be what the specification says, which gets
    /// the operation by `spec`.
    pub(crate) fn both<R: PartialEq + Debug>(
        &mut self,
        met: &Met,
        spec: impl Fn(&mut Spec<'_>) -> R,
        theirs: impl FnOnce(&mut Cache) -> R,
        ours: impl FnOnce(&Endpoint<'_, u32>, &SessionCache<u32>) -> R,
    ) -> Result<(), Wrong> {
        let mut states = std::mem::take(&mut self.states);
        let [theirs_wanted, ours_wanted] = [0, 1].map(|which| {
            let mut spec_of = self.spec(&mut states, which, met);
            let wanted = spec(&mut spec_of);
            (wanted, spec_of.events)
        });
        self.states = states;
        let got = theirs(&mut self.theirs);
        ensure!(
            got == theirs_wanted.0,
            "OpenSSL says {got:?}, and should {:?}",
            theirs_wanted.0
        );
        let got = ours(&self.endpoint(), &self.ours);
        ensure!(
            got == ours_wanted.0,
            "ours says {got:?}, and should {:?}",
            ours_wanted.0
        );
        self.compare([theirs_wanted.1, ours_wanted.1])
    }

    /// Takes a session by its endpoint.
    pub(crate) fn take(&mut self, id: usize, met: &Met) -> Result<(), Wrong> {
        let serials = self
            .states
            .each_ref()
            .map(|state| state.inside.get(&id).map(|k| k.serial));
        let like = like(self.version, self.role, id);
        self.both(
            met,
            |spec| spec.take(id).map(|kept| kept.serial),
            |theirs| {
                let removed = theirs.remove(&like);
                serials[0].filter(|_| removed)
            },
            |endpoint, _| endpoint.take_with(&key(id), |&serial| serial).hit(),
        )
    }

    pub(crate) fn remove(&mut self, id: usize, met: &Met) -> Result<(), Wrong> {
        let like = like(self.version, self.role, id);
        self.both(
            met,
            |spec| spec.remove(id),
            |theirs| theirs.remove(&like),
            |_, ours| ours.remove(&key(id)),
        )
    }

    pub(crate) fn flush(&mut self, met: &Met) -> Result<(), Wrong> {
        let (start, before) = (self.start, self.theirs.number());
        self.both(
            met,
            |spec| spec.flush(),
            |theirs| {
                theirs.flush(start);
                before - theirs.number()
            },
            |_, ours| ours.flush().removed,
        )
    }

    /// A session that another host has made, of which a client knows, or which lies outside of a server.
    pub(crate) fn learn(&mut self, id: usize, made: &Session, kept: Kept) {
        self.objects.insert(id, made.duplicate());
        if self.setup.outside {
            for state in &mut self.states {
                state.outside.insert(id, kept);
            }
            self.desk.lock().unwrap().outside.insert(id, kept);
            self.stamp_all();
        }
    }

    /// Another session of that id that a client may offer.
    pub(crate) fn offered(&self, id: usize) -> Option<Session> {
        self.objects.get(&id).map(Session::duplicate)
    }

    /// Where OpenSSL would begin the time of what it fetches anew, expired or not, what is outside has to have an end.
    pub(crate) fn withdraw_expired(&mut self) {
        if self.setup.store && self.setup.update_time {
            let outside = self.states[0].outside.iter();
            let expired: Vec<_> = outside
                .filter(|(_, k)| k.deadline < self.now)
                .map(|(&id, _)| id)
                .collect();
            expired.into_iter().for_each(|id| self.withdraw(id));
        }
    }

    /// What is outside is there no more.
    pub(crate) fn withdraw(&mut self, id: usize) {
        for state in &mut self.states {
            state.outside.remove(&id);
        }
        self.desk.lock().unwrap().outside.remove(&id);
        self.stamp_all();
    }

    /// Both have to be as the specification says. Then OpenSSL's gets what ours has, where an intended difference has
    /// left another.
    fn compare(&mut self, wanted: [Events; 2]) -> Result<(), Wrong> {
        let [theirs_wanted, ours_wanted] = wanted;
        self.compare_theirs(theirs_wanted)?;
        self.compare_ours(ours_wanted)?;
        let [theirs, ours] = &mut self.states;
        let same = theirs.inside.keys().eq(ours.inside.keys());
        theirs.inside.clone_from(&ours.inside);
        theirs.outside.clone_from(&ours.outside);
        if !same {
            self.theirs.flush(0);
            let inside: Vec<_> = self.states[0]
                .inside
                .iter()
                .map(|(&id, &kept)| self.object(id, kept))
                .collect();
            for object in &inside {
                // SAFETY: it is new, and in no cache.
                let added = unsafe { self.theirs.add(object) };
                ensure!(added, "OpenSSL did not take a session again");
            }
            drop(calls(self.role));
        }
        self.stamp_all();
        Ok(())
    }

    fn compare_theirs(&self, wanted: Events) -> Result<(), Wrong> {
        let got = calls(self.role);
        let sorted = |mut ids: Vec<usize>| {
            ids.sort_unstable();
            ids
        };
        let gone = wanted.gone.iter().map(|(id, _)| *id).collect();
        let events = (got.new, got.fetched, sorted(got.gone));
        let wanted = (wanted.new, wanted.fetched, sorted(gone));
        ensure!(
            events == wanted,
            "OpenSSL called (new, get, remove) {events:?}, and should {wanted:?}"
        );
        let mut inside: Vec<_> = self
            .theirs
            .sessions()
            .iter()
            .map(|s| handshake::id_of(s.view().id()))
            .collect();
        inside.sort_unstable();
        let wanted: Vec<_> = self.states[0].inside.keys().copied().collect();
        ensure!(
            inside == wanted,
            "inside are {inside:?} in OpenSSL, and should {wanted:?}"
        );
        let of = |what: c_int| self.theirs.control(what) as u64;
        let at = usize::from(self.role == Role::Server);
        let [hits, cb_hits, misses, timeouts] = LOOKUPS.map(of);
        let counts = Counts {
            begun: of(BEGUN[at]),
            good: of(GOOD[at]),
            hits,
            cb_hits,
            misses,
            timeouts,
            cache_full: of(SSL_CTRL_SESS_CACHE_FULL),
            ..Counts::default()
        };
        let wanted = self.states[0].counts;
        ensure!(
            counts == wanted,
            "OpenSSL counts {counts:?}, and should {wanted:?}"
        );
        ensure!(
            of(SSL_CTRL_SESS_NUMBER) == inside.len() as u64 && of(RENEGOTIATED[at]) == 0,
            "OpenSSL counts wrong"
        );
        Ok(())
    }

    fn compare_ours(&self, mut wanted: Events) -> Result<(), Wrong> {
        let mut desk = self.desk.lock().unwrap();
        let mut got = std::mem::take(&mut desk.events);
        for events in [&mut wanted, &mut got] {
            events.gone.sort_unstable_by_key(|(id, _)| *id);
            events.told.sort_unstable();
        }
        ensure!(got == wanted, "ours called {got:?}, and should {wanted:?}");
        let outside = &self.states[1].outside;
        ensure!(
            desk.outside == *outside,
            "outside of ours are {:?}, and should be {outside:?}",
            desk.outside
        );
        drop(desk);
        let mut inside = BTreeMap::new();
        let guard = self.ours.pin();
        for session in self.ours.iter(&guard) {
            let deadline = (session.deadline().as_nanos() / 1_000_000_000) as i64;
            inside.insert(id_of(session.key()), (deadline, *session.value()));
        }
        let wanted = &self.states[1].inside;
        let wanted: BTreeMap<_, _> = wanted
            .iter()
            .map(|(&id, k)| (id, (k.deadline, k.serial)))
            .collect();
        ensure!(
            inside == wanted,
            "inside ours are {inside:?}, and should be {wanted:?}"
        );
        let counters = self.ours.counters();
        let (begun, good) = match self.role {
            Role::Server => (counters.accept, counters.accept_good),
            Role::Client => (counters.connect, counters.connect_good),
        };
        let counts = Counts {
            begun,
            good,
            hits: counters.hits,
            cb_hits: counters.cb_hits,
            misses: counters.misses,
            timeouts: counters.timeouts,
            cache_full: counters.cache_full,
            declined: counters.declined,
            unclaimed: counters.unclaimed,
        };
        let wanted = self.states[1].counts;
        ensure!(
            counts == wanted,
            "ours counts {counts:?}, and should {wanted:?}"
        );
        let number = inside.len() as u64;
        ensure!(
            counters.number == number && counters.refused + counters.pending + counters.panics == 0,
            "{number} are inside ours, and it counts {counters:?}"
        );
        Ok(())
    }
}

/// The same for `SSL_CTX_set_session_cache_mode(3)`. Each end flushes only when it is told to.
fn bits(setup: &Setup) -> c_long {
    let mode = match setup.mode {
        Mode::Client => openssl_sys::SSL_SESS_CACHE_CLIENT,
        Mode::Server => openssl_sys::SSL_SESS_CACHE_SERVER,
        Mode::Both => openssl_sys::SSL_SESS_CACHE_BOTH,
        _ => openssl_sys::SSL_SESS_CACHE_OFF,
    };
    let switches = [
        (
            !setup.lookup,
            openssl_sys::SSL_SESS_CACHE_NO_INTERNAL_LOOKUP,
        ),
        (!setup.store, openssl_sys::SSL_SESS_CACHE_NO_INTERNAL_STORE),
        (setup.update_time, SSL_SESS_CACHE_UPDATE_TIME),
    ];
    let set = switches.iter().filter(|(set, _)| *set).map(|(_, bit)| bit);
    set.fold(
        mode | openssl_sys::SSL_SESS_CACHE_NO_AUTO_CLEAR,
        |all, bit| all | bit,
    )
}
