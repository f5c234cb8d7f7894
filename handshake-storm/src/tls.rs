//! Certificate, server configuration and client configurations.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::{ClientSessionStore, Resumption, Tls12Resumption};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

/// A protocol version that the storm speaks; used as an index as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn of(negotiated: ProtocolVersion) -> Option<Self> {
        match negotiated {
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            _ => None,
        }
    }

    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// The server name of a client's session number `number`. A client keeps sessions by server name,
/// so one name stands for one TLS 1.2 session or one set of TLS 1.3 tickets.
pub(crate) fn server_name(number: usize) -> Result<ServerName<'static>> {
    ServerName::try_from(format!("s{number}.storm.test")).context("server name")
}

/// A fresh self-signed P-256 certificate, made anew for each run.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn generate() -> Result<Self> {
        let names = ["*.storm.test", "localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).context("certificate")?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self {
            chain: vec![made.cert.der().clone()],
            key: key.into(),
        })
    }

    /// The certificate, and the key in PKCS #8.
    #[cfg(any(feature = "openssl", feature = "redis"))]
    pub(crate) fn der(&self) -> (&[u8], &[u8]) {
        (&self.chain[0], self.key.secret_der())
    }

    /// What [`der`](Self::der) gave, in another process.
    #[cfg(feature = "redis")]
    pub(crate) fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self {
            chain: vec![certificate.into()],
            key: PrivatePkcs8KeyDer::from(key).into(),
        }
    }

    /// A server for both versions, whose session storage `install` sets. It has no ticketer, so TLS 1.3 asks that as
    /// well.
    pub(crate) fn server<R>(
        &self,
        install: impl FnOnce(&mut ServerConfig) -> R,
    ) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        install(&mut config);
        Ok(Arc::new(config))
    }

    /// A client for one version that keeps its sessions in `sessions` and asks for no tickets in
    /// TLS 1.2.
    pub(crate) fn client(
        &self,
        version: Version,
        sessions: Arc<dyn ClientSessionStore>,
    ) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain[0].clone())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version.supported()])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption =
            Resumption::store(sessions).tls12_resumption(Tls12Resumption::SessionIdOnly);
        Ok(Arc::new(config))
    }
}
