//! One matrix product on slices: `dst = a · b`, or `dst += a · b`, f32, row-major results.
//!
//! In: strided views of slices. Out: the destination, written or added to.
//!
//! The work is the `gemm` crate's (packed, AVX2 and AVX-512 kernels chosen at run time). Each
//! element of the result is summed over `k` in blocks whose size depends on the shape alone, so it
//! is the same for any number of threads.
#![expect(unsafe_code, reason = "the only foreign kernel that is called by pointer")]

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) is at `offset + i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix whose rows are `row` elements apart.
    pub(crate) fn rows(data: &'a [f32], row: usize) -> Self {
        Self { data, row, col: 1 }
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// Whether every element of a `rows` x `cols` matrix lies inside the slice.
    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// What becomes of the old content of the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dst {
    /// `dst = scale * a · b`
    Write,
    /// `dst += scale * a · b`
    Add,
}

/// Who computes the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread alone (the caller is parallel already).
    One,
    /// All threads of rayon's pool.
    All,
}

/// `dst (+)= scale * a · b`, with `dst` m x n row-major (rows `dst_row` apart), `a` m x k and `b` k
/// x n.
///
/// # Panics
/// If a matrix does not lie inside its slice, which is a fault of the calling operation.
#[expect(clippy::too_many_arguments, reason = "a product of strided matrices has as many")]
pub(crate) fn gemm(
    dst: &mut [f32],
    dst_row: usize,
    (m, n, k): (usize, usize, usize),
    a: Mat,
    b: Mat,
    scale: f32,
    how: Dst,
    threads: Threads,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_row + n <= dst.len() && (n <= dst_row || m == 1), "gemm: destination too small");
    assert!(a.holds(m, k) && b.holds(k, n), "gemm: operand too small");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: the asserts above keep every access of the three matrices inside its slice; `dst` is
    // borrowed mutably, so it does not overlap the operands, and its rows do not overlap because
    // they are at least `n` apart.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_row as isize,
            how == Dst::Add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::checks::values;

    #[test]
    fn equals_the_definition_with_strides_and_transposes() {
        let (m, n, k) = (37, 29, 53);
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        let mut dst = values(m * (n + 3), 3);
        let before = dst.clone();
        gemm(&mut dst, n + 3, (m, n, k), Mat::rows(&a, k), Mat::rows(&b, k).t(), 0.7, Dst::Add, Threads::All);
        for i in 0..m {
            for j in 0..n + 3 {
                let sum: f64 = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[j.min(n - 1) * k + l])).sum();
                let old = before[i * (n + 3) + j];
                let want = if j < n { f64::from(old) + 0.7 * sum } else { f64::from(old) };
                assert!((f64::from(dst[i * (n + 3) + j]) - want).abs() < 1e-5, "({i}, {j})");
            }
        }
    }

    #[test]
    fn does_not_depend_on_the_number_of_threads() {
        let (m, n, k) = (130, 257, 1153);
        let (a, b) = (values(m * k, 4), values(n * k, 5));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut dst = vec![0.0; m * n];
            pool.install(|| {
                gemm(&mut dst, n, (m, n, k), Mat::rows(&a, k), Mat::rows(&b, k).t(), 1.0, Dst::Write, Threads::All);
            });
            dst
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }
}
