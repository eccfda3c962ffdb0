//! Matrix products through cuBLASLt: D = factor · op(A) op(B) (+ C) (+ bias), all matrices by rows,
//! one or many at once.
//!
//! In: pointers to matrices of one card. Out: D, written or added to.
//!
//! Operands are f32, bf16 or f16, the result of their type or f32; sums are f32, and f32 operands
//! are not shortened to TF32 unless the card is told to ([`card::allow_tf32`]). Where a sum is split
//! its parts are f32 too: an algorithm may not round them to a shorter D on the way. The descriptors
//! and the algorithm of a shape are made once and kept.
//!
//! cuBLAS counts by columns: what is [m, n] by rows is [n, m] by columns, and Dᵀ = Bᵀ Aᵀ. So its
//! first operand is our B.

use crate::cuda::kinds::{self, Kind};
use crate::cuda::{Pointer, card, workspace};
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Result, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::from_ref;

/// Memory that an algorithm may use beside its operands.
const WORKSPACE: usize = 32 << 20;
/// What addresses of whole tensors are multiples of.
const ALIGNMENT: u64 = 256;

/// One product's sizes and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Product {
    /// Rows and columns of D, and the length of the sums.
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Whether A is stored as [k, m] instead of [m, k].
    pub(super) a_transposed: bool,
    /// Whether B is stored as [n, k] instead of [k, n].
    pub(super) b_transposed: bool,
    /// The type of A and B.
    pub(super) operands: DType,
    /// The type of D.
    pub(super) result: DType,
    /// Values from one row of A, B and D to the next, as they are stored; 0 where the rows lie one
    /// behind the other.
    pub(super) row_steps: [usize; 3],
    /// How many there are, and where.
    pub(super) batch: Batch,
}

/// Products of one shape: how many, and how many values lie between two of A, B and D; 0 where all
/// have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub(super) n: usize,
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) d: usize,
}

impl Product {
    /// One of [m, n, k] with neither operand transposed, all of this type.
    pub(super) fn of(dtype: DType, [m, n, k]: [usize; 3]) -> Self {
        Self {
            m,
            n,
            k,
            a_transposed: false,
            b_transposed: false,
            operands: dtype,
            result: dtype,
            row_steps: [0; 3],
            batch: Batch { n: 1, a: 0, b: 0, d: 0 },
        }
    }
}

/// What is added to a product; all of it is of D's type.
#[derive(Clone, Copy, Default)]
pub(super) struct Plus<'t> {
    /// C, a matrix like D.
    pub(super) matrix: Option<Pointer<'t>>,
    /// n values for each row.
    pub(super) bias: Option<Pointer<'t>>,
}

impl<'t> Plus<'t> {
    /// D is only written.
    pub(super) const NOTHING: Self = Self { matrix: None, bias: None };

    /// This matrix, which may be D as it was before.
    pub(super) fn matrix(c: Pointer<'t>) -> Self {
        Self { matrix: Some(c), bias: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    biased: bool,
    tf32: bool,
    alignment: u64,
}

/// The descriptors of one shape and the algorithm for it. They are kept until the program ends.
#[derive(Clone, Copy)]
struct Ready {
    product: sys::cublasLtMatmulDesc_t,
    /// Of cuBLAS' first and second operand and of the result.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// Whether a bias is added with the product.
    biased: bool,
}

#[derive(Default)]
struct Known {
    handle: Option<sys::cublasLtHandle_t>,
    shapes: HashMap<Key, Ready>,
}

thread_local! {
    static KNOWN: RefCell<HashMap<DeviceId, Known>> = RefCell::default();
}

/// Computes D. Returns whether a bias, if there is one, is still to be added: for a few odd shapes
/// cuBLASLt has no algorithm that does.
///
/// # Safety
///
/// The pointers must stand for m k values (A), k n (B), m n (D and C) and n (the bias) of the types
/// that the product says, of each product of the batch.
#[expect(unsafe_code, reason = "a call of cuBLASLt")]
pub(super) unsafe fn product(
    device: &CudaDevice,
    of: Product,
    [a, b, d]: [Pointer<'_>; 3],
    factor: f32,
    plus: Plus<'_>,
) -> Result<bool> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    let bias = plus.bias.map(Pointer::address);
    let c = plus.matrix.unwrap_or(d);
    let key = Key {
        product: of,
        biased: bias.is_some(),
        tf32: card::tf32(),
        alignment: alignment(&[a.address(), b.address(), c.address(), d.address(), bias.unwrap_or(0)], &of),
    };
    let scratch = workspace(device, WORKSPACE)?;
    KNOWN.with_borrow_mut(|known| {
        let Known { handle, shapes } = known.entry(device.id()).or_default();
        let handle = match *handle {
            Some(handle) => handle,
            None => *handle.insert(lt(result::create_handle())?),
        };
        let ready = match shapes.get(&key) {
            Some(ready) => *ready,
            None => *shapes.entry(key).or_insert(lt(ready(handle, &key, bias))?),
        };
        if let Some(bias) = bias.filter(|_| ready.biased) {
            let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            lt(set(ready.product, attribute, &bias))?;
        }
        // With 0 C is not read.
        let beta = if plus.matrix.is_some() { 1.0f32 } else { 0.0 };
        let [a, b, c] = [a, b, c].map(|operand| operand.address() as *const c_void);
        let d = d.address() as *mut c_void;
        let [first, second, whole] = ready.layouts;
        kinds::launched(device, Kind::Product, || {
            // SAFETY: descriptors and algorithm were made for each other and live on; the operands are
            // as the caller promises; the workspace has as many bytes as is said; scale factors are
            // f32 in host memory, as the descriptor's scale type.
            lt(unsafe {
                result::matmul(
                    handle,
                    ready.product,
                    from_ref(&factor).cast(),
                    from_ref(&beta).cast(),
                    b,
                    first,
                    a,
                    second,
                    c,
                    whole,
                    d,
                    whole,
                    &raw const ready.algorithm,
                    scratch as *mut c_void,
                    WORKSPACE,
                    stream.cu_stream().cast(),
                )
            })
        })?;
        Ok(bias.is_some() && !ready.biased)
    })
}

/// The same for all products of a batch: in one call or, where cuBLASLt has none for the shape, in
/// one each. What is added is a matrix like D, if anything.
///
/// # Safety
///
/// As of [`product`].
#[expect(unsafe_code, reason = "a product of device memory")]
pub(super) unsafe fn products(
    device: &CudaDevice,
    of: Product,
    [a, b, d]: [Pointer<'_>; 3],
    factor: f32,
    plus: Option<Pointer<'_>>,
) -> Result<()> {
    let plus_all = Plus { matrix: plus, bias: None };
    // SAFETY: as promised by the caller.
    let all = unsafe { product(device, of, [a, b, d], factor, plus_all) };
    if all.is_ok() || of.batch.n == 1 {
        return all.map(|_| ());
    }
    let one = Product { batch: Batch { n: 1, a: 0, b: 0, d: 0 }, ..of };
    let (operand, result) = (of.operands.size_in_bytes(), of.result.size_in_bytes());
    for i in 0..of.batch.n {
        let at =
            [a.behind(i * of.batch.a * operand), b.behind(i * of.batch.b * operand), d.behind(i * of.batch.d * result)];
        let plus = Plus { matrix: plus.map(|c| c.behind(i * of.batch.d * result)), bias: None };
        // SAFETY: each of them lies where the batch has it.
        unsafe { product(device, one, at, factor, plus) }?;
    }
    Ok(())
}

/// What the addresses of all matrices and of their rows are multiples of.
fn alignment(addresses: &[u64], of: &Product) -> u64 {
    let Batch { a, b, d, .. } = of.batch;
    let (operands, result) = (of.operands.size_in_bytes(), of.result.size_in_bytes());
    let [rows_a, rows_b, rows_d] = of.row_steps;
    let steps = [(a | rows_a) * operands, (b | rows_b) * operands, (d | rows_d) * result].map(|bytes| bytes as u64);
    let all = addresses.iter().chain(&steps).fold(ALIGNMENT, |all, address| all | address);
    1 << all.trailing_zeros()
}

/// Makes the descriptors and asks for the algorithm; without the bias where there is none with it.
fn ready(handle: sys::cublasLtHandle_t, key: &Key, bias: Option<u64>) -> std::result::Result<Ready, CublasError> {
    match described(handle, key, bias) {
        Err(_) if bias.is_some() => described(handle, key, None),
        other => other,
    }
}

#[expect(unsafe_code, reason = "calls of cuBLASLt")]
fn described(handle: sys::cublasLtHandle_t, key: &Key, bias: Option<u64>) -> std::result::Result<Ready, CublasError> {
    use sys::cublasLtMatmulDescAttributes_t as Is;
    use sys::cublasLtMatmulPreferenceAttributes_t as Wants;
    let Product { m, n, k, a_transposed, b_transposed, operands, result: type_of_d, row_steps, batch } = key.product;
    let compute = if key.tf32 && operands == DType::F32 {
        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
    } else {
        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
    };
    let product = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?;
    let turned = |turned: bool| i32::from(turned);
    set(product, Is::CUBLASLT_MATMUL_DESC_TRANSA, &turned(b_transposed))?;
    set(product, Is::CUBLASLT_MATMUL_DESC_TRANSB, &turned(a_transposed))?;
    if let Some(bias) = bias {
        set(product, Is::CUBLASLT_MATMUL_DESC_EPILOGUE, &sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS)?;
        set(product, Is::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
    }
    // Rows by rows of `columns` values are columns of that length.
    let layout = |dtype: DType, [rows, columns]: [usize; 2], row_step: usize, step: usize| {
        let row_step = if row_step == 0 { columns } else { row_step };
        let layout = result::create_matrix_layout(number(dtype), columns as u64, rows as u64, row_step as i64)?;
        if batch.n > 1 {
            many(layout, batch.n as i32, step as i64)?;
        }
        Ok(layout)
    };
    let first = layout(operands, if b_transposed { [n, k] } else { [k, n] }, row_steps[1], batch.b)?;
    let second = layout(operands, if a_transposed { [k, m] } else { [m, k] }, row_steps[0], batch.a)?;
    let whole = layout(type_of_d, [m, n], row_steps[2], batch.d)?;
    let preference = result::create_matmul_pref()?;
    // SAFETY: the attributes' values are of the types that cuBLASLt documents, 64 and 32 bits, and
    // the preference lives until it is destroyed below.
    let found = unsafe {
        let want = |attribute, value: *const c_void, bytes| {
            result::set_matmul_pref_attribute(preference, attribute, value, bytes)
        };
        want(Wants::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, from_ref(&WORKSPACE).cast(), size_of::<usize>())?;
        if type_of_d != DType::F32 {
            let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
            let attribute = Wants::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
            want(attribute, from_ref(&schemes).cast(), size_of::<u32>())?;
        }
        let alignment = key.alignment as u32;
        for operand in [
            Wants::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Wants::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Wants::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Wants::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            want(operand, from_ref(&alignment).cast(), size_of::<u32>())?;
        }
        let found = result::get_matmul_algo_heuristic(handle, product, first, second, whole, whole, preference);
        result::destroy_matmul_pref(preference)?;
        found?
    };
    Ok(Ready { product, layouts: [first, second, whole], algorithm: found.algo, biased: bias.is_some() })
}

/// Lets a layout stand for so many matrices, with so many values from one to the next.
#[expect(unsafe_code, reason = "calls of cuBLASLt")]
fn many(layout: sys::cublasLtMatrixLayout_t, n: i32, step: i64) -> std::result::Result<(), CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as Is;
    // SAFETY: the layout lives on; the values, which are copied, have the 32 and 64 bits that
    // cuBLASLt documents.
    unsafe {
        let count = Is::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
        result::set_matrix_layout_attribute(layout, count, from_ref(&n).cast(), size_of::<i32>())?;
        let offset = Is::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
        result::set_matrix_layout_attribute(layout, offset, from_ref(&step).cast(), size_of::<i64>())
    }
}

#[expect(unsafe_code, reason = "a call of cuBLASLt")]
fn set<T>(
    product: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> std::result::Result<(), CublasError> {
    // SAFETY: the descriptor lives on, and the value, which is copied, has the size that is said:
    // all calls of this are above, with 32 bits for transpositions and the epilogue and 64 for the
    // bias' address, as cuBLASLt documents.
    unsafe { result::set_matmul_desc_attribute(product, attribute, from_ref(value).cast(), size_of::<T>()) }
}

fn number(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        DType::F16 => sys::cudaDataType::CUDA_R_16F,
        _ => sys::cudaDataType::CUDA_R_32F,
    }
}

fn lt<T>(of: std::result::Result<T, CublasError>) -> Result<T> {
    match of {
        Ok(made) => Ok(made),
        Err(e) => bail!("cuBLASLt: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::cuda::product::{Batch, Product, alignment};
    use candle_core::DType;

    #[test]
    fn the_alignment_is_that_of_the_least_aligned_matrix() {
        let one = Product::of(DType::BF16, [3, 5, 7]);
        assert_eq!(alignment(&[512, 1024, 256, 256, 0], &one), 256);
        assert_eq!(alignment(&[512, 1024 + 16, 256, 64], &one), 16);
        assert_eq!(alignment(&[6, 0, 0, 0], &one), 2);
        // The second one of a batch is 3 * 4 values of two bytes behind the first.
        let many = Product { batch: Batch { n: 2, a: 0, b: 12, d: 64 }, ..one };
        assert_eq!(alignment(&[512, 1024, 256, 0], &many), 8);
        // Rows of D are ten values apart.
        let apart = Product { row_steps: [16, 0, 10], ..one };
        assert_eq!(alignment(&[512, 1024, 256, 0], &apart), 4);
    }
}
