//! The state of a segment: which chunks are claimed, how far each is written, and whether the segment is sealed.
//!
//! Different threads claim chunks, release them and retire the segment. A thread that sees a segment as sealed must see everything
//! that was committed to it. `tests/interleavings.rs` runs every order of these operations with loom, which replaces the atomics in
//! [`super::sync`].

use super::sync::{AtomicU32, Ordering};

/// The state of a segment of up to `CHUNKS` chunks.
pub(super) struct Claims<const CHUNKS: usize> {
    chunks: usize,
    claimed: AtomicU32,
    /// The number of chunks that writers currently hold.
    open: AtomicU32,
    committed: [AtomicU32; CHUNKS],
}

impl<const CHUNKS: usize> Claims<CHUNKS> {
    /// The state of a new segment. `first` returns where the records of a chunk begin.
    pub(super) fn new(chunks: usize, first: impl Fn(usize) -> usize) -> Self {
        let committed = std::array::from_fn(|chunk| AtomicU32::new(first(chunk) as u32));
        Self { chunks, claimed: AtomicU32::new(0), open: AtomicU32::new(0), committed }
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    /// Claims the next chunk, if there is one. It is open until [`Self::release`].
    pub(super) fn claim(&self) -> Option<usize> {
        // Counted as open before it counts as claimed, so that the segment never looks sealed in between.
        self.open.fetch_add(1, Ordering::AcqRel);
        let chunks = self.chunks as u32;
        let taken = self
            .claimed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |claimed| (claimed < chunks).then_some(claimed + 1));
        if taken.is_err() {
            self.release();
        }
        taken.ok().map(|chunk| chunk as usize)
    }

    /// Ends the writing of a claimed chunk.
    pub(super) fn release(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Makes the unclaimed chunks unavailable, so that the segment can be sealed.
    pub(super) fn retire(&self) {
        // This must be a read-modify-write. A plain store would end the release sequence of earlier claims. A thread that then sees
        // all chunks claimed in `is_sealed` might not see that the chunks of these claims are still open.
        self.claimed.swap(self.chunks as u32, Ordering::AcqRel);
    }

    pub(super) fn claimed(&self) -> usize {
        self.claimed.load(Ordering::Acquire) as usize
    }

    /// Whether nothing will be written to the segment any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.claimed() == self.chunks && self.open.load(Ordering::Acquire) == 0
    }

    /// Publishes how far a chunk is written. Called by the writer that claimed it.
    pub(super) fn commit(&self, chunk: usize, until: usize) {
        self.committed[chunk].store(until as u32, Ordering::Release);
    }

    /// How far a chunk is written. Bytes before this offset never change.
    pub(super) fn committed(&self, chunk: usize) -> usize {
        self.committed[chunk].load(Ordering::Acquire) as usize
    }
}
