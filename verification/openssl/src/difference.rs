//! Where the two caches differ on purpose: the one table of it. What is not in here has to be equal.

use std::cell::Cell;
use std::fmt;

/// Makes the enumeration, the list of all, and their reasons.
macro_rules! differences {
    ($($name:ident: $reason:literal,)*) => {
        /// An intended difference. Its reason is what its documentation says.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Difference {
            $(#[doc = $reason] $name,)*
        }

        impl Difference {
            /// The whole table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Why it is so.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)*
                }
            }
        }
    };
}

differences! {
    // Room.
    OneLess: "a size of N >= 2 holds N - 1 in OpenSSL (3.0.6 and later); here a maximum of N holds N, and is set to N - 1",
    ZeroIsUnlimited: "a size of 0 is no limit in OpenSSL; here None is, and Some(0) keeps nothing",
    NegativeSize: "a negative size is refused by OpenSSL; here the type has none",
    SurplusAtFlush: "a lowered maximum is paid for by the next insert or flush; in OpenSSL by the next add that stores",
    SurplusAtSecondAdd: "adding a session that is there inserts it again, so it pays too; OpenSSL does nothing",
    SurplusNotCounted: "a flush that pays for a lowered maximum first does not count what that took, expired or not",
    ReplacedAsSurplus: "a lowered maximum is paid for before the insert, which may take the session about to be replaced",
    EvictedExpired: "who makes room after its time is reported as Expired; OpenSSL counts it in sess_cache_full",
    Tie: "of sessions that expire in the same second either may have to leave; OpenSSL takes the oldest",
    // Who is told.
    ReplacementReported: "a replaced session is reported as Replaced; OpenSSL calls nobody",
    ReplacedExpired: "the same after its time: reported as Expired",
    SecondAdd: "adding a session that is there replaces it by itself; OpenSSL returns 0 and does nothing",
    AbsentReported: "removing what is not there calls nobody; OpenSSL calls with the argument",
    RemovedByKey: "a removal reports the session that was cached; OpenSSL the argument, another object of that id",
    CallbackOrder: "a flush reports in no order; OpenSSL by expiry, earliest first (from 3.6.4 and 4.0.2 on latest first)",
    DropReportsNobody: "what is there when a cache is dropped is not reported; OpenSSL flushes it, with callbacks",
    // Resumable, the mark in OpenSSL's objects: here who has left is gone, and has no mark.
    StaysResumable: "OpenSSL leaves a replaced session resumable, and one removed by means of another object",
    MarkedIsCached: "OpenSSL takes in sessions marked not resumable; here a session that is inserted can be resumed",
    // Time.
    NegativeTime: "a negative time flushes nothing, as in OpenSSL up to 3.1; from 3.2 on most flush all",
    NegativeTimeout: "a negative timeout is refused by OpenSSL; a Duration is never negative",
    FarIsNever: "what expires 584 years after 1970, or later, never does; OpenSSL 3.0 and 3.1 tell such times apart",
    AddOfExpired: "a session is inserted with a timeout from now on; for one that is past its time the clock is set back",
    RetimeOfExpired: "an expired session is not re-timed; for this test the clock is set back",
    RetimeIntoPast: "a session is re-timed from now on, not into the past; for this test the clock is set back",
    TakeOfExpired: "take leaves an expired session for the next flush; SSL_CTX_remove_session removes it",
    LookupOfExpired: "an expired session is a miss; SSL_has_matching_session_id does not look at the time",
}

/// How often each was met.
#[derive(Debug)]
pub struct Met(Vec<Cell<u64>>);

impl Default for Met {
    fn default() -> Self {
        Self(Difference::ALL.iter().map(|_| Cell::new(0)).collect())
    }
}

impl Met {
    /// Once more.
    pub fn add(&self, difference: Difference) {
        let cell = &self.0[difference as usize];
        cell.set(cell.get() + 1);
    }

    /// So often so far.
    #[must_use]
    pub fn times(&self, difference: Difference) -> u64 {
        self.0[difference as usize].get()
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &difference in Difference::ALL {
            let (name, times) = (format!("{difference:?}"), self.times(difference));
            writeln!(f, "  {times:>9} × {name:<19} {}", difference.reason())?;
        }
        Ok(())
    }
}
