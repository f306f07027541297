//! Which chunks of a segment are taken, how far each is written, and whether nothing will be written any more.
//!
//! Claims of chunks, their end, and the retirement of a segment come from different threads; a thread that sees a segment sealed must see
//! everything that was committed to it. `tests/claims.rs` tries every order of these under loom, with its own atomics in the place of
//! those of [`super::sync`].

use super::sync::{AtomicU32, Ordering};

/// The state of a segment of up to `CHUNKS` chunks.
pub(super) struct Claims<const CHUNKS: usize> {
    chunks: usize,
    claimed: AtomicU32,
    /// Chunks that writers hold.
    open: AtomicU32,
    committed: [AtomicU32; CHUNKS],
}

impl<const CHUNKS: usize> Claims<CHUNKS> {
    /// Of a segment of which nothing is claimed. `first` tells where the records of a chunk begin.
    pub(super) fn new(chunks: usize, first: impl Fn(usize) -> usize) -> Self {
        let committed = std::array::from_fn(|chunk| AtomicU32::new(first(chunk) as u32));
        Self { chunks, claimed: AtomicU32::new(0), open: AtomicU32::new(0), committed }
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    /// Takes the next chunk, if one is left. It is open until [`Self::release`].
    pub(super) fn claim(&self) -> Option<usize> {
        // Counted as open before the claim shows, so that the segment is at no time seen as sealed in between.
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

    /// Says that a claimed chunk will not be written any more.
    pub(super) fn release(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Gives up the chunks that are not claimed, so that the segment can be sealed.
    pub(super) fn retire(&self) {
        // A read-modify-write: a plain store would end the release sequence of the claims before it, and a thread that then sees all chunks
        // claimed in `is_sealed` might not see that those of these claims are still open.
        self.claimed.swap(self.chunks as u32, Ordering::AcqRel);
    }

    pub(super) fn claimed(&self) -> usize {
        self.claimed.load(Ordering::Acquire) as usize
    }

    /// Whether nothing will be written any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.claimed() == self.chunks && self.open.load(Ordering::Acquire) == 0
    }

    /// Says how far a chunk is written, by the writer that claimed it.
    pub(super) fn commit(&self, chunk: usize, until: usize) {
        self.committed[chunk].store(until as u32, Ordering::Release);
    }

    /// How far a chunk is written. Below it, bytes never change.
    pub(super) fn committed(&self, chunk: usize) -> usize {
        self.committed[chunk].load(Ordering::Acquire) as usize
    }
}
