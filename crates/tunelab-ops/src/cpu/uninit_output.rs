//! Results in memory that nothing clears before, filled by all threads and the vector units.
//!
//! In: how many values, and tasks that write them from the front on. Out: a `Vec` of them. That all
//! were written is counted, or promised by who calls what is unsafe here.
#![expect(
    unsafe_code,
    reason = "memory of a result is handed out before anything has been written to it; loops over slices that have been measured check no value's place"
)]

use crate::cpu::disjoint_output::DisjointOutput;
use crate::simd::vectorize;
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::{MaybeUninit, take};

/// Values that one task works on at least: enough to be worth a thread.
pub(crate) const TASK: usize = 1 << 14;

/// `n` values that `write` writes. Nothing clears them before: one thread would, while the others
/// wait.
///
/// # Safety
/// `write` writes all of them.
pub(crate) unsafe fn fill_uninit(n: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(n);
    let room = &mut values.spare_capacity_mut()[..n];
    if cfg!(test) {
        room.fill(MaybeUninit::new(f32::NAN));
    }
    write(room);
    // SAFETY: there is room for n values, and `write` has written all of them, says the caller.
    unsafe { values.set_len(n) };
    values
}

/// Three results of so many values each, that `write` writes.
///
/// # Safety
/// `write` writes all of all three.
pub(crate) unsafe fn fill_three_uninit(n: [usize; 3], write: impl FnOnce([DisjointOutput; 3])) -> [Vec<f32>; 3] {
    let [mut second, mut third] = [const { Vec::new() }; 2];
    // SAFETY: all of all three are written, says the caller.
    let first = unsafe {
        fill_uninit(n[0], |a| {
            second = fill_uninit(n[1], |b| third = fill_uninit(n[2], |c| write([a.into(), b.into(), c.into()])));
        })
    };
    [first, second, third]
}

/// `n` values in parts of `part`, shared out over all threads: `task` gets a part's number, and
/// room for the part.
///
/// # Panics
/// If a task does not write all of its part.
pub(crate) fn par_fill(n: usize, part: usize, task: impl Fn(usize, UninitOutput) + Sync + Send) -> Vec<f32> {
    par_fill_with(n, part, task).0
}

/// The same, and what each task has returned.
pub(crate) fn par_fill_with<T: Send>(
    n: usize,
    part: usize,
    task: impl Fn(usize, UninitOutput) -> T + Sync + Send,
) -> (Vec<f32>, Vec<T>) {
    let mut returned = Vec::new();
    let write = |all: &mut [MaybeUninit<f32>]| {
        let parts = all.par_chunks_mut(part).with_min_len(TASK / part.max(1)).enumerate();
        let write = |(i, part): (usize, &mut [MaybeUninit<f32>])| {
            let (places, written) = (part.len(), Cell::new(0));
            let returned = task(i, UninitOutput { places: part, written: &written });
            assert_eq!(written.get(), places, "a part of a result was not written");
            returned
        };
        parts.map(write).collect_into_vec(&mut returned);
    };
    // SAFETY: the parts are all there is, and as many values as each has places were written, no
    // place twice.
    (unsafe { fill_uninit(n, write) }, returned)
}

/// What `f` makes of each value. If `f` is more than a few operations it must be marked
/// `#[inline(always)]`; see [`vectorize`].
#[inline(always)]
pub(crate) fn par_map<T: Copy + Sync>(values: &[T], f: impl Fn(T) -> f32 + Sync) -> Vec<f32> {
    par_fill(values.len(), TASK, |i, mut out| {
        let values = chunk(values, i, TASK);
        vectorize(
            #[inline(always)]
            || {
                out.write_from(
                    [values],
                    #[inline(always)]
                    |[value]| f(value),
                );
            },
        );
    })
}

/// Part `i` of values in parts of `part`.
pub(crate) fn chunk<T>(values: &[T], i: usize, part: usize) -> &[T] {
    &values[i * part..values.len().min((i + 1) * part)]
}

/// Room for values that have not been written yet, which is filled from the front on.
pub(crate) struct UninitOutput<'a> {
    places: &'a mut [MaybeUninit<f32>],
    /// How many values have been written to the task's part, of which this is the room or a piece
    /// of it.
    written: &'a Cell<usize>,
}

impl<'a> UninitOutput<'a> {
    /// Takes the first `n` places as a room of their own.
    pub(crate) fn front(&mut self, n: usize) -> Self {
        let (front, rest) = take(&mut self.places).split_at_mut(n);
        self.places = rest;
        Self { places: front, written: self.written }
    }

    /// `n` of its places have been written.
    fn count(&self, n: usize) {
        self.written.update(|written| written + n);
    }

    /// Writes the next `n` values, of which `value` gives the i-th, and returns them. In a
    /// vectorize loop `value` must be marked `#[inline(always)]`.
    #[inline(always)]
    pub(crate) fn write(&mut self, n: usize, mut value: impl FnMut(usize) -> f32) -> &'a mut [f32] {
        let places = self.front(n).places;
        for (i, place) in places.iter_mut().enumerate() {
            place.write(value(i));
        }
        self.count(n);
        // SAFETY: each has just been written.
        unsafe { places.assume_init_mut() }
    }

    /// Writes as many values as each of these slices has: what `value` makes of those of all slices
    /// at one place. In a vectorize loop `value` must be marked `#[inline(always)]`; nothing is
    /// checked at each place, which would hold the loop to one value at a time.
    #[inline(always)]
    pub(crate) fn write_from<T: Copy, const N: usize>(
        &mut self,
        from: [&[T]; N],
        mut value: impl FnMut([T; N]) -> f32,
    ) -> &'a mut [f32] {
        let n = common_length(&from);
        self.write(
            n,
            #[inline(always)]
            // SAFETY: a room asks for the values 0 to n.
            |i| value(unsafe { all_at(&from, i) }),
        )
    }

    /// The same to two rooms at once.
    #[inline(always)]
    pub(crate) fn write_both_from<T: Copy, const N: usize>(
        [a, b]: [&mut Self; 2],
        from: [&[T]; N],
        mut values: impl FnMut([T; N]) -> [f32; 2],
    ) {
        let n = common_length(&from);
        let [of_a, of_b] = [a.front(n), b.front(n)].map(|room| room.places);
        for (i, (a, b)) in of_a.iter_mut().zip(of_b).enumerate() {
            // SAFETY: both rooms have n places.
            let values = values(unsafe { all_at(&from, i) });
            a.write(values[0]);
            b.write(values[1]);
        }
        a.count(n);
        b.count(n);
    }

    /// Writes these values.
    pub(crate) fn copy(&mut self, values: &[f32]) {
        self.front(values.len()).places.write_copy_of_slice(values);
        self.count(values.len());
    }
}

/// The length of all of these slices.
#[inline(always)]
fn common_length<T, const N: usize>(slices: &[&[T]; N]) -> usize {
    let n = slices[0].len();
    assert!(slices.iter().all(|slice| slice.len() == n), "slices of one length are needed");
    n
}

/// The values of all slices at one place.
///
/// # Safety
/// All slices have a value there.
#[inline(always)]
unsafe fn all_at<T: Copy, const N: usize>(slices: &[&[T]; N], i: usize) -> [T; N] {
    std::array::from_fn(
        #[inline(always)]
        // SAFETY: there is one, says the caller.
        |slice| unsafe { *slices[slice].get_unchecked(i) },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_in_pieces() {
        let y = par_fill(10, 4, |i, mut y| {
            let n = if i == 2 { 2 } else { 4 };
            let mut half = y.front(n / 2);
            y.write(n - n / 2, |j| (10 * i + j) as f32);
            half.copy(&[0.5, 1.5][..n / 2]);
        });
        assert_eq!(y, [0.5, 1.5, 0.0, 1.0, 0.5, 1.5, 10.0, 11.0, 0.5, 20.0]);
    }

    #[test]
    #[should_panic(expected = "slices of one length")]
    fn values_are_written_from_slices_of_one_length() {
        par_fill(3, 3, |_, mut y| {
            y.write_from([&[1.0, 2.0, 3.0][..], &[1.0, 2.0]], |[a, b]| a + b);
        });
    }

    #[test]
    #[should_panic(expected = "slices of one length")]
    fn both_rooms_are_written_from_slices_of_one_length() {
        par_fill(6, 6, |_, mut y| {
            let mut first = y.front(3);
            UninitOutput::write_both_from([&mut first, &mut y], [&[1.0, 2.0, 3.0][..], &[1.0, 2.0]], |[a, b]| [a, b]);
        });
    }

    #[test]
    #[should_panic(expected = "a part of a result was not written")]
    fn a_part_that_is_not_written_is_noticed() {
        par_fill(10, 4, |_, mut y| {
            y.write(1, |_| 1.0);
        });
    }
}
