//! What the hosts of a fleet agree on: names of contexts, and keys.

use std::time::Duration;

use sessionwheel::Context;

use crate::contexts::ShareError;
use crate::keys::KeyIdTaken;
use crate::tier::RedisTier;

impl<V: Send + Sync + 'static> RedisTier<V> {
    /// Shares the sessions of `context` with those of all hosts that give their context the same name.
    ///
    /// The sessions of a context without a name stay on this host; [`Context::DEFAULT`] has the empty
    /// name from the start. Give a name to contexts of configurations that verify clients alike only:
    /// a session resumes wherever the name is known.
    ///
    /// **Share a context before its first session is established.** What was established before that is not outside. Here it
    /// resumes, unless it is for a single use: Redis has nothing to give then, so it is a miss.
    ///
    /// # Errors
    ///
    /// [`ShareError`] if the name is too long, or another context's, or the context has, or had, another.
    pub fn share(&self, context: Context, name: impl AsRef<[u8]>) -> Result<(), ShareError> {
        self.core().contexts.share(context, name.as_ref())
    }

    /// Shares no more sessions of `context`, and leaves its name to another: for a configuration that was loaded anew and
    /// has a context of its own. False if it was not shared.
    ///
    /// From then on its sessions stay on this host, and those of others are not found in it; whoever has the name finds what was
    /// shared before. That is still claimed and removed in Redis, so that what is for a single use is used once.
    ///
    /// ```
    /// # use sessionwheel::SessionCache;
    /// # use sessionwheel_redis::{Codec, Keyring, RedisTier};
    /// # let codec = Codec::new(*b"text", |_: &String, _: &mut Vec<u8>| (), |_: &[u8]| None);
    /// # let keys = Keyring::new(1, [0x5A; 32]);
    /// # let tier = RedisTier::builder("redis://127.0.0.1:6379/", keys, codec)?.build()?;
    /// # let cache = SessionCache::builder().external(tier.clone()).build()?;
    /// let before = cache.context()?;
    /// tier.share(before, "www.example.com")?;
    ///
    /// // The configuration is loaded anew. In this order, and before there are handshakes with the new one:
    /// let now = cache.context()?;
    /// assert!(tier.unshare(before));
    /// tier.share(now, "www.example.com")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unshare(&self, context: Context) -> bool {
        self.core().contexts.unshare(context)
    }

    /// Opens from now on what `key` has sealed, too.
    ///
    /// # Errors
    ///
    /// [`KeyIdTaken`] if there is one of this number.
    pub fn accept(&self, id: u32, key: [u8; 32]) -> Result<(), KeyIdTaken> {
        self.core().keys.accept(id, &key)
    }

    /// Seals from now on with the key `id`, which was accepted before; the one that sealed so far still opens for
    /// `grace`. False, and nothing has changed, if there is no such key.
    ///
    /// Nothing is lost if `id` was accepted on all hosts before the first one rotates, and the grace is as long as a session
    /// lives **and the rotation takes from the first host to the last**: until then the others seal with the old key. With no grace
    /// at all, no other key opens anything from now on, whenever it was accepted.
    pub fn rotate(&self, id: u32, grace: Duration) -> bool {
        self.core().keys.rotate(id, grace)
    }

    /// Opens nothing any more that the key `id` has sealed, and wipes it. False, and nothing has changed, if there is no such
    /// key, or it is the one that seals.
    ///
    /// What was accepted, or was [in the ring](crate::Keyring::and) from the start, opens until then, or for the grace with which it
    /// is rotated away from.
    pub fn forget(&self, id: u32) -> bool {
        self.core().keys.forget(id)
    }
}
