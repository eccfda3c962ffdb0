//! Which of the algorithms that cuDNN offers a convolution is computed with.
//!
//! In: cuDNN's list for one shape and direction, the fastest first, and how an algorithm fares when
//! it is tried. Out: the first one whose sums have a fixed order, which rounds no more than it may,
//! is content with the memory, and runs; and what spoke against those before it.
//!
//! cuDNN lists an algorithm with the math type that it means, whatever the descriptor said. Under
//! another one it is refused, slow, or in bf16 no number, so each is launched under its own. Only
//! f32 without TF32 is launched under FMA whatever was listed: for scalar cores cuDNN lists the
//! default type, under which it may take TF32.

use candle_core::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as Image, cudnnConvolutionBwdFilterAlgo_t as Weight,
    cudnnConvolutionFwdAlgo_t as Forward, cudnnMathType_t as Math,
};
use candle_core::{Result, bail};
use std::fmt;

/// Algorithms that want more memory than this beside their operands are passed over.
const MOST_SCRATCH: usize = 512 << 20;

/// Which of a convolution's three computations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// y of x and W.
    Forward,
    /// dx of dy and W.
    Image,
    /// dW of x and dy.
    Weight,
}

impl Direction {
    pub(super) const ALL: [Self; 3] = [Self::Forward, Self::Image, Self::Weight];

    /// Its name in what is shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Image => "gradient of the image",
            Self::Weight => "gradient of the weight",
        }
    }

    /// How many algorithms cuDNN has for it.
    pub(super) fn algorithms(self) -> usize {
        match self {
            Self::Forward => Forward::CUDNN_CONVOLUTION_FWD_ALGO_COUNT as usize,
            Self::Image => Image::CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT as usize,
            Self::Weight => Weight::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT as usize,
        }
    }

    /// What does for every shape, in sums of a fixed order.
    fn modest(self) -> Algorithm {
        match self {
            Self::Forward => Algorithm::Forward(Forward::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM),
            Self::Image => Algorithm::Image(Image::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1),
            Self::Weight => Algorithm::Weight(Weight::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1),
        }
    }
}

/// One of cuDNN's algorithms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Forward(Forward),
    Image(Image),
    Weight(Weight),
}

impl Algorithm {
    /// The algorithm of this number; a newer library may have more than are known here.
    pub(super) fn numbered(direction: Direction, number: u32) -> Option<Self> {
        use {Forward as F, Image as I, Weight as W};
        const FORWARD: [Forward; 8] = [
            F::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            F::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
            F::CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
            F::CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
            F::CUDNN_CONVOLUTION_FWD_ALGO_FFT,
            F::CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
            F::CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
            F::CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
        ];
        const IMAGE: [Image; 6] = [
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
            I::CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED,
        ];
        const WEIGHT: [Weight; 7] = [
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,
            W::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING,
        ];
        let number = number as usize;
        match direction {
            Direction::Forward => FORWARD.get(number).copied().map(Self::Forward),
            Direction::Image => IMAGE.get(number).copied().map(Self::Image),
            Direction::Weight => WEIGHT.get(number).copied().map(Self::Weight),
        }
    }
}

impl fmt::Display for Algorithm {
    /// cuDNN's name without what all of them begin with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Forward(algorithm) => format!("{algorithm:?}"),
            Self::Image(algorithm) => format!("{algorithm:?}"),
            Self::Weight(algorithm) => format!("{algorithm:?}"),
        };
        f.write_str(name.trim_start_matches("CUDNN_CONVOLUTION_"))
    }
}

/// The math type of this number.
pub(super) fn math(number: u32) -> Option<Math> {
    const MATH: [Math; 4] = [
        Math::CUDNN_DEFAULT_MATH,
        Math::CUDNN_TENSOR_OP_MATH,
        Math::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
        Math::CUDNN_FMA_MATH,
    ];
    MATH.get(number as usize).copied()
}

/// cuDNN's name of a math type without what all of them begin with.
pub(super) fn named(math: Math) -> String {
    format!("{math:?}").trim_start_matches("CUDNN_").to_owned()
}

/// What operands may be rounded to on their way into a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// They are bf16 or f16 already.
    Short,
    /// f32, to TF32.
    Tf32,
    /// f32, to nothing.
    F32,
}

impl Arithmetic {
    /// The math type that cuDNN is asked under.
    pub(super) fn asked(self) -> Math {
        match self {
            Self::Short => Math::CUDNN_TENSOR_OP_MATH,
            Self::Tf32 => Math::CUDNN_DEFAULT_MATH,
            Self::F32 => Math::CUDNN_FMA_MATH,
        }
    }

    /// The math types under which the algorithm that does for every shape is tried.
    fn modest(self) -> &'static [Math] {
        match self {
            Self::Short => &[Math::CUDNN_TENSOR_OP_MATH, Math::CUDNN_DEFAULT_MATH],
            Self::Tf32 => &[Math::CUDNN_DEFAULT_MATH],
            Self::F32 => &[Math::CUDNN_FMA_MATH],
        }
    }

    /// The math type that an algorithm which was listed with this one is launched under, unless it
    /// would round more than is allowed.
    fn launched(self, listed: Math) -> Option<Math> {
        match (self, listed) {
            (Self::Short, any) => Some(any),
            (Self::Tf32 | Self::F32, Math::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION)
            | (Self::F32, Math::CUDNN_TENSOR_OP_MATH) => None,
            (Self::Tf32, other) => Some(other),
            (Self::F32, Math::CUDNN_DEFAULT_MATH | Math::CUDNN_FMA_MATH) => Some(Math::CUDNN_FMA_MATH),
        }
    }
}

/// An entry of cuDNN's list.
#[derive(Clone, Copy)]
pub(super) struct Offer {
    pub(super) algorithm: Algorithm,
    pub(super) math: Math,
    /// The memory that it wants beside its operands, bytes.
    pub(super) bytes: usize,
    /// Whether its sums have a fixed order.
    pub(super) ordered: bool,
}

impl Offer {
    /// What speaks against it before it is tried, or the math type that it is tried under.
    fn checked(&self, arithmetic: Arithmetic) -> std::result::Result<Math, String> {
        let Some(math) = arithmetic.launched(self.math) else { return Err("rounds its operands".to_owned()) };
        if !self.ordered {
            return Err("its sums have no fixed order".to_owned());
        }
        small(self.bytes).map(|()| math)
    }
}

/// Errors if an algorithm wants too much memory.
pub(super) fn small(bytes: usize) -> std::result::Result<(), String> {
    if bytes <= MOST_SCRATCH { Ok(()) } else { Err(format!("wants {} MiB", bytes >> 20)) }
}

/// What one computation of one shape is done with.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) algorithm: Algorithm,
    pub(super) math: Math,
    /// The memory that it has beside its operands, bytes.
    pub(super) bytes: usize,
    /// What spoke against the faster ones.
    pub(super) passed_over: Vec<String>,
}

/// Takes the first offer that passes and that `attempt`, which computes with it and says how many
/// bytes that took, does not refuse; if there is none, the algorithm that does for every shape.
///
/// # Errors
///
/// If that one is refused too: then with all that was said.
pub(super) fn choose(
    direction: Direction,
    arithmetic: Arithmetic,
    offers: std::result::Result<Vec<Offer>, String>,
    mut attempt: impl FnMut(Algorithm, Math, Most) -> std::result::Result<usize, String>,
) -> Result<Choice> {
    let mut passed_over = Vec::new();
    let offers = offers.unwrap_or_else(|why| {
        passed_over.push(format!("no list: {why}"));
        Vec::new()
    });
    let listed = offers.iter().map(|offer| (offer.algorithm, offer.math, offer.checked(arithmetic), Most::Limited));
    let modest = arithmetic.modest().iter().map(|math| (direction.modest(), *math, Ok(*math), Most::Any));
    for (algorithm, listed, checked, most) in listed.chain(modest) {
        match checked.and_then(|math| attempt(algorithm, math, most).map(|bytes| (math, bytes))) {
            Ok((math, bytes)) => return Ok(Choice { algorithm, math, bytes, passed_over }),
            Err(why) => passed_over.push(format!("{algorithm} in {}: {why}", named(listed))),
        }
    }
    bail!("cuDNN has no algorithm for the {}: {}", direction.name(), passed_over.join("; "))
}

/// How much memory an algorithm may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Most {
    /// As much as [`small`] says.
    Limited,
    /// What it wants.
    Any,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(number: u32, math: Math, bytes: usize, ordered: bool) -> Offer {
        let algorithm = Algorithm::numbered(Direction::Image, number).unwrap();
        Offer { algorithm, math, bytes, ordered }
    }

    /// What is tried, in order, where all but the last one are refused.
    fn tried(arithmetic: Arithmetic, offers: &[Offer]) -> Vec<(String, Math)> {
        let mut seen = Vec::new();
        let refuses = |algorithm: Algorithm, math, _| {
            seen.push((algorithm.to_string(), math));
            Err("refused".to_owned())
        };
        assert!(choose(Direction::Image, arithmetic, Ok(offers.to_vec()), refuses).is_err());
        seen
    }

    #[test]
    fn an_algorithm_is_tried_under_the_math_type_that_it_was_listed_with() {
        use Math::{CUDNN_DEFAULT_MATH as DEFAULT, CUDNN_FMA_MATH as FMA, CUDNN_TENSOR_OP_MATH as TENSOR};
        let list = [
            offer(0, TENSOR, 0, false),
            offer(1, TENSOR, 0, true),
            offer(4, TENSOR, 1 << 30, true),
            offer(5, DEFAULT, 0, true),
            offer(1, FMA, 0, true),
        ];
        let of = |all: &[(&str, Math)]| all.iter().map(|(n, m)| (format!("BWD_DATA_ALGO_{n}"), *m)).collect::<Vec<_>>();
        let short = of(&[("1", TENSOR), ("WINOGRAD_NONFUSED", DEFAULT), ("1", FMA), ("1", TENSOR), ("1", DEFAULT)]);
        assert_eq!(tried(Arithmetic::Short, &list), short);
        let tf32 = of(&[("1", TENSOR), ("WINOGRAD_NONFUSED", DEFAULT), ("1", FMA), ("1", DEFAULT)]);
        assert_eq!(tried(Arithmetic::Tf32, &list), tf32);
        // In f32 what would round is not tried, and nothing may use TF32 by default.
        let f32 = of(&[("WINOGRAD_NONFUSED", FMA), ("1", FMA), ("1", FMA)]);
        assert_eq!(tried(Arithmetic::F32, &list), f32);
    }

    #[test]
    fn the_first_that_runs_is_kept_with_what_spoke_against_those_before() {
        let math = Math::CUDNN_TENSOR_OP_MATH;
        let list = vec![
            offer(0, math, 0, false),
            offer(4, math, 600 << 20, true),
            offer(5, math, 0, true),
            offer(1, math, 7, true),
        ];
        let attempt = |algorithm: Algorithm, _, most| {
            assert_eq!(most, Most::Limited);
            if algorithm.to_string().ends_with("WINOGRAD_NONFUSED") { Err("NOT_SUPPORTED".to_owned()) } else { Ok(11) }
        };
        let choice = choose(Direction::Image, Arithmetic::Short, Ok(list), attempt).unwrap();
        assert_eq!((choice.algorithm.to_string().as_str(), choice.bytes), ("BWD_DATA_ALGO_1", 11));
        assert_eq!(
            choice.passed_over,
            [
                "BWD_DATA_ALGO_0 in TENSOR_OP_MATH: its sums have no fixed order",
                "BWD_DATA_ALGO_WINOGRAD in TENSOR_OP_MATH: wants 600 MiB",
                "BWD_DATA_ALGO_WINOGRAD_NONFUSED in TENSOR_OP_MATH: NOT_SUPPORTED"
            ]
        );
    }

    #[test]
    fn without_a_list_there_is_one_that_does_for_every_shape() {
        for direction in Direction::ALL {
            let choice = choose(direction, Arithmetic::F32, Err("BAD_PARAM".to_owned()), |_, _, most| {
                assert_eq!(most, Most::Any);
                Ok(0)
            })
            .unwrap();
            assert!(choice.algorithm == direction.modest());
            assert_eq!(choice.math, Math::CUDNN_FMA_MATH);
            assert_eq!(choice.passed_over, ["no list: BAD_PARAM"]);
            let last = direction.algorithms() as u32;
            assert!(
                Algorithm::numbered(direction, last - 1).is_some() && Algorithm::numbered(direction, last).is_none()
            );
        }
    }
}
