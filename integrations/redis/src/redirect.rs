//! What a Cluster says of where its slots are.

use std::collections::BTreeSet;

use redis::{ServerError, Value};

/// What is sent before a command that another node has sent here.
pub(crate) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// So many servers are asked for one answer. While a slot moves it is two; a third one if it moves on meanwhile.
pub(crate) const HOPS: usize = 3;

/// More masters have no Cluster, and get no threads and connections here.
pub(crate) const MAX_MASTERS: usize = 1_000;

/// Slots of a Cluster.
pub(crate) const SLOTS: usize = 16_384;

const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);

/// As in the specification: what is between the first `{` and the next `}` decides, if it is there and not empty.
pub(crate) fn slot(name: &[u8]) -> u16 {
    let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
        let tag = &name[open + 1..];
        let len = tag.iter().position(|&byte| byte == b'}')?;
        (len > 0).then_some(&tag[..len])
    });
    CRC.checksum(tag.unwrap_or(name)) % SLOTS as u16
}

/// Where a node is, as the Cluster calls it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Somebody else is to be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Redirect {
    pub(crate) to: Address,
    /// For this command only, which `ASKING` has to precede.
    pub(crate) once: bool,
}

impl Redirect {
    /// What `MOVED` and `ASK` say. Without a host they mean the one that says so.
    pub(crate) fn of(error: &ServerError, host: &str) -> Option<Self> {
        let once = match error.code() {
            "ASK" => true,
            "MOVED" => false,
            _ => return None,
        };
        let (_, to) = error.details()?.split_once(' ')?;
        let (name, port) = to.rsplit_once(':')?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            to: Address {
                host: if name.is_empty() { host } else { name }.into(),
                port: port.parse().ok()?,
            },
            once,
        })
    }
}

/// Slots in a row that one master has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) master: Address,
}

/// The answer to `CLUSTER SLOTS` of the one at `host`: for each range first, last, and its nodes, the master
/// first. `None` if it is not that, gives a slot twice or has too many masters; a master that isn't named leaves its slots
/// without one.
pub(crate) fn ranges(reply: &Value, host: &str) -> Option<Vec<Range>> {
    let Value::Array(all) = reply else {
        return None;
    };
    let mut ranges = Vec::new();
    let mut given = vec![false; SLOTS];
    let mut masters = BTreeSet::new();
    for range in all {
        let Value::Array(parts) = range else {
            return None;
        };
        let [first, last, Value::Array(master), ..] = &parts[..] else {
            return None;
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || usize::from(last) >= SLOTS {
            return None;
        }
        let given = &mut given[usize::from(first)..=usize::from(last)];
        if given.contains(&true) {
            return None;
        }
        given.fill(true);
        let [name, port, ..] = &master[..] else {
            return None;
        };
        let name = match name {
            Value::Nil => host,
            Value::BulkString(name) => match std::str::from_utf8(name).ok()? {
                "" => host,
                "?" => continue,
                name => name,
            },
            _ => return None,
        };
        let master = Address {
            host: name.into(),
            port: number(port)?,
        };
        masters.insert(master.clone());
        if masters.len() > MAX_MASTERS {
            return None;
        }
        ranges.push(Range {
            first,
            last,
            master,
        });
    }
    Some(ranges)
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // Its example, and those that it gives for tags.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"{user1000}.followers"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        let whole = |name: &[u8]| CRC.checksum(name) % SLOTS as u16;
        for name in [&b"foo{}{bar}"[..], b"foo{bar", b"foo}bar{", b""] {
            assert_eq!(slot(name), whole(name), "{name:?}");
        }
    }

    fn error(line: &[u8]) -> ServerError {
        match redis::parse_redis_value(line) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn redirections_are_read() {
        let of = |line: &[u8]| Redirect::of(&error(line), "10.0.0.1");
        let to = |host: &str, port, once| {
            let host = host.into();
            Some(Redirect {
                to: Address { host, port },
                once,
            })
        };
        assert_eq!(
            of(b"-MOVED 3999 127.0.0.1:6381\r\n"),
            to("127.0.0.1", 6381, false)
        );
        assert_eq!(
            of(b"-ASK 3999 a.example:6381\r\n"),
            to("a.example", 6381, true)
        );
        assert_eq!(of(b"-MOVED 1 :7\r\n"), to("10.0.0.1", 7, false));
        assert_eq!(of(b"-ASK 1 ::1:7\r\n"), to("::1", 7, true));
        assert_eq!(of(b"-ASK 1 [::1]:7\r\n"), to("::1", 7, true));
        for other in [
            &b"-MOVED\r\n"[..],
            b"-MOVED 3999\r\n",
            b"-MOVED 3999 127.0.0.1\r\n",
            b"-MOVED 3999 127.0.0.1:\r\n",
            b"-MOVED 3999 127.0.0.1:65536\r\n",
            b"-CLUSTERDOWN Hash slot not served\r\n",
            b"-ERR MOVED 1 a:1\r\n",
        ] {
            assert_eq!(of(other), None);
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        // With an identifier, what the newer ones add, and a replica.
        let node = |host, port| {
            let more = [bulk("id"), Value::Array(vec![bulk("hostname"), bulk("x")])];
            Value::Array([vec![host, Value::Int(port)], more.to_vec()].concat())
        };
        let replica = node(bulk("replica"), 9);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            node(host, port),
            replica,
        ])
    }

    #[test]
    fn the_map_is_read() {
        let reply = Value::Array(vec![
            range(0, 99, bulk("10.0.0.2"), 7000),
            range(100, 100, Value::Nil, 7001),
            range(101, 101, bulk(""), 7002),
            range(102, 200, bulk("?"), 7003),
            range(201, 16_383, bulk("::1"), 7004),
        ]);
        let read = ranges(&reply, "10.0.0.1").unwrap();
        let plain = |range: &Range| {
            let Range {
                first,
                last,
                master,
            } = range.clone();
            (first, last, master.host, master.port)
        };
        let read: Vec<_> = read.iter().map(plain).collect();
        let wanted = [
            (0, 99, "10.0.0.2", 7000),
            (100, 100, "10.0.0.1", 7001),
            (101, 101, "10.0.0.1", 7002),
            (201, 16_383, "::1", 7004),
        ];
        assert_eq!(
            read,
            wanted.map(|(a, b, host, port)| (a, b, host.into(), port))
        );
        assert_eq!(ranges(&Value::Array(vec![]), ""), Some(vec![]));
    }

    #[test]
    fn a_slot_has_one_master_and_there_are_not_too_many() {
        let map = |ranges: &[(i64, i64)]| {
            let each = ranges.iter().map(|(a, b)| range(*a, *b, bulk("a"), 1));
            super::ranges(&Value::Array(each.collect()), "a").map(|map| map.len())
        };
        assert_eq!(map(&[(0, 5), (7, 9), (6, 6)]), Some(3));
        assert_eq!(map(&[(0, 5), (5, 9)]), None);
        assert_eq!(map(&[(3, 4), (0, 16_383)]), None);
        let masters = |number: usize| {
            let each = (0..number as i64).map(|n| range(n, n, bulk("a"), n));
            super::ranges(&Value::Array(each.collect()), "a").map(|map| map.len())
        };
        assert_eq!(masters(MAX_MASTERS), Some(MAX_MASTERS));
        assert_eq!(masters(MAX_MASTERS + 1), None);
    }

    #[test]
    fn what_is_no_map_is_none() {
        for bad in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(1)])]),
            Value::Array(vec![range(0, 16_384, bulk("a"), 1)]),
            Value::Array(vec![range(2, 1, bulk("a"), 1)]),
            Value::Array(vec![range(-1, 1, bulk("a"), 1)]),
            Value::Array(vec![range(0, 1, bulk("a"), 65_536)]),
            Value::Array(vec![range(0, 1, Value::Int(7), 1)]),
        ] {
            assert_eq!(ranges(&bad, "a"), None, "{bad:?}");
        }
    }
}
