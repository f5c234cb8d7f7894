//! Client hellos (RFC 8446, 4.1.2) that no honest client sends.

const PRE_SHARED_KEY: u16 = 41;
const BINDER: [u8; 32] = [0xBD; 32];

/// A client hello, taken apart.
pub struct Hello {
    /// Version and random.
    head: Vec<u8>,
    session_id: Vec<u8>,
    /// Cipher suites and compression methods, with their lengths.
    suites: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// From what a client wrote: one record.
    pub fn parse(record: &[u8]) -> Self {
        assert_eq!((record[0], record[5]), (22, 1), "a client hello");
        // Record header 5, message header 4.
        let mut rest = &record[9..];
        let head = cut(&mut rest, 34);
        let session_id = cut_vector(&mut rest, 1);
        let mut suites = Vec::new();
        push_vector(&mut suites, 2, &cut_vector(&mut rest, 2));
        push_vector(&mut suites, 1, &cut_vector(&mut rest, 1));
        let all = cut_vector(&mut rest, 2);
        assert!(rest.is_empty());
        let mut all = &all[..];
        let mut extensions = Vec::new();
        while !all.is_empty() {
            let kind = number(&cut(&mut all, 2)) as u16;
            extensions.push((kind, cut_vector(&mut all, 2)));
        }
        Self {
            head,
            session_id,
            suites,
            extensions,
        }
    }

    pub fn with_session_id(mut self, id: &[u8]) -> Self {
        self.session_id = id.to_vec();
        self
    }

    /// Offers these tickets, each with a binder that fits none.
    pub fn with_tickets(mut self, tickets: &[Vec<u8>]) -> Self {
        let (mut identities, mut binders) = (Vec::new(), Vec::new());
        for ticket in tickets {
            push_vector(&mut identities, 2, ticket);
            identities.extend([0; 4]); // age
            push_vector(&mut binders, 1, &BINDER);
        }
        let mut offer = Vec::new();
        push_vector(&mut offer, 2, &identities);
        push_vector(&mut offer, 2, &binders);
        self.extensions.retain(|(kind, _)| *kind != PRE_SHARED_KEY);
        // It has to be the last one.
        self.extensions.push((PRE_SHARED_KEY, offer));
        self
    }

    /// The tickets that are offered.
    pub fn tickets(&self) -> Vec<Vec<u8>> {
        let offers = self.extensions.iter();
        let Some((_, offer)) = offers.into_iter().find(|(kind, _)| *kind == PRE_SHARED_KEY) else {
            return Vec::new();
        };
        let identities = cut_vector(&mut &offer[..], 2);
        let mut rest = &identities[..];
        let mut tickets = Vec::new();
        while !rest.is_empty() {
            tickets.push(cut_vector(&mut rest, 2));
            cut(&mut rest, 4);
        }
        tickets
    }

    /// As records of at most 16 KB.
    pub fn records(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (kind, body) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            push_vector(&mut extensions, 2, body);
        }
        let mut body = self.head.clone();
        push_vector(&mut body, 1, &self.session_id);
        body.extend(&self.suites);
        push_vector(&mut body, 2, &extensions);
        let mut message = vec![1];
        push_vector(&mut message, 3, &body);

        let mut records = Vec::new();
        for fragment in message.chunks(16_384) {
            records.extend([22, 3, 1]);
            push_vector(&mut records, 2, fragment);
        }
        records
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

fn cut(from: &mut &[u8], len: usize) -> Vec<u8> {
    let (first, rest) = from.split_at(len);
    *from = rest;
    first.to_vec()
}

/// A vector whose length stands in front of it, in so many bytes.
fn cut_vector(from: &mut &[u8], width: usize) -> Vec<u8> {
    let len = number(&cut(from, width));
    cut(from, len)
}

fn push_vector(to: &mut Vec<u8>, width: usize, vector: &[u8]) {
    let len = vector.len().to_be_bytes();
    let (over, len) = len.split_at(len.len() - width);
    assert!(over.iter().all(|byte| *byte == 0), "too long");
    to.extend(len);
    to.extend(vector);
}
