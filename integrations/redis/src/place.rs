//! An address: where, who logs in, and whether by TLS.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::builder::TierError;
use crate::redirect::Address;

#[cfg(feature = "tls")]
pub(crate) type TlsConfig = std::sync::Arc<rustls::ClientConfig>;
/// There is none.
#[cfg(not(feature = "tls"))]
pub(crate) type TlsConfig = std::convert::Infallible;

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) info: ConnectionInfo,
    /// Nothing goes there in the clear: there has to be a configuration.
    pub(crate) secure: bool,
    pub(crate) tls: Option<TlsConfig>,
}

impl Place {
    /// `redis[s]://[[user]:password@]host[:port][/db]` or `unix:///path[?db=…&user=…&pass=…]`.
    pub(crate) fn parse(address: &str) -> Result<Self, TierError> {
        let plain = address
            .strip_prefix("rediss://")
            .or_else(|| address.strip_prefix("valkeys://"));
        let secure = plain.is_some();
        if secure && cfg!(not(feature = "tls")) {
            return Err(TierError::Address(
                "TLS is spoken with the feature `tls` of this crate only".into(),
            ));
        }
        let address = plain.map_or(address.to_owned(), |plain| format!("redis://{plain}"));
        let info = address.into_connection_info().map_err(|_| {
            // The error may quote the password.
            let of_no_use = "neither redis://host:port nor unix:///path";
            TierError::Address(of_no_use.into())
        })?;
        Ok(Self {
            info,
            secure,
            tls: None,
        })
    }

    /// Another address that takes the same login.
    pub(crate) fn at(&self, address: &Address) -> Self {
        let address = ConnectionAddr::Tcp(address.host.clone(), address.port);
        Self {
            info: self.info.clone().set_addr(address),
            ..self.clone()
        }
    }

    /// `None` for a unix socket.
    pub(crate) fn address(&self) -> Option<Address> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => Some(Address {
                host: host.clone(),
                port: *port,
            }),
            _ => None,
        }
    }

    /// How to speak TLS there, if it is to be spoken.
    pub(crate) fn set_tls(&mut self, config: Option<&TlsConfig>) -> Result<(), TierError> {
        if self.secure {
            self.tls = config.cloned();
        }
        if self.secure && self.tls.is_none() {
            let why = "rediss:// needs a configuration of TLS";
            return Err(TierError::Address(why.into()));
        }
        Ok(())
    }
}
