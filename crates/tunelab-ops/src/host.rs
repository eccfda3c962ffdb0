//! Reading tensors in host memory as slices, making results, and splitting loops over rayon's threads and the vector units.
#![expect(
    unsafe_code,
    reason = "memory of a result is handed out before anything has been written to it; loops over slices that have been measured check no value's place"
)]

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;
use rayon::prelude::*;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, take};
use std::ops::Deref;

/// Whether this tensor is f32 in host memory, where the operations have their own bodies.
pub(super) fn is_host_f32(t: &Tensor) -> bool {
    t.dtype() == candle_core::DType::F32 && t.device().is_cpu()
}

/// The values of a contiguous layout over an f32 host storage.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("operand is not contiguous") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The values of a contiguous tensor in host memory, borrowed for as long as this lives.
pub(super) struct Values<'a, T = f32> {
    storage: candle_core::StorageRef<'a>,
    start: usize,
    end: usize,
    of: PhantomData<T>,
}

/// Borrows a contiguous f32 host tensor's values.
pub(super) fn values(t: &Tensor) -> Result<Values<'_>> {
    values_of(t)
}

/// Borrows a contiguous host tensor's values of type T.
pub(super) fn values_of<T: WithDType>(t: &Tensor) -> Result<Values<'_, T>> {
    let (storage, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("operand is not contiguous") };
    match &*storage {
        Storage::Cpu(cpu) => {
            cpu.as_slice::<T>()?;
        }
        _ => bail!("operand is not in host memory"),
    }
    Ok(Values { storage, start, end, of: PhantomData })
}

impl<T: WithDType> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => cpu.as_slice().map_or(&[], |data| &data[self.start..self.end]),
            _ => &[],
        }
    }
}

/// A host tensor from values.
pub(super) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Values that one task works on at least: enough to be worth a thread.
pub(super) const TASK: usize = 1 << 14;

/// `n` values that `write` writes. Nothing clears them before: one thread would, while the others wait.
///
/// # Safety
/// `write` writes all of them.
pub(super) unsafe fn made(n: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(n);
    let room = &mut values.spare_capacity_mut()[..n];
    if cfg!(test) {
        room.fill(MaybeUninit::new(f32::NAN));
    }
    write(room);
    // SAFETY: there is room for n values, and that they have been written is the caller's word.
    unsafe { values.set_len(n) };
    values
}

/// `n` values in parts of `part`, shared out over all threads: `task` gets a part's number, and room for the part.
///
/// # Panics
/// If a task does not write all of its part.
pub(super) fn parts(n: usize, part: usize, task: impl Fn(usize, Room) + Sync + Send) -> Vec<f32> {
    parts_and(n, part, task).0
}

/// The same, and what each task has returned.
pub(super) fn parts_and<T: Send>(
    n: usize,
    part: usize,
    task: impl Fn(usize, Room) -> T + Sync + Send,
) -> (Vec<f32>, Vec<T>) {
    let mut returned = Vec::new();
    let write = |all: &mut [MaybeUninit<f32>]| {
        let parts = all.par_chunks_mut(part).with_min_len(TASK / part.max(1)).enumerate();
        let write = |(i, part): (usize, &mut [MaybeUninit<f32>])| {
            let (places, written) = (part.len(), Cell::new(0));
            let returned = task(i, Room { places: part, written: &written });
            assert_eq!(written.get(), places, "a part of a result was not written");
            returned
        };
        parts.map(write).collect_into_vec(&mut returned);
    };
    // SAFETY: the parts are all there is, and as many values as each has places were written, no place twice.
    (unsafe { made(n, write) }, returned)
}

/// A host tensor of bf16 in f32.
pub(super) fn widened(t: &Tensor) -> Result<Tensor> {
    let wide = each(&values_of::<bf16>(t)?, |value| f32::from_bits(u32::from(value.to_bits()) << 16));
    tensor(wide, t.dims())
}

/// What `f` makes of each value. If `f` is more than a few operations it must be marked `#[inline(always)]`; see [`vectorised`].
#[inline(always)]
pub(super) fn each<T: Copy + Sync>(values: &[T], f: impl Fn(T) -> f32 + Sync) -> Vec<f32> {
    parts(values.len(), TASK, |i, mut out| {
        let values = part(values, i, TASK);
        vectorised(
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
pub(super) fn part<T>(values: &[T], i: usize, part: usize) -> &[T] {
    &values[i * part..values.len().min((i + 1) * part)]
}

/// Room for values that have not been written yet, which is filled from the front on.
pub(super) struct Room<'a> {
    places: &'a mut [MaybeUninit<f32>],
    /// How many values have been written to the task's part, of which this is the room or a piece of it.
    written: &'a Cell<usize>,
}

impl<'a> Room<'a> {
    /// Takes the first `n` places as a room of their own.
    pub(super) fn front(&mut self, n: usize) -> Self {
        let (front, rest) = take(&mut self.places).split_at_mut(n);
        self.places = rest;
        Self { places: front, written: self.written }
    }

    /// `n` of its places have been written.
    fn count(&self, n: usize) {
        self.written.update(|written| written + n);
    }

    /// Writes the next `n` values, of which `value` gives the i-th, and returns them. In a vectorised loop `value` must be
    /// marked `#[inline(always)]`.
    #[inline(always)]
    pub(super) fn write(&mut self, n: usize, mut value: impl FnMut(usize) -> f32) -> &'a mut [f32] {
        let places = self.front(n).places;
        for (i, place) in places.iter_mut().enumerate() {
            place.write(value(i));
        }
        self.count(n);
        // SAFETY: each has just been written.
        unsafe { places.assume_init_mut() }
    }

    /// Writes as many values as each of these slices has: what `value` makes of those of all slices at one place. In a
    /// vectorised loop `value` must be marked `#[inline(always)]`; nothing is checked at each place, which would hold the loop to
    /// one value at a time.
    #[inline(always)]
    pub(super) fn write_from<T: Copy, const N: usize>(
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
    pub(super) fn write_both_from<T: Copy, const N: usize>(
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
    pub(super) fn copy(&mut self, values: &[f32]) {
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

/// A buffer for intermediate values that keeps its memory from call to call: an operation on a picture needs as much as the
/// picture's patches, and to have it zeroed by the system each time costs as much as to use it.
#[derive(Default)]
pub(super) struct Scratch(Vec<f32>);

/// Values in a cache line.
const LINE: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// One that an earlier operation of this thread has given back, or an empty one.
    pub(super) fn new() -> Self {
        Self(SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default()))
    }

    /// The first `n` values, from the beginning of a cache line on; what stands in them is left over from whatever was there.
    pub(super) fn first(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n + LINE {
            self.0.resize(n + LINE, 0.0);
        }
        let first = self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        &mut self.0[first..first + n]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // While a thread ends its spare buffers may be gone already; then this one goes too.
        let _ = SPARE.try_with(|spare| spare.borrow_mut().push(std::mem::take(&mut self.0)));
    }
}

/// Runs a loop with the widest vector instructions that this processor has. The loop must be written so that the
/// compiler can vectorise it, in a closure marked `#[inline(always)]`: it is compiled once for each kind of processor, and
/// what is not inlined there is compiled for the least of them. Results are the same on every processor because no operation
/// is contracted.
#[inline(always)]
pub(super) fn vectorised<F: FnMut()>(f: F) {
    struct Body<F>(F);
    impl<F: FnMut()> pulp::NullaryFnOnce for Body<F> {
        type Output = ();
        #[inline(always)]
        fn call(mut self) {
            (self.0)();
        }
    }
    pulp::Arch::new().dispatch(Body(f));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_in_pieces() {
        let y = parts(10, 4, |i, mut y| {
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
        parts(3, 3, |_, mut y| {
            y.write_from([&[1.0, 2.0, 3.0][..], &[1.0, 2.0]], |[a, b]| a + b);
        });
    }

    #[test]
    #[should_panic(expected = "slices of one length")]
    fn both_rooms_are_written_from_slices_of_one_length() {
        parts(6, 6, |_, mut y| {
            let mut first = y.front(3);
            Room::write_both_from([&mut first, &mut y], [&[1.0, 2.0, 3.0][..], &[1.0, 2.0]], |[a, b]| [a, b]);
        });
    }

    #[test]
    #[should_panic(expected = "a part of a result was not written")]
    fn a_part_that_is_not_written_is_noticed() {
        parts(10, 4, |_, mut y| {
            y.write(1, |_| 1.0);
        });
    }
}

#[cfg(test)]
pub(super) mod checks {
    //! What the tests of several operations need.

    /// Numbers from -1 to 1.
    pub(crate) fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Both are the same but for rounding, relative to the largest value.
    #[track_caller]
    pub(crate) fn close(a: &[f32], b: &[f32], what: &str) {
        assert_eq!(a.len(), b.len(), "{what}");
        let largest = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5 * largest && a.iter().all(|a| a.is_finite()), "{what}: {worst:e} of {largest}");
    }
}
