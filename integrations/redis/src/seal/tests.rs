use proptest::prelude::*;
use sessionwheel::{Context, SessionId};

use super::*;
use crate::keys::Keyring;

fn codec() -> Codec<Vec<u8>> {
    Codec::new(
        *b"test",
        |value: &Vec<u8>, bytes| bytes.extend_from_slice(value),
        |bytes| Some(bytes.to_vec()),
    )
}

fn keys(id: u32, key: u8) -> Keys {
    Keys::new(Keyring::new(id, [key; 32]))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const NOW: u64 = 1_800_000_000;

#[derive(Clone, Debug)]
struct Case {
    id: Vec<u8>,
    context: Vec<u8>,
    value: Vec<u8>,
    remaining: u64,
    authenticated_for: u64,
    flags: (bool, bool, bool),
}

impl Case {
    fn key(&self) -> SessionKey {
        SessionKey::new(Context::DEFAULT, SessionId::new(&self.id).unwrap())
    }

    fn session(&self) -> TierSession<&Vec<u8>> {
        let remaining = Duration::from_millis(self.remaining);
        let mut session = TierSession::new(self.key(), &self.value, remaining);
        session.authenticated_for = Duration::from_millis(self.authenticated_for);
        (session.single_use, session.probation, session.tls13) = self.flags;
        session
    }

    fn sealed(&self, keys: &Keys) -> Vec<u8> {
        let whom = For {
            context: &self.context,
            key: &self.key(),
        };
        seal(keys, &codec(), whom, &self.session(), at(NOW)).unwrap()
    }

    fn open(&self, keys: &Keys, sealed: &[u8]) -> Result<TierSession<Vec<u8>>, NotOpened> {
        let whom = For {
            context: &self.context,
            key: &self.key(),
        };
        open(keys, &codec(), whom, sealed, at(NOW), 0)
    }
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(any::<u8>(), 0..=32),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 0..300),
        0..u64::MAX / 2,
        0..u64::MAX / 2,
        any::<(bool, bool, bool)>(),
    )
        .prop_map(
            |(id, context, value, remaining, authenticated_for, flags)| Case {
                id,
                context,
                value,
                remaining,
                authenticated_for,
                flags,
            },
        )
}

/// Of libsodium (`crypto_aead_xchacha20poly1305_ietf_encrypt`), with the same key, nonce, associated data and plaintext.
const SEALED_BY_ANOTHER: &str = "027465737400000007\
    000102030405060708090a0b0c0d0e0f1011121314151617\
    ad17ab84590407f525c78147e6e2ab3fbfd6381714f737627b7c97f2ffbfe7fe6c50\
    9c063854d7cd8b794b70d4060a0ad886";

#[test]
fn what_another_implementation_has_sealed_opens() {
    let case = Case {
        id: b"an id".to_vec(),
        context: b"site".to_vec(),
        value: b"a session".to_vec(),
        remaining: 300_000,
        authenticated_for: 5_000,
        flags: (true, false, true),
    };
    let byte = |at| u8::from_str_radix(&SEALED_BY_ANOTHER[at..at + 2], 16).unwrap();
    let sealed: Vec<u8> = (0..SEALED_BY_ANOTHER.len()).step_by(2).map(byte).collect();
    let opened = case.open(&keys(7, 7), &sealed);
    assert_eq!(opened, Ok(case.session().map(|value| value.clone())));
}

proptest! {
    #[test]
    fn what_was_sealed_opens_as_it_was(case in case()) {
        let keys = keys(1, 1);
        let sealed = case.sealed(&keys);
        prop_assert_eq!(sealed.len(), HEADER + NONCE + FIXED + case.value.len() + TAG);
        let opened = case.open(&keys, &sealed).unwrap();
        let expected = case.session();
        // A value as a slice of the sealed bytes would be a session in the clear.
        if case.value.len() >= 8 {
            prop_assert!(!sealed.windows(case.value.len()).any(|part| part == case.value));
        }
        prop_assert_eq!(opened.map(|value| value == case.value), expected.map(|_| true));
    }

    #[test]
    fn no_part_of_it_opens(case in case(), cut in any::<prop::sample::Index>()) {
        let keys = keys(1, 1);
        let sealed = case.sealed(&keys);
        let cut = cut.index(sealed.len());
        prop_assert_eq!(case.open(&keys, &sealed[..cut]), Err(NotOpened::Foreign));
        prop_assert_eq!(case.open(&keys, &sealed[sealed.len() - cut..]), Err(NotOpened::Foreign));
        let longer = [&sealed[..], &[0]].concat();
        prop_assert_eq!(case.open(&keys, &longer), Err(NotOpened::Foreign));
    }

    #[test]
    fn with_one_bit_flipped_it_does_not_open(case in case(), bit in any::<prop::sample::Index>()) {
        let keys = keys(1, 1);
        let mut sealed = case.sealed(&keys);
        let bit = bit.index(8 * sealed.len());
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(case.open(&keys, &sealed), Err(NotOpened::Foreign));
    }

    #[test]
    fn it_opens_for_no_other(case in case(), id in prop::collection::vec(any::<u8>(), 0..=32),
        context in prop::collection::vec(any::<u8>(), 0..20), moved in 0..40_usize)
    {
        let right = keys(1, 1);
        let sealed = case.sealed(&right);
        let mut others = vec![
            Case { id, ..case.clone() },
            Case { context, ..case.clone() },
        ];
        // The same bytes, divided otherwise into context and id.
        let joined = [&case.context[..], &case.id].concat();
        let (context, id) = joined.split_at(moved.min(joined.len()));
        if id.len() <= 32 {
            others.push(Case { context: context.to_vec(), id: id.to_vec(), ..case.clone() });
        }
        for other in others {
            if (&other.id, &other.context) != (&case.id, &case.context) {
                prop_assert_eq!(other.open(&right, &sealed), Err(NotOpened::Foreign));
            }
        }
        // Another key of the same number, and the same key by another number.
        prop_assert_eq!(case.open(&keys(1, 2), &sealed), Err(NotOpened::Foreign));
        prop_assert_eq!(case.open(&keys(2, 1), &sealed), Err(NotOpened::Foreign));
    }

    #[test]
    fn noise_does_not_open(case in case(), mut noise in prop::collection::vec(any::<u8>(), 0..200), like in any::<bool>()) {
        let keys = keys(1, 1);
        if like && noise.len() >= HEADER {
            noise[..HEADER].copy_from_slice(&case.sealed(&keys)[..HEADER]);
        }
        prop_assert_eq!(case.open(&keys, &noise), Err(NotOpened::Foreign));
    }
}

fn plain() -> Case {
    Case {
        id: vec![1; 32],
        context: b"tenant".to_vec(),
        value: b"secret".to_vec(),
        remaining: 10_000,
        authenticated_for: 500,
        flags: (true, false, true),
    }
}

fn opened_at(seconds: u64) -> Result<TierSession<Vec<u8>>, NotOpened> {
    let (keys, case) = (keys(1, 1), plain());
    let whom = For {
        context: &case.context,
        key: &case.key(),
    };
    open(&keys, &codec(), whom, &case.sealed(&keys), at(seconds), 0)
}

#[test]
fn it_ages_outside_and_expires_whatever_redis_says() {
    let older = opened_at(NOW + 4).unwrap();
    assert_eq!(older.remaining, Duration::from_secs(6));
    assert_eq!(older.authenticated_for, Duration::from_millis(4_500));
    assert_eq!(opened_at(NOW + 10).unwrap().remaining, Duration::ZERO);
    assert_eq!(opened_at(NOW + 11), Err(NotOpened::Expired));
}

#[test]
fn a_clock_behind_by_a_minute_is_forgiven_and_no_more() {
    let early = opened_at(NOW - 60).unwrap();
    assert_eq!(early.remaining, Duration::from_secs(10));
    assert_eq!(opened_at(NOW - 61), Err(NotOpened::Foreign));
}

#[test]
fn what_is_too_long_is_not_sealed() {
    let keys = keys(1, 1);
    let mut case = plain();
    case.value = vec![7; MAX_VALUE_LEN];
    let longest = case.sealed(&keys);
    assert_eq!(longest.len(), MAX_SEALED_LEN);
    assert_eq!(case.open(&keys, &longest).unwrap().value, case.value);
    case.value.push(7);
    let whom = For {
        context: &case.context,
        key: &case.key(),
    };
    let refused = seal(&keys, &codec(), whom, &case.session(), at(NOW));
    assert_eq!(refused, Err(NotSealed::Oversized));
}

#[test]
fn the_same_session_is_never_sealed_to_the_same_bytes() {
    let keys = keys(1, 1);
    assert_ne!(plain().sealed(&keys), plain().sealed(&keys));
}

#[test]
fn what_the_codec_refuses_is_foreign() {
    let (keys, case) = (keys(1, 1), plain());
    let sealed = case.sealed(&keys);
    let refusing = Codec::new(*b"test", |_: &(), _| (), |_| None);
    let whom = For {
        context: &case.context,
        key: &case.key(),
    };
    let refused = open(&keys, &refusing, whom, &sealed, at(NOW), 0);
    assert_eq!(refused, Err(NotOpened::Foreign));
}

#[test]
fn what_was_sealed_until_the_watermark_is_withheld() {
    let (keys, case) = (keys(1, 1), plain());
    let sealed = case.sealed(&keys);
    let whom = For {
        context: &case.context,
        key: &case.key(),
    };
    let mark = since_epoch(at(NOW));
    let opened = |watermark| open(&keys, &codec(), whom, &sealed, at(NOW), watermark);
    assert!(opened(mark - 1).is_ok());
    assert_eq!(opened(mark), Err(NotOpened::Withheld));
}
