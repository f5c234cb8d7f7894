//! Where the two caches differ on purpose: the one table of it. What is not in here has to be equal.

use std::cell::Cell;
use std::fmt;

/// Makes the enumeration, lists of it, and what is said of each: its row in `docs/openssl.md`, and the reason.
macro_rules! differences {
    ($($(#[$doc:meta])* $list:ident {
        $($name:ident, $row:literal: $reason:literal,)*
    })*) => {
        /// An intended difference. Its reason is what its documentation says.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Difference {
            $($(#[doc = $reason] $name,)*)*
        }

        impl Difference {
            /// The whole table.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            $($(#[$doc])* pub const $list: &[Self] = &[$(Self::$name,)*];)*

            /// Why it is so.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self {
                    $($(Self::$name => $reason,)*)*
                }
            }

            /// The first cell of its row in `docs/openssl.md`.
            #[must_use]
            pub fn row(self) -> &'static str {
                match self {
                    $($(Self::$name => $row,)*)*
                }
            }
        }
    };
}

differences! {
    /// Those of the operations on a cache.
    CACHE {
        // Room.
        OneLess, "size": "a size of N >= 2 holds N - 1 in OpenSSL (3.0.6 and later); here it holds N, and is set to N - 1",
        NegativeSize, "negative size": "a negative size is refused by OpenSSL with a 0, and here with an error",
        SurplusAtFlush, "a lowered size": "a lowered maximum is paid for by the next insert or flush; in OpenSSL by the next add that stores",
        SurplusAtSecondAdd, "a lowered size": "adding a session that is there inserts it again, so it pays too; OpenSSL does nothing",
        SurplusNotCounted, "count of a flush": "a flush that pays for a lowered maximum first does not count what that took, expired or not",
        ReplacedAsSurplus, "a lowered size": "a lowered maximum is paid for before the insert, which may take the session about to be replaced",
        EvictedExpired, "what counts as overflow": "who makes room after its time is reported as Expired; OpenSSL counts it in sess_cache_full",
        Tie, "who makes room": "of sessions that expire in the same second either may have to leave; OpenSSL takes the oldest",
        // Who is told.
        ReplacementReported, "another session of that id": "a replaced session is reported as Replaced; OpenSSL calls nobody",
        ReplacedExpired, "another session of that id": "the same after its time: reported as Expired",
        SecondAdd, "adding a session that is there": "adding a session that is there replaces it by itself; OpenSSL returns 0 and does nothing",
        AbsentReported, "removal callback": "removing what is not there calls nobody; OpenSSL calls with the argument",
        RemovedByKey, "removal by an object": "a removal reports the session that was cached; OpenSSL the argument, another object of that id",
        CallbackOrder, "order of callbacks in a flush": "a flush reports in no order; OpenSSL by expiry, earliest first (from 3.6.4 and 4.0.2 on latest first)",
        DropReportsNobody, "dropping the cache": "what is there when a cache is dropped is not reported; OpenSSL flushes it, with callbacks",
        // Resumable, the mark in OpenSSL's objects: here who has left is gone, and has no mark.
        StaysResumable, "mark \"not resumable\"": "OpenSSL leaves a replaced session resumable, and one removed by means of another object",
        MarkedIsCached, "mark \"not resumable\"": "OpenSSL takes in sessions marked not resumable; here a session that is inserted can be resumed",
        // Time.
        NegativeTime, "flush with a negative time": "a negative time flushes nothing, as in OpenSSL up to 3.1; from 3.2 on most flush all",
        NegativeTimeout, "negative timeout of a session": "a negative timeout is refused by OpenSSL; a Duration is never negative",
        FarIsNever, "very long timeouts": "what expires 584 years after 1970, or later, never does; OpenSSL 3.0 and 3.1 tell such times apart",
        AddOfExpired, "adding what has expired": "a session is inserted with a timeout from now on; for one that is past its time the clock is set back",
        RetimeOfExpired, "re-timing": "an expired session is not re-timed; for this test the clock is set back",
        RetimeIntoPast, "re-timing": "a session is re-timed from now on, not into the past; for this test the clock is set back",
        TakeOfExpired, "taking a session": "take leaves an expired session for the next flush; SSL_CTX_remove_session removes it",
        LookupOfExpired, "`SSL_has_matching_session_id`": "an expired session is a miss; SSL_has_matching_session_id does not look at the time",
    }
    /// Those of handshakes.
    HANDSHAKES {
        // Lookups.
        OffLooksUp, "mode off": "with a mode that is not for this end nothing is looked up; OpenSSL goes on looking up",
        ExpiredStays, "an expired session at lookup": "an expired session stays for the next flush; OpenSSL removes it, and says so",
        ExpiredOutside, "a fetched session that has expired": "a tier does not hand over what has expired; OpenSSL counts it as fetched and as timed out",
        UseRenews, "`UPDATE_TIME`": "a use renews, if the cache is told so; in OpenSSL an add does",
        FetchRenews, "`UPDATE_TIME`": "what is fetched keeps its deadline; OpenSSL adds it, which starts its time anew",
        ClientLooksUp, "clients": "the endpoint of a client looks inside and counts that; OpenSSL's clients count what their servers do",
        // New sessions.
        DeclinedIsNowhere, "new-session callback": "what the new-session callback declines is nowhere; in OpenSSL it is inside",
        // Single use.
        TakeIsCounted, "taking a session": "a take is a lookup, and counted; OpenSSL's is a removal",
        TakeGoesOutside, "taking a session": "a take goes on outside; OpenSSL's ends inside",
    }
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
        let met = Difference::ALL.iter().filter(|&&d| self.times(d) != 0);
        for &difference in met {
            let (name, times) = (format!("{difference:?}"), self.times(difference));
            writeln!(f, "  {times:>9} × {name:<19} {}", difference.reason())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_documentation() {
        let page = include_str!("../../../docs/openssl.md");
        let first_cells: Vec<_> = page
            .lines()
            .filter_map(|l| l.strip_prefix("| ")?.split(" | ").next())
            .collect();
        assert!(first_cells.len() > 50, "{first_cells:?}");
        let missing: Vec<_> = Difference::ALL
            .iter()
            .filter(|d| !first_cells.contains(&d.row()))
            .collect();
        assert!(missing.is_empty(), "no rows for {missing:?}");
        println!(
            "openssl: {} intended differences, each in docs/openssl.md",
            Difference::ALL.len()
        );
    }
}
