//! What lies outside of our cache, and what that has called.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sessionwheel::{
    Claim, Context, ExternalTier, Fetched, Reason, SessionId, SessionKey, TierSession,
};

use crate::handshake::bytes;
use crate::spec::{Events, Kept, Sessions};

/// What a cache of ours has called, and what lies outside.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) events: Events,
    pub(crate) outside: Sessions,
    /// What the new-session callback says.
    pub(crate) keeps: bool,
    pub(crate) now: i64,
}

pub(crate) type Shared = Arc<Mutex<Desk>>;

pub(crate) fn id_of(key: &SessionKey) -> usize {
    key.id().as_bytes()[0].into()
}

pub(crate) fn key(id: usize) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from(bytes(id)))
}

/// What lies outside of ours.
pub(crate) struct Outside(pub(crate) Shared);

impl ExternalTier<u32> for Outside {
    fn store(&self, session: TierSession<&u32>) {
        let mut desk = self.0.lock().unwrap();
        let (id, timeout) = (id_of(&session.key), session.remaining.as_secs() as i64);
        let (deadline, serial) = (desk.now + timeout, *session.value);
        desk.events.stored.push(id);
        desk.outside.insert(
            id,
            Kept {
                deadline,
                timeout,
                serial,
            },
        );
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<u32> {
        let mut desk = self.0.lock().unwrap();
        desk.events.fetched.push(id_of(key));
        let found = desk.outside.get(&id_of(key)).copied();
        match found.filter(|kept| kept.deadline >= desk.now) {
            Some(kept) => {
                let remaining = Duration::from_secs((kept.deadline - desk.now) as u64);
                Fetched::Hit(TierSession::new(*key, kept.serial, remaining))
            }
            None => Fetched::Miss,
        }
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        let claimed = self.0.lock().unwrap().outside.remove(&id_of(key));
        claimed.is_some().into()
    }

    /// It may still be resumed on other hosts.
    fn remove(&self, key: &SessionKey, _: Reason) {
        self.0.lock().unwrap().events.told.push(id_of(key));
    }
}
