//! A real session, to be copied.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use sessionwheel::{SessionCache, SessionId};

use super::attached;
use super::server::{OpenSsl, context};
use crate::client::Client;
use crate::server::Server;
use crate::tls::{Identity, Version};

/// One session as the bytes that [`sessionwheel_openssl::Session`] makes.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Arc<[u8]>,
    /// Where its id is.
    id: usize,
    /// Where its DER begins.
    der: usize,
}

impl Template {
    /// Of a full handshake in TLS 1.2.
    pub(crate) fn make(identity: &Identity) -> Result<Self> {
        let cache = SessionCache::builder().build()?;
        let mut context = context(identity)?;
        attached(&mut context, &cache)?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(loopback, Arc::new(OpenSsl(context.build())), 1)?;
        let client = Client::new(identity, server.address(), 0..1)?;
        client.handshake(Version::Tls12, 0)?;
        server.stop();
        let guard = cache.pin();
        let session = cache.iter(&guard).next().context("no session")?;
        let bytes: Arc<[u8]> = session.value().to_bytes()?.as_ref().into();
        let name = session.value().server_name().unwrap_or_default().len();
        let id = session.key().id().as_bytes();
        let at = bytes.windows(id.len()).position(|bytes| bytes == id);
        Ok(Self {
            id: at.context("no id")?,
            // Behind the name, and what says how long that is.
            der: 2 + name,
            bytes,
        })
    }

    /// Under a random id.
    pub(super) fn copy(&self, random: &mut Rng) -> ([u8; SessionId::MAX_LEN], Vec<u8>) {
        let mut id = [0; SessionId::MAX_LEN];
        random.fill(&mut id);
        let mut bytes = self.bytes.to_vec();
        bytes[self.id..self.id + id.len()].copy_from_slice(&id);
        (id, bytes)
    }

    /// The same as DER alone.
    pub(super) fn copy_der(&self, random: &mut Rng) -> Vec<u8> {
        self.copy(random).1.split_off(self.der)
    }
}
