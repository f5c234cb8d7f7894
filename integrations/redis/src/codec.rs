//! Values into bytes and back.

use std::fmt;

type Encode<V> = Box<dyn Fn(&V, &mut Vec<u8>) + Send + Sync>;
type Decode<V> = Box<dyn Fn(&[u8]) -> Option<V> + Send + Sync>;

/// How the sessions of a stack become bytes, and come back.
///
/// The stack's name stands in front of every sealed session and is part of its key in Redis, so that what one
/// library, or one version of its format, has written is not shown to another: choose another
/// name whenever the bytes would be read otherwise.
///
/// ```
/// use sessionwheel_redis::Codec;
///
/// let codec = Codec::new(
///     *b"text",
///     |text: &String, bytes: &mut Vec<u8>| bytes.extend_from_slice(text.as_bytes()),
///     |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok(),
/// );
/// assert_eq!(codec.stack(), *b"text");
/// ```
pub struct Codec<V> {
    stack: [u8; 4],
    encode: Encode<V>,
    decode: Decode<V>,
}

impl<V> Codec<V> {
    /// For the stack of this name: `encode` appends a value's bytes, `decode` gives `None` for bytes that
    /// it can't use.
    ///
    /// Both are called on the threads of handshakes. What `decode` is given was sealed by a host that has
    /// the keys.
    pub fn new(
        stack: [u8; 4],
        encode: impl Fn(&V, &mut Vec<u8>) + Send + Sync + 'static,
        decode: impl Fn(&[u8]) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        Self {
            stack,
            encode: Box::new(encode),
            decode: Box::new(decode),
        }
    }

    /// The stack's name.
    #[must_use]
    pub fn stack(&self) -> [u8; 4] {
        self.stack
    }

    pub(crate) fn encode(&self, value: &V, bytes: &mut Vec<u8>) {
        (self.encode)(value, bytes);
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<V> {
        (self.decode)(bytes)
    }
}

impl<V> fmt::Debug for Codec<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("stack", &self.stack.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}
