//! Names for contexts: what two hosts call the same.
//!
//! # Ground rules
//!
//! - A name is shared by one context at a time, and a context never has another one: what lies outside of it lies under that.
//! - A context that is not shared any more keeps its name for what was: claims and removals go there as before, or two
//!   hosts would use what one may.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sessionwheel::Context;

/// Why a context was not given a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ShareError {
    /// The name has more than 255 bytes.
    TooLong,
    /// Another context has this name: [`unshare`](crate::RedisTier::unshare) that one first.
    Taken,
    /// The context has another name, or had it.
    Named,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a context's name has at most 255 bytes",
            Self::Taken => "another context has this name",
            Self::Named => "the context has another name already",
        })
    }
}

impl Error for ShareError {}

/// What a context is called, or was.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) name: Arc<[u8]>,
    /// Else only what was shared before still has to do with other hosts.
    pub(crate) is_shared: bool,
}

/// The contexts that are shared, or were.
pub(crate) struct Contexts(RwLock<HashMap<Context, Named>>);

impl Contexts {
    pub(crate) fn new() -> Self {
        let default = Named {
            name: Arc::default(),
            is_shared: true,
        };
        Self(RwLock::new(HashMap::from([(Context::DEFAULT, default)])))
    }

    pub(crate) fn name(&self, context: Context) -> Option<Named> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&context).cloned()
    }

    pub(crate) fn share(&self, context: Context, name: &[u8]) -> Result<(), ShareError> {
        if name.len() > 255 {
            return Err(ShareError::TooLong);
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut others = names.iter().filter(|(other, _)| **other != context);
        if others.any(|(_, other)| other.is_shared && *other.name == *name) {
            return Err(ShareError::Taken);
        }
        let named = names.entry(context).or_insert_with(|| Named {
            name: name.into(),
            is_shared: true,
        });
        if *named.name != *name {
            return Err(ShareError::Named);
        }
        named.is_shared = true;
        Ok(())
    }

    /// Whether it was shared.
    pub(crate) fn unshare(&self, context: Context) -> bool {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let named = names.get_mut(&context);
        named.is_some_and(|named| std::mem::replace(&mut named.is_shared, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessionwheel::SessionCache;

    #[test]
    fn a_name_is_for_one_context_and_a_context_has_one_name() {
        let cache = SessionCache::<()>::builder().build().unwrap();
        let (a, b) = (cache.context().unwrap(), cache.context().unwrap());
        let contexts = Contexts::new();
        let name = |context| {
            let named = contexts.name(context)?;
            Some((named.name.to_vec(), named.is_shared))
        };
        assert_eq!(name(Context::DEFAULT), Some((vec![], true)));
        assert_eq!(name(a), None);
        assert_eq!(contexts.share(a, b"api"), Ok(()));
        assert_eq!(contexts.share(a, b"api"), Ok(()));
        assert_eq!(contexts.share(b, b"api"), Err(ShareError::Taken));
        assert_eq!(contexts.share(b, b""), Err(ShareError::Taken));
        assert_eq!(contexts.share(a, b"other"), Err(ShareError::Named));
        assert_eq!(contexts.share(b, &[0; 256]), Err(ShareError::TooLong));
        assert_eq!(contexts.share(b, &[0; 255]), Ok(()));
        assert_eq!(name(a), Some((b"api".to_vec(), true)));

        // The next one, after a while.
        let c = cache.context().unwrap();
        assert!(!contexts.unshare(c));
        assert!(contexts.unshare(a) && !contexts.unshare(a));
        assert_eq!(name(a), Some((b"api".to_vec(), false)));
        assert_eq!(contexts.share(a, b"other"), Err(ShareError::Named));
        assert_eq!(contexts.share(c, b"api"), Ok(()));
        assert_eq!(contexts.share(a, b"api"), Err(ShareError::Taken));
        // And back again.
        assert!(contexts.unshare(c));
        assert_eq!(contexts.share(a, b"api"), Ok(()));
        assert_eq!(name(a), Some((b"api".to_vec(), true)));
    }
}
