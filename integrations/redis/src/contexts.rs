//! Names for contexts: what two hosts call the same.

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
    /// Another context has this name.
    Taken,
    /// The context has another name.
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

/// The contexts that are shared, by name.
pub(crate) struct Contexts(RwLock<HashMap<Context, Arc<[u8]>>>);

impl Contexts {
    pub(crate) fn new() -> Self {
        let default = (Context::DEFAULT, Arc::default());
        Self(RwLock::new(HashMap::from([default])))
    }

    pub(crate) fn name(&self, context: Context) -> Option<Arc<[u8]>> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&context).cloned()
    }

    pub(crate) fn share(&self, context: Context, name: &[u8]) -> Result<(), ShareError> {
        if name.len() > 255 {
            return Err(ShareError::TooLong);
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let taken = names.iter().find(|(_, taken)| &***taken == name);
        match (taken, names.get(&context)) {
            (Some((other, _)), _) if *other == context => Ok(()),
            (Some(_), _) => Err(ShareError::Taken),
            (None, Some(_)) => Err(ShareError::Named),
            (None, None) => {
                names.insert(context, name.into());
                Ok(())
            }
        }
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
        assert_eq!(contexts.name(Context::DEFAULT).as_deref(), Some(&b""[..]));
        assert_eq!(contexts.name(a), None);
        assert_eq!(contexts.share(a, b"api"), Ok(()));
        assert_eq!(contexts.share(a, b"api"), Ok(()));
        assert_eq!(contexts.share(b, b"api"), Err(ShareError::Taken));
        assert_eq!(contexts.share(b, b""), Err(ShareError::Taken));
        assert_eq!(contexts.share(a, b"other"), Err(ShareError::Named));
        assert_eq!(contexts.share(b, &[0; 256]), Err(ShareError::TooLong));
        assert_eq!(contexts.share(b, &[0; 255]), Ok(()));
        assert_eq!(contexts.name(a).as_deref(), Some(&b"api"[..]));
    }
}
