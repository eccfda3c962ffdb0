//! The units that sum products of pairs of bf16: tile registers, or vectors.
//!
//! In: the witnesses of [`crate::simd`]. Out: [`Unit`], the faster one there is, and
//! [`ConfiguredUnit`], made ready on this thread.
#![expect(unsafe_code, reason = "tile instructions exist in assembly only")]

use crate::simd::{Amx, Avx512, Avx512Bf16};
use std::arch::asm;
use std::marker::PhantomData;

/// What sums products of pairs of bf16.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Tile registers.
    Amx(Amx),
    /// Vectors.
    Avx512Bf16(Avx512Bf16),
}

impl Unit {
    /// The faster one that the set of instructions in use has.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        Amx::detect().map(Self::Amx).or_else(|| Avx512Bf16::detect().map(Self::Avx512Bf16))
    }

    /// The vector instructions that it has besides.
    #[inline]
    pub(crate) fn avx512_bf16(self) -> Avx512Bf16 {
        match self {
            Self::Amx(amx) => amx.avx512_bf16(),
            Self::Avx512Bf16(vectors) => vectors,
        }
    }

    /// The vector instructions in f32 that it has besides.
    #[inline]
    pub(crate) fn avx512(self) -> Avx512 {
        self.avx512_bf16().avx512()
    }
}

/// The unit of this thread, in use until this is dropped.
pub(crate) struct ConfiguredUnit {
    unit: Unit,
    /// What is configured is this thread's.
    here: PhantomData<*const ()>,
}

impl ConfiguredUnit {
    /// Makes the unit ready: its eight tiles, if it has them, are of 16 rows of 64 bytes.
    pub(crate) fn new(unit: Unit) -> Self {
        #[repr(C, align(64))]
        struct Shape {
            palette: u8,
            start: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        if let Unit::Amx(_) = unit {
            let mut shape = Shape { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            shape.row_bytes[..8].fill(64);
            shape.rows[..8].fill(16);
            // SAFETY: the unit is a witness of tiles that the system permits; the operand is a
            // configuration of 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        }
        Self { unit, here: PhantomData }
    }

    /// Which one it is.
    #[inline]
    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }
}

impl Drop for ConfiguredUnit {
    fn drop(&mut self) {
        if let Unit::Amx(_) = self.unit {
            // SAFETY: tiles were configured. Those in use would have to be saved whenever the
            // thread is put aside.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}
