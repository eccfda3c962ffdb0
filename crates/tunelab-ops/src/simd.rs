//! Which vector instructions the CPU kernels may use, and the witnesses that a processor has them.
//!
//! In: what the processor and the system have, and the variable `TUNELAB_SIMD`. Out: [`current`],
//! the set in use, the same for the whole program; the witnesses `Avx512`, `Avx512Bf16` and `Amx`,
//! which nothing but this file makes; and `vectorize`, which compiles a loop for each set and runs
//! it in the one in use.
//!
//! Each set has all that the ones before it have:
//!
//! | set | what the CPU kernels use |
//! |---|---|
//! | `portable` | kernels in arrays, which the compiler puts into what every processor of the architecture has (SSE2, NEON) |
//! | `neon` | kernels in NEON (ARM's 64-bit processors alone) |
//! | `avx2` | kernels in AVX2 with FMA |
//! | `avx512` | kernels in AVX-512, and products of bf16 in AVX-512 BF16 where there is that |
//! | `amx` | products of bf16 on tile registers |
//!
//! candle's own products, of operations that have no kernel here, are those of the `gemm` crate, which
//! takes the best instructions that the processor has.

use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod peak;
mod plain;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Amx, Avx2, Avx512, Avx512Bf16};

pub use peak::{peak, peak_bf16};

/// The environment variable that names the set.
pub const VARIABLE: &str = "TUNELAB_SIMD";

/// A set of instructions; each has all that the ones before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What every processor of the architecture has.
    Portable,
    /// NEON.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512, with its products of bf16 where there are some, but no tile registers.
    Avx512,
    /// All, tile registers too.
    Amx,
}

impl Simd {
    /// All sets of this architecture, the smallest first.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: &'static [Self] = &[Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];
    /// All sets of this architecture, the smallest first.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: &'static [Self] = &[Self::Portable, Self::Neon];
    /// All sets of this architecture.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: &'static [Self] = &[Self::Portable];

    /// The largest set that this processor has and that the system lets this process use.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return x86::detect();
        #[cfg(not(target_arch = "x86_64"))]
        Self::ALL[Self::ALL.len() - 1]
    }

    /// Its name, as the variable has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

static CURRENT: OnceLock<Simd> = OnceLock::new();

/// Chooses the set for the whole program, once, before anything is computed: the one that is
/// asked for, or the largest. Errors where the word is unknown, the processor lacks the set, or
/// another one is in use already.
pub fn choose(asked: Option<&str>) -> Result<Simd, String> {
    let chosen = resolve(asked, Simd::detect())?;
    let current = *CURRENT.get_or_init(|| chosen);
    if current == chosen {
        return Ok(current);
    }
    Err(format!(
        "{VARIABLE}: {current} is in use already, so {chosen} cannot be chosen; choose before anything is computed"
    ))
}

/// The set in use: the one that [`choose`] was given or, where it was not called, the variable's.
///
/// # Panics
/// If nobody called [`choose`] and the variable's value is one that it refuses.
#[inline]
pub fn current() -> Simd {
    *CURRENT.get_or_init(from_environment)
}

#[cold]
fn from_environment() -> Simd {
    let asked = std::env::var_os(VARIABLE).map(|asked| asked.to_string_lossy().into_owned());
    match resolve(asked.as_deref(), Simd::detect()) {
        Ok(simd) => simd,
        Err(problem) => panic!("{problem}"),
    }
}

/// The set that is asked for on a processor whose largest one is `best`. Nothing asks for that.
fn resolve(asked: Option<&str>, best: Simd) -> Result<Simd, String> {
    let Some(asked) = asked.map(str::trim).filter(|asked| !asked.is_empty()) else { return Ok(best) };
    let there: Vec<&str> = Simd::ALL.iter().filter(|simd| **simd <= best).map(|simd| simd.name()).collect();
    let remedy = format!("this processor has {}; unset {VARIABLE} to use {best}", there.join(", "));
    match Simd::ALL.iter().copied().find(|simd| simd.name() == asked) {
        Some(simd) if simd <= best => Ok(simd),
        Some(_) => Err(format!("{VARIABLE}={asked}: this processor or system lacks these instructions; {remedy}")),
        None => Err(format!("{VARIABLE}={asked} is no set of instructions; {remedy}")),
    }
}

/// The instructions that kernels in f32 are compiled for and use, of the set in use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Plain(plain::Plain),
}

/// A witness that kernels in NEON are asked for; every processor of the architecture has it.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon(());

impl Vectors {
    /// The widest that the set in use has.
    #[inline]
    pub(crate) fn detect() -> Self {
        Self::there().next().unwrap_or(Self::Plain(plain::Plain))
    }

    /// All that the set in use has, and plain arrays.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        Self::there().chain([Self::Plain(plain::Plain)]).collect()
    }

    /// All vectors of registers that the set in use has, the widest first.
    fn there() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let there = [Avx512::detect().map(Self::Avx512), Avx2::detect().map(Self::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let there = [(current() >= Simd::Neon).then_some(Self::Neon(Neon(())))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let there: [Option<Self>; 0] = [];
        there.into_iter().flatten()
    }
}

/// Computes something with the witness of the instructions that [`Vectors`] says.
macro_rules! with_isa {
    ($vectors:expr, $isa:ident => $body:expr) => {
        match $vectors {
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Vectors::Avx512($isa) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Vectors::Avx2($isa) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::simd::Vectors::Neon($isa) => $body,
            $crate::simd::Vectors::Plain($isa) => $body,
        }
    };
}
pub(crate) use with_isa;

/// Runs a loop with the widest vector instructions of the set in use. The loop must be written so
/// that the compiler can vectorize it, in a closure marked `#[inline(always)]`: it is compiled once
/// for each set, and what is not inlined there is compiled for the least of them. Results are the
/// same for every set because no operation is contracted.
#[inline(always)]
pub(crate) fn vectorize<F: FnMut()>(f: F) {
    struct Body<F>(F);
    impl<F: FnMut()> pulp::NullaryFnOnce for Body<F> {
        type Output = ();
        #[inline(always)]
        fn call(mut self) {
            (self.0)();
        }
    }
    let body = Body(f);
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::{Scalar, Simd as _, x86::V3, x86::V4};
        let simd = current();
        match (V4::try_new(), V3::try_new()) {
            (Some(v4), _) if simd >= Simd::Avx512 => v4.vectorize(body),
            (_, Some(v3)) if simd >= Simd::Avx2 => v3.vectorize(body),
            _ => Scalar.vectorize(body),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    pulp::Arch::new().dispatch(body);
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a system call asks for the tile registers; a witness enters what needs instructions")]
mod x86 {
    //! Detection, and the witnesses.

    use super::{Simd, current};

    /// A witness that this process may use AVX2 with FMA.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx2(());

    /// A witness that this process may use AVX-512 (its foundation). Whoever holds one can call
    /// what needs the instructions.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx512(());

    /// A witness of AVX-512 with its words of 16 bits and its products of bf16.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx512Bf16(Avx512);

    /// A witness of tile registers that multiply bf16, which the system has granted, besides all
    /// that [`Avx512Bf16`] says.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Amx(Avx512Bf16);

    impl Avx2 {
        /// If the set in use has it.
        #[inline]
        pub(crate) fn detect() -> Option<Self> {
            (current() >= Simd::Avx2).then_some(Self(()))
        }
    }

    impl Avx512 {
        /// If the set in use has it.
        #[inline]
        pub(crate) fn detect() -> Option<Self> {
            (current() >= Simd::Avx512).then_some(Self(()))
        }

        /// In a function that is compiled for it and was entered by a witness.
        #[target_feature(enable = "avx512f")]
        #[inline]
        pub(crate) fn here() -> Self {
            Self(())
        }
    }

    impl Avx512Bf16 {
        /// If the set in use has it, and the processor too.
        #[inline]
        pub(crate) fn detect() -> Option<Self> {
            Avx512::detect().filter(|_| has_avx512_bf16()).map(Self)
        }

        /// What it has besides.
        #[inline]
        pub(crate) fn avx512(self) -> Avx512 {
            self.0
        }

        /// Runs what is compiled for these instructions.
        #[expect(clippy::unused_self, reason = "whoever holds a witness may run it")]
        #[inline(always)]
        pub(crate) fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
            #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
            fn call<R>(kernel: impl FnOnce() -> R) -> R {
                kernel()
            }
            // SAFETY: this is a witness of the instructions.
            unsafe { call(kernel) }
        }
    }

    impl Amx {
        /// If the set in use has it.
        #[inline]
        pub(crate) fn detect() -> Option<Self> {
            Avx512Bf16::detect().filter(|_| current() == Simd::Amx).map(Self)
        }

        /// What it has besides.
        #[inline]
        pub(crate) fn avx512_bf16(self) -> Avx512Bf16 {
            self.0
        }
    }

    fn has_avx512_bf16() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
    }

    pub(super) fn detect() -> Simd {
        // Leaf 7: bits 22 (bf16) and 24 (tiles) of EDX.
        let tiles = || std::arch::x86_64::__cpuid_count(7, 0).edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24);
        match is_x86_feature_detected!("avx512f") {
            true if has_avx512_bf16() && tiles() && permitted() => Simd::Amx,
            true => Simd::Avx512,
            false if pulp::x86::V3::try_new().is_some() => Simd::Avx2,
            false => Simd::Portable,
        }
    }

    /// Asks the system for the tile registers, for all threads of this process.
    #[cfg(target_os = "linux")]
    fn permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let answer: i64;
        // SAFETY: a system call without pointers; the kernel overwrites rcx and r11.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILE_DATA, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        answer == 0
    }

    #[cfg(not(target_os = "linux"))]
    fn permitted() -> bool {
        false
    }
}
