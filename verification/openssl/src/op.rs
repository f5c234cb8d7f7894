//! What is done to both caches, and to which sessions.

/// Ids are numbers below this, from 1 on.
pub const IDS: usize = 64;

/// The bytes of an id. Odd ones are 32 bytes long; even ones are zeroes, and differ in length only: in OpenSSL
/// all of these have one hash.
#[must_use]
pub fn bytes(id: usize) -> Vec<u8> {
    assert!(id < IDS);
    if id % 2 == 1 {
        vec![id as u8; 32]
    } else {
        vec![0; id / 2]
    }
}

/// The other way round.
#[must_use]
pub fn id_of(bytes: &[u8]) -> usize {
    match bytes {
        [first, ..] if bytes.len() == 32 => usize::from(*first),
        _ => bytes.len() * 2,
    }
}

/// How long a session lives.
#[derive(Clone, Copy, Debug)]
pub enum Timeout {
    /// So many seconds.
    Seconds(i64),
    /// Longer than nanoseconds in 64 bits can say.
    Far,
    /// The longest there is.
    Never,
    /// Of a kind that is refused.
    Negative,
}

/// Until when to flush.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// 0: everything.
    All,
    /// A time before 1970.
    Negative(i64),
    /// The last there is.
    Last,
    /// So many seconds after now, or before, but after 1970.
    Now(i64),
    /// So many seconds after the moment at which the first of all sessions expires, or one of those that follow.
    Expiry(usize, i64),
}

/// Which object to remove by.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The one that was made last with that id.
    Latest,
    /// The one before.
    Older,
    /// One made for the purpose.
    Key,
}

/// One operation. Objects of an id are the one made last, and the `older` one before it. Where there is no such
/// object, the id is looked up.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// The clock goes on.
    Advance(u32),
    /// A new object, made so many seconds after now, or before, is added: it may replace another.
    New(usize, i64, Timeout),
    /// An object that was made before is added: it may be there, or replace another.
    Add {
        /// Of this id.
        id: usize,
        /// Which of the two.
        older: bool,
    },
    /// A session is removed.
    Remove(usize, By),
    /// The same, for who wants to resume it.
    Take(usize),
    /// An object, cached or not, gets another time: so many seconds after now, or before.
    SetTime(usize, bool, i64),
    /// Likewise a timeout.
    SetTimeout(usize, bool, Timeout),
    /// Room for so many, as OpenSSL counts.
    SetSize(i64),
    /// A flush.
    Flush(When),
    /// A lookup.
    Lookup(usize),
}
