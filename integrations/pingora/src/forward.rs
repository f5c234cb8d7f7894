//! The proxy.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

use crate::Began;
use crate::upstream::BEGAN;

/// Forwards all requests to one HTTP server, and tells it how the client's connection began.
#[derive(Debug)]
pub struct Forward {
    /// The server.
    pub upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        // Whatever the client says of it.
        request.remove_header(BEGAN);
        if let Some(began) = began(session) {
            request.insert_header(BEGAN, began.to_string())?;
        }
        Ok(())
    }
}

fn began(session: &Session) -> Option<Began> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    tls.extension.get::<Began>().copied()
}
