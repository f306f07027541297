//! A sub-batch: some events of a batch, sent in one request.

use std::io::Write;
use std::ops::Range;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::event::UsageEvent;
use crate::event::binary::decode;
use crate::journal::Batch;
use crate::protocol::{HttpRequest, Protocol};

/// Bodies smaller than this are not compressed, because that would not pay.
const COMPRESSED_FROM: usize = 1024;

/// Some events of a batch.
pub(super) struct SubBatch {
    pub(super) events: Range<usize>,
    /// The body. It is kept until the sub-batch is done or split, so that a retry sends the same bytes.
    pub(super) body: Option<Body>,
    /// The number of events in the body.
    pub(super) sent: u64,
    /// Events that are not in the body because they waited too long.
    pub(super) expired: u64,
    /// Events that are not for this destination.
    pub(super) others: u64,
    pub(super) server_errors: u32,
    pub(super) timeouts: u32,
    /// Requests that delivered nothing.
    pub(super) attempts: u32,
    /// How many sub-batches had been accepted when this one, or the one from which it was split, first failed.
    pub(super) accepted_before: Option<u64>,
    pub(super) was_retried_at_once: bool,
    /// Whether the destination refused it for a reason that may be its own setup.
    pub(super) is_refused: bool,
}

/// The body of a sub-batch.
#[derive(Clone)]
pub(super) struct Body {
    /// The requests, in order.
    pub(super) requests: Vec<HttpRequest>,
    pub(super) is_gzip: bool,
}

/// How to write a body.
pub(super) struct Writing {
    /// Events that were tracked in this range are too old; nanoseconds since the Unix epoch.
    pub(super) too_old: Range<u64>,
    /// The most bytes of a body before compression.
    pub(super) max_bytes: usize,
    /// Whether compression is off.
    pub(super) is_plain: bool,
}

/// The result of writing a body.
pub(super) enum Written {
    /// It can be sent.
    Ready(SubBatch),
    /// The body is larger than allowed. These are the parts.
    Cut(Vec<SubBatch>),
    /// No event is left to send.
    Empty(SubBatch),
}

impl SubBatch {
    pub(super) fn new(events: Range<usize>) -> Self {
        Self {
            events,
            body: None,
            sent: 0,
            expired: 0,
            others: 0,
            server_errors: 0,
            timeouts: 0,
            attempts: 0,
            accepted_before: None,
            was_retried_at_once: false,
            is_refused: false,
        }
    }

    /// Splits off the events beyond the first `ceiling`, if there are more.
    pub(super) fn split_off(&mut self, ceiling: usize) -> Option<Self> {
        let middle = self.events.start + ceiling.max(1);
        (middle < self.events.end && self.body.is_none()).then(|| {
            let rest = self.part(middle..self.events.end);
            self.events.end = middle;
            rest
        })
    }

    /// The second half and the first.
    pub(super) fn halves(&self) -> [Self; 2] {
        let middle = self.events.start + self.events.len() / 2;
        [middle..self.events.end, self.events.start..middle].map(|half| self.part(half))
    }

    /// A part of it, with the same number of attempts.
    fn part(&self, events: Range<usize>) -> Self {
        Self { accepted_before: self.accepted_before, attempts: self.attempts, ..Self::new(events) }
    }

    /// The number of records that are not valid events.
    pub(super) fn unreadable(&self) -> u64 {
        self.events.len() as u64 - self.sent - self.expired - self.others
    }

    /// Writes the body.
    pub(super) fn write(mut self, batch: &Batch, protocol: &dyn Protocol, how: &Writing) -> Written {
        let mut events: Vec<UsageEvent<'_>> = Vec::with_capacity(self.events.len());
        (self.expired, self.others) = (0, 0);
        let records = batch.payloads().zip(batch.appended_at()).skip(self.events.start).take(self.events.len());
        for (payload, at) in records {
            match decode(payload) {
                Ok(event) if !protocol.takes(&event) => self.others += 1,
                Ok(_) if how.too_old.contains(&at) => self.expired += 1,
                Ok(event) => events.push(event),
                Err(_) => {}
            }
        }
        self.sent = events.len() as u64;
        if events.is_empty() {
            return Written::Empty(self);
        }
        let requests = protocol.encode(&events);
        let length: usize = requests.iter().map(|request| request.body.len()).sum();
        if length > how.max_bytes && self.events.len() > 1 {
            let parts = length.div_ceil(how.max_bytes);
            let ceiling = self.events.len().div_ceil(parts).min(self.events.len() - 1);
            let rest = self.split_off(ceiling);
            return Written::Cut(std::iter::once(self).chain(rest).collect());
        }
        self.body = Some(if how.is_plain { Body { requests, is_gzip: false } } else { compressed(requests) });
        Written::Ready(self)
    }
}

fn compressed(mut requests: Vec<HttpRequest>) -> Body {
    let mut is_gzip = false;
    if let [HttpRequest { body, .. }] = &mut requests[..]
        && body.len() >= COMPRESSED_FROM
    {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        if let Ok(packed) = encoder.write_all(body).and_then(|()| encoder.finish()) {
            (*body, is_gzip) = (packed, true);
        }
    }
    Body { requests, is_gzip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_batch_is_split_at_the_ceiling_without_losing_events() {
        let mut sub = SubBatch::new(7..2500);
        let mut cut = Vec::new();
        while let Some(rest) = sub.split_off(1000) {
            cut.push(std::mem::replace(&mut sub, rest).events);
        }
        cut.push(sub.events.clone());
        assert_eq!(cut, [7..1007, 1007..2007, 2007..2500]);
        let halves = sub.halves().map(|half| half.events);
        assert_eq!(halves, [2253..2500, 2007..2253]);
        // A sub-batch that must be resent with the same bytes is not split.
        sub.body = Some(Body { requests: Vec::new(), is_gzip: false });
        assert!(sub.split_off(10).is_none());
    }
}
