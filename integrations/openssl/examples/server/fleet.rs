//! Servers that resume each other's sessions, by a Redis.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sessionwheel_openssl::{Session, Storage, TagKey};
use sessionwheel_redis::{Codec, Keyring, RedisTier};

/// Of the key that seals sessions, and of the one that tags their ids.
const LENS: (usize, usize) = (32, 16);

/// What lies in the Redis at `address`, and the key of the ids that all servers take for their own. Their secrets are the bytes
/// of the file: the same for all of them.
pub fn join(
    address: &str,
    secrets: &Path,
    deadline: Duration,
    storage: Storage,
) -> Result<(RedisTier<Session>, TagKey), Box<dyn Error>> {
    let secrets = fs::read(secrets)?;
    if secrets.len() != LENS.0 + LENS.1 {
        return Err(format!("a key file has {} bytes", LENS.0 + LENS.1).into());
    }
    let (seals, tags) = secrets.split_at(LENS.0);
    let codec = Codec::new(
        *b"ossl",
        |session: &Session, bytes: &mut Vec<u8>| {
            // Without memory there are none, and nothing that opens.
            if let Ok(encoded) = session.to_bytes() {
                bytes.extend_from_slice(&encoded);
            }
        },
        move |bytes: &[u8]| Session::from_bytes(bytes, storage).ok(),
    );
    let tier = RedisTier::builder(address, Keyring::new(1, seals.try_into()?), codec)?
        .deadline(deadline)
        .build()?;
    tier.check(Duration::from_secs(5))?;
    Ok((tier, TagKey::new(tags.try_into()?)))
}
