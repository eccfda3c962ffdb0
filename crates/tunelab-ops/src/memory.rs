//! The program's memory: blocks that are not small stay with the program when they are freed, and the large ones lie in large
//! pages.
//!
//! A step of training, of sampling or of the VAE asks for the same blocks as the one before. To
//! give them back to the system and have them mapped and zeroed again, 4 KiB at a time, takes a
//! third of a step of full fine-tuning; and what is computed on 4 KiB pages waits for their
//! addresses. So a freed block is kept for the next one of its size. Blocks in use and kept ones
//! together never take more than those in use took at their most, but for `SLACK`: a new block
//! replaces those that have waited longest. They begin at a cache line: a vector of 64 bytes that
//! lies in two lines takes two reads, and most of what a step reads would.
//!
//! In: the allocations of the whole program, whose global allocator [`Memory`] is. Out: the same
//! from the system, for all that is small. Where the system has nothing more, the program says so
//! in one line and ends with the exit code of a failed run: most of what allocates here knows of no
//! failure, and would end the process as a crash.
#![expect(unsafe_code, reason = "a global allocator hands out memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{thread, time::Duration};

/// From this size on a block is kept, bytes.
const KEPT: usize = 1 << 16;

/// From this size on it has pages of its own. Those below are the system allocator's, and kept in a list of their own: many small ones
/// drive out no large one.
const LARGE: usize = 1 << 20;

/// Kept bytes by which the program may be larger than all of its blocks were at their most: of large ones, and of the others.
const SLACK: usize = 128 << 20;
const SMALL_SLACK: usize = 16 << 20;

/// Kept blocks of a list at most.
const MOST: usize = 4096;

/// The alignment of large blocks at least, a cache line: vectors that are read from one, one behind
/// the other, lie in a line each.
const ALIGN: usize = 64;

/// The global allocator of a program that trains.
#[derive(Debug)]
pub struct Memory;

static LARGE_ONES: Mutex<Kept> = Mutex::new(Kept::new(SLACK));
static SMALL_ONES: Mutex<Kept> = Mutex::new(Kept::new(SMALL_SLACK));

/// A freed block.
#[derive(Clone, Copy)]
struct Block {
    address: *mut u8,
    size: usize,
}

// SAFETY: nobody else has a freed block's address.
unsafe impl Send for Block {}

/// Freed blocks, the one that has waited longest first, and how much is in use. Nothing here may allocate: the list is locked.
struct Kept {
    blocks: [Block; MOST],
    count: usize,
    bytes: usize,
    in_use: usize,
    most_in_use: usize,
    slack: usize,
}

impl Kept {
    #[expect(clippy::large_stack_arrays, reason = "the lists are statics, and nothing here may allocate")]
    const fn new(slack: usize) -> Self {
        let none = Block { address: std::ptr::null_mut(), size: 0 };
        Self { blocks: [none; MOST], count: 0, bytes: 0, in_use: 0, most_in_use: 0, slack }
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks[..self.count]
    }

    /// The block of this size that has been freed last. If there is none, room is made for a new
    /// one.
    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let found = self.blocks().iter().rposition(|b| b.size == size).map(|at| {
            let address = self.blocks[at].address;
            self.blocks.copy_within(at + 1..self.count, at);
            self.count -= 1;
            self.bytes -= size;
            address
        });
        self.resized(0, size);
        found
    }

    fn keep(&mut self, block: Block) {
        if self.count == MOST {
            self.give_back(1);
        }
        self.blocks[self.count] = block;
        self.count += 1;
        self.bytes += block.size;
        self.resized(block.size, 0);
    }

    /// A block in use has another size, 0 before and after its use.
    fn resized(&mut self, from: usize, to: usize) {
        self.in_use = self.in_use - from + to;
        self.most_in_use = self.most_in_use.max(self.in_use);
        self.shrink(self.most_in_use + self.slack);
    }

    /// Gives back what has waited longest, until everything fits `room`.
    fn shrink(&mut self, room: usize) {
        let (mut enough, mut bytes) = (0, self.bytes);
        while enough < self.count && self.in_use + bytes > room {
            bytes -= self.blocks[enough].size;
            enough += 1;
        }
        self.give_back(enough);
    }

    /// Gives back so many of those that have waited longest.
    fn give_back(&mut self, count: usize) {
        if count == 0 {
            // Most often; the list need not be moved onto itself.
            return;
        }
        for &Block { address, size } in &self.blocks[..count] {
            // SAFETY: the block came from `get` with this size, and is in nobody's use.
            unsafe { free(address, size) };
            self.bytes -= size;
        }
        self.blocks.copy_within(count..self.count, 0);
        self.count -= count;
    }
}

/// The list of blocks of this size.
fn kept(size: usize) -> MutexGuard<'static, Kept> {
    let list = if size >= LARGE { &LARGE_ONES } else { &SMALL_ONES };
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory from the system, all zeros; null if there is none.
fn get(size: usize) -> *mut u8 {
    if size >= LARGE {
        return pages(size);
    }
    // SAFETY: the size is not 0, and has a layout.
    unsafe { System.alloc_zeroed(Layout::from_size_align_unchecked(size, ALIGN)) }
}

/// Gives a block back to the system.
///
/// # Safety
/// It came from [`get`] with this size, and is in nobody's use.
unsafe fn free(address: *mut u8, size: usize) {
    // SAFETY: the block came from one of these with this size, says the caller.
    unsafe {
        if size >= LARGE {
            free_pages(address, size);
        } else {
            System.dealloc(address, Layout::from_size_align_unchecked(size, ALIGN));
        }
    }
}

/// Pages, all zeros; null if there are none. Large ones are asked for; a system that has none, or whose small ones are larger than
/// 4 KiB, goes on without.
#[cfg(target_os = "linux")]
fn pages(size: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new pages, which nobody has; the advice changes nothing that is in them.
    unsafe {
        let pages = libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if pages == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        libc::madvise(pages, size, libc::MADV_HUGEPAGE);
        pages.cast()
    }
}

/// Gives pages back to the system.
///
/// # Safety
/// They came from [`pages`] with this size, and are in nobody's use.
#[cfg(target_os = "linux")]
unsafe fn free_pages(address: *mut u8, size: usize) {
    // SAFETY: these are `size` bytes of pages from `pages`, which nobody uses, says the caller.
    unsafe { libc::munmap(address.cast(), size) };
}

#[cfg(not(target_os = "linux"))]
fn pages(size: usize) -> *mut u8 {
    // SAFETY: the size is not 0, and has a layout.
    unsafe { System.alloc_zeroed(Layout::from_size_align_unchecked(size, ALIGN)) }
}

#[cfg(not(target_os = "linux"))]
unsafe fn free_pages(address: *mut u8, size: usize) {
    // SAFETY: the block came from `pages` with this layout, says the caller.
    unsafe { System.dealloc(address, Layout::from_size_align_unchecked(size, ALIGN)) };
}

fn is_kept(layout: Layout) -> bool {
    layout.size() >= KEPT && layout.align() <= ALIGN && layout.size() <= isize::MAX as usize - ALIGN
}

/// Gives all that is kept back to the system: where work of another kind begins.
pub fn release_cached() {
    for mut kept in [LARGE, KEPT].map(kept) {
        kept.shrink(0);
        kept.most_in_use = kept.in_use;
    }
}

/// A block: a kept one, with whatever is in it, or a new one of zeros; and whether it is a kept one.
fn block(size: usize) -> (*mut u8, bool) {
    let found = kept(size).take(size);
    if let Some(address) = found {
        return (address, true);
    }
    let mut address = get(size);
    if address.is_null() {
        // What is kept may be what is missing.
        for size in [LARGE, KEPT] {
            kept(size).shrink(0);
        }
        address = get(size);
    }
    if address.is_null() {
        kept(size).resized(size, 0);
    }
    (address, false)
}

/// The address, if the system had memory; otherwise the end of the program.
fn or_end(address: *mut u8, size: usize) -> *mut u8 {
    if address.is_null() {
        end(size);
    }
    address
}

/// Says that there is no memory, and ends the process. Nothing here may allocate.
#[cold]
fn end(size: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::Relaxed) {
        // Another thread does it.
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }
    let mut line = [0; 256];
    let mut rest = &mut line[..];
    let (size, unit) = if size < LARGE { (size, "bytes") } else { (size >> 20, "MiB") };
    // It is long enough.
    let _ = writeln!(
        rest,
        "error: out of memory: the system has no {size} {unit} more; a smaller train.batch_size or dataset.resolution, or \
         train.gradient_checkpointing = true, needs less"
    );
    let length = 256 - rest.len();
    last_words(&line[..length])
}

#[cfg(unix)]
fn last_words(line: &[u8]) -> ! {
    // SAFETY: the line is as long as is said; what other threads hold does not matter any more.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::_exit(1)
    }
}

#[cfg(not(unix))]
fn last_words(line: &[u8]) -> ! {
    // Nobody may be listening.
    let _ = std::io::stderr().write_all(line);
    std::process::exit(1)
}

// SAFETY: a block that is kept is one of `get`'s or one that was freed with the same size; all others are
// the system allocator's. Which one it is depends on the layout alone, and both are aligned as it
// says.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the layout is not empty, says the caller.
        let address = if is_kept(layout) { block(layout.size()).0 } else { unsafe { System.alloc(layout) } };
        or_end(address, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_kept(layout) {
            // SAFETY: the layout is not empty, says the caller.
            return or_end(unsafe { System.alloc_zeroed(layout) }, layout.size());
        }
        let (block, is_used) = block(layout.size());
        let block = or_end(block, layout.size());
        if is_used {
            // SAFETY: the block is this large.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if is_kept(layout) {
            kept(layout.size()).keep(Block { address, size: layout.size() });
        } else {
            // SAFETY: the block is the system allocator's and of this layout, says the caller.
            unsafe { System.dealloc(address, layout) }
        }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the new size is one of a layout of this alignment, says the caller.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_kept(layout) && !is_kept(new) {
            // SAFETY: the block is the system allocator's and of this layout, and stays one: both
            // sizes are small.
            return or_end(unsafe { System.realloc(address, layout, size) }, size);
        }
        // SAFETY: the old block is of this layout, says the caller; both are as large as what is
        // copied, and apart.
        unsafe {
            let block = self.alloc(new);
            block.copy_from_nonoverlapping(address, layout.size().min(size));
            self.dealloc(address, layout);
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 << 20;

    fn made(kept: &mut Kept, size: usize) -> Block {
        let found = kept.take(size);
        let address = found.unwrap_or_else(|| get(size));
        Block { address, size }
    }

    #[test]
    fn a_freed_block_is_handed_out_again_for_its_own_size_only() {
        let mut kept = Kept::new(SLACK);
        let (a, b) = (made(&mut kept, SIZE), made(&mut kept, SIZE));
        let (first, last) = (a.address, b.address);
        kept.keep(a);
        kept.keep(b);
        assert_eq!(kept.take(SIZE - 1), None);
        assert_eq!(kept.take(SIZE), Some(last));
        assert_eq!(kept.take(SIZE), Some(first));
        assert_eq!((kept.take(SIZE), kept.bytes), (None, 0));
        for address in [first, last] {
            kept.keep(Block { address, size: SIZE });
        }
        kept.shrink(0);
        assert!(kept.blocks().is_empty());
    }

    #[test]
    fn new_blocks_replace_those_that_have_waited_longest() {
        let mut kept = Kept::new(SLACK);
        let blocks: Vec<Block> = (0..8).map(|i| made(&mut kept, SIZE + i)).collect();
        let most = kept.in_use;
        for b in blocks {
            kept.keep(b);
        }
        assert_eq!((kept.in_use, kept.bytes, kept.most_in_use), (0, most, most));

        // Two fit what may be kept beyond the most that was in use; for each one after these an old
        // one goes.
        let fit = SLACK / SIZE;
        let new: Vec<Block> = (0..fit + 3).map(|i| made(&mut kept, SIZE + 100 + i)).collect();
        assert!(kept.in_use + kept.bytes <= most + SLACK);
        let left: Vec<usize> = kept.blocks().iter().map(|b| b.size - SIZE).collect();
        assert!(left == [3, 4, 5, 6, 7] || left == [4, 5, 6, 7], "{left:?}");
        for b in new {
            kept.keep(b);
        }
        kept.shrink(0);
        assert_eq!((kept.bytes, kept.in_use), (0, 0));
    }

    #[test]
    fn blocks_hold_what_is_written_and_zeroed_ones_are_zero() {
        let (size, larger) = (SIZE + 4096, 2 * SIZE);
        let layout = |size: usize| Layout::array::<f32>(size / size_of::<f32>()).unwrap();
        let whole = |block: *mut u8| block.addr().is_multiple_of(ALIGN);
        // SAFETY: each block is used within its size, and freed with the size that it has.
        unsafe {
            let block = Memory.alloc(layout(size));
            assert!(whole(block));
            block.write_bytes(7, size);
            Memory.dealloc(block, layout(size));
            let zeroed = Memory.alloc_zeroed(layout(size));
            assert_eq!(zeroed, block, "the block that has just been freed");
            assert!((0..size).all(|i| zeroed.add(i).read() == 0));
            zeroed.write_bytes(9, size);
            let grown = Memory.realloc(zeroed, layout(size), larger);
            assert!(whole(grown) && (0..size).all(|i| grown.add(i).read() == 9));
            Memory.dealloc(grown, layout(larger));
            let again = Memory.alloc(layout(larger));
            assert_eq!(again, grown);
            // A large block becomes a small one, which the system has, and a small one a large one.
            let small = Memory.realloc(again, layout(larger), 64);
            assert!((0..64).all(|i| small.add(i).read() == 9));
            let grown = Memory.realloc(small, layout(64), size);
            assert!(whole(grown) && (0..64).all(|i| grown.add(i).read() == 9));
            Memory.dealloc(grown, layout(size));
            Memory.dealloc(Memory.alloc(layout(size)), layout(size));
        }
        assert!(kept(size).bytes >= size);
        release_cached();
        let kept = kept(size);
        assert_eq!((kept.bytes, kept.in_use), (0, 0));
    }
}
