//! What stands between a client and the servers.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::course::{Step, say};
use crate::program::until;
use crate::{Site, Value, Version};

/// Lets so many connections through as there are steps, one after the other, and before each what its step says
/// happens.
pub(crate) struct Gate {
    pub(crate) address: String,
    pub(crate) steps: &'static [Step],
    passed: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn open<V: Value>(site: &Site<V>, steps: &'static [Step]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let passed = Arc::new(AtomicUsize::new(0));
        let (site, count) = (site.clone(), passed.clone());
        // It ends with the last step, or with the process.
        thread::spawn(move || {
            let mut kept = None;
            for step in steps {
                let (client, _) = listener.accept().expect("a connection");
                // A server may have sent its last message and not kept the session yet; who comes back in that
                // instant is too early, which is nothing but a miss.
                if let Some(kept) = kept {
                    until("the session is kept", || site.kept() > kept);
                }
                kept = (!step.resumed).then(|| site.kept());
                let server = step.happen(&site);
                let server = TcpStream::connect(server).expect("the server listens");
                count.fetch_add(1, Ordering::Relaxed);
                join(client, server);
            }
        });
        Self {
            address,
            steps,
            passed,
        }
    }

    /// Holds a client that has connected all by itself to the steps, and says how often it was resumed.
    pub(crate) fn report<'a>(
        &self,
        who: &str,
        version: Version,
        answers: impl Iterator<Item = &'a str>,
    ) {
        let mut count = 0;
        for (answer, step) in answers.zip(self.steps) {
            step.hold(who, version, answer);
            count += 1;
        }
        assert_eq!((count, self.passed()), (self.steps.len(), self.steps.len()));
        say(who, version, self.steps);
    }

    /// How many connections came through.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

/// Each end hears what the other says, and how it stops.
fn join(client: TcpStream, server: TcpStream) {
    let (client, server) = (Arc::new(client), Arc::new(server));
    for (from, to) in [(client.clone(), server.clone()), (server, client)] {
        thread::spawn(move || {
            // However it ends, it has ended.
            let _ = io::copy(&mut &*from, &mut &*to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
