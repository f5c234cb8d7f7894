//! Somebody on the way between client and server, who keeps what passes and can send it again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::ANY;

/// Whom a copy goes to while the original is under way.
#[derive(Clone, Copy)]
pub struct Copying {
    pub to: SocketAddr,
    /// Before the original, or behind it.
    pub first: bool,
}

/// Passes datagrams between a client and a server. What it sends on its own account comes from a socket
/// of its own: for a server, that is another client.
pub struct Relay {
    /// Where the client is to connect to.
    pub address: SocketAddr,
    own: Arc<UdpSocket>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn new(server: SocketAddr, copying: Option<Copying>) -> Self {
        let front = UdpSocket::bind(ANY).await.unwrap();
        let back = UdpSocket::bind(ANY).await.unwrap();
        back.connect(server).await.unwrap();
        let address = front.local_addr().unwrap();
        let own = Arc::new(UdpSocket::bind(ANY).await.unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(pass(front, back, own.clone(), copying, seen.clone()));
        Self {
            address,
            own,
            seen,
            task,
        }
    }

    /// Sends all that the client has sent to `server`, byte for byte. How many datagrams that was.
    pub async fn replay(&self, server: SocketAddr) -> usize {
        let seen = self.seen.lock().unwrap().clone();
        for datagram in &seen {
            self.own.send_to(datagram, server).await.unwrap();
        }
        seen.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    front: UdpSocket,
    back: UdpSocket,
    own: Arc<UdpSocket>,
    copying: Option<Copying>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let (mut there, mut here) = ([0; 65_536], [0; 65_536]);
    let mut client = None;
    loop {
        tokio::select! {
            Ok((len, from)) = front.recv_from(&mut there) => {
                client = Some(from);
                let datagram = &there[..len];
                seen.lock().unwrap().push(datagram.to_vec());
                // A datagram that is lost is sent again by its owner; one of the copy's is not missed.
                if let Some(Copying { to, first: true }) = copying {
                    let _ = own.send_to(datagram, to).await;
                }
                let _ = back.send(datagram).await;
                if let Some(Copying { to, first: false }) = copying {
                    let _ = own.send_to(datagram, to).await;
                }
            }
            Ok(len) = back.recv(&mut here) => {
                if let Some(client) = client {
                    let _ = front.send_to(&here[..len], client).await;
                }
            }
        }
    }
}
