//! The program's allocator under a whole program: more freed blocks than it keeps, of sizes around its limits, from several
//! threads.

use std::thread;
use tunelab_ops::memory::{Memory, release_cached};

#[global_allocator]
static MEMORY: Memory = Memory;

/// Blocks of so many bytes, each filled with a number of its own.
fn filled(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| vec![i as u8 | 1; bytes]).collect()
}

#[test]
fn many_freed_blocks_are_kept_or_given_back() {
    for bytes in [(64 << 10) - 1, 64 << 10, 100_000, 1 << 20] {
        // Freed all at once, twice, so that the second time they are found again.
        for _ in 0..2 {
            let blocks = filled(5000_usize.min((1 << 30) / bytes), bytes);
            assert!(
                blocks.iter().enumerate().all(|(i, block)| block[0] == i as u8 | 1 && block[bytes - 1] == i as u8 | 1)
            );
        }
        // Zeros are zeros, whoever had the block before.
        assert!((0..100).all(|_| vec![0_u8; bytes].iter().all(|byte| *byte == 0)));
    }
    release_cached();
}

#[test]
fn threads_share_what_is_kept() {
    thread::scope(|scope| {
        for n in 1..=4 {
            scope.spawn(move || {
                for round in 0..200 {
                    let mut block = filled(3, (60 << 10) + n * 5000 + round % 7 * 4096).pop().unwrap();
                    // It grows from a small block to a large one.
                    for _ in 0..5 {
                        let (length, last) = (block.len(), block[block.len() - 1]);
                        block.resize(2 * length, last);
                        assert!(block[length - 1] == last && block[2 * length - 1] == last);
                    }
                }
            });
        }
    });
}
