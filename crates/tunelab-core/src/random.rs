//! Named, seeded streams of random numbers: the only source of randomness in the crate.
//!
//! In: a seed. Out: the numbers that PyTorch's CPU generator gives for it (`torch.Generator("cpu").manual_seed(s)`),
//! so that a seed means the same picture here and in diffusers. The engine is MT19937 (Matsumoto and Nishimura, 1998);
//! normal numbers are made by the Box-Muller transform in torch's two ways (blocks of 16, or one by one). Logarithm,
//! sine and cosine are taken in f64 and rounded once, so they do not depend on the platform's f32 library.

use sha2::{Digest, Sha256};
use std::f64::consts::TAU;

/// Length of the engine's state in words.
const STATE_LEN: usize = 624;
/// Distance of the word that is mixed into each new one.
const SHIFT: usize = 397;
/// From this many numbers on, `torch.randn` fills in blocks instead of drawing one by one.
const FILL_FROM: usize = 16;
/// From this range on, `torch.randint` reduces 64 random bits instead of 32.
const WIDE_RANGE: u64 = 1 << 28;

/// A stream of random numbers, the same as `torch.Generator("cpu")`'s.
#[derive(Debug, Clone)]
pub struct Generator {
    state: Vec<u32>,
    next: usize,
    /// The sine half of the last single normal draw; torch keeps it for the next one, however much later.
    spare_normal: Option<f64>,
}

impl Generator {
    /// The stream of `torch.Generator("cpu").manual_seed(seed)`. As in torch, only the low 32 bits count.
    pub fn manual_seed(seed: u64) -> Self {
        let mut state = Vec::with_capacity(STATE_LEN);
        let mut word = seed as u32;
        state.push(word);
        for j in 1..STATE_LEN as u32 {
            word = (word ^ (word >> 30)).wrapping_mul(1_812_433_253).wrapping_add(j);
            state.push(word);
        }
        Self { state, next: STATE_LEN, spare_normal: None }
    }

    /// The stream called `name`, number `index`, of an experiment with this seed.
    ///
    /// Its torch seed is the first four bytes (little-endian) of SHA-256 over `seed` and `index` (eight bytes each,
    /// little-endian) and the bytes of `name`. A stream is a pure function of the three: what one part of a run draws never
    /// moves the numbers of another, and a resumed run needs no saved state.
    pub fn stream(seed: u64, name: &str, index: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        hash.update(name.as_bytes());
        let digest = hash.finalize();
        Self::manual_seed(u64::from(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])))
    }

    /// `n` numbers from N(0, 1): `torch.randn(n, generator=g)` in float32.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < FILL_FROM {
            return (0..n).map(|_| self.single_normal() as f32).collect();
        }
        let mut out = self.rand(n);
        for block in out.chunks_exact_mut(FILL_FROM) {
            box_muller_block(block);
        }
        if !n.is_multiple_of(FILL_FROM) {
            // torch draws the last 16 afresh, over some that were finished already.
            let last = self.rand(FILL_FROM);
            let tail = &mut out[n - FILL_FROM..];
            tail.copy_from_slice(&last);
            box_muller_block(tail);
        }
        out
    }

    /// `n` numbers uniform in [0, 1): `torch.rand(n, generator=g)` in float32, multiples of 2⁻²⁴.
    pub fn rand(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0).collect()
    }

    /// `n` integers uniform in `0..high`: `torch.randint(0, high, (n,), generator=g)`. A `high` of 0 gives zeros.
    pub fn randint(&mut self, high: u64, n: usize) -> Vec<u64> {
        let high = high.max(1);
        let draw = |g: &mut Self| if high >= WIDE_RANGE { g.next_u64() } else { u64::from(g.next_u32()) };
        (0..n).map(|_| draw(self) % high).collect()
    }

    /// A permutation of `0..n`: `torch.randperm(n, generator=g)` for every `n` below 2³² / 20 (from there on torch draws
    /// 64 bits for each place; no data set is that long).
    pub fn randperm(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            let step = self.next_u32() as usize % (n - i);
            order.swap(i, i + step);
        }
        order
    }

    /// One normal number by Box-Muller in f64; the second of the pair is kept for the next call.
    fn single_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let u1 = self.uniform_f64();
        let u2 = self.uniform_f64();
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let theta = TAU * u1;
        self.spare_normal = Some(radius * theta.sin());
        radius * theta.cos()
    }

    /// Uniform in [0, 1) with 53 random bits.
    fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    /// 64 bits: the first word drawn is the upper half.
    fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// The engine's next word, tempered.
    fn next_u32(&mut self) -> u32 {
        if self.next == STATE_LEN {
            self.renew();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Computes the next 624 words from the last 624.
    fn renew(&mut self) {
        for i in 0..STATE_LEN {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE_LEN] & 0x7fff_ffff);
            let twist = (y >> 1) ^ if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE_LEN] ^ twist;
        }
        self.next = 0;
    }
}

/// Turns 16 uniform numbers into 16 normal ones: the first eight give the radii, the last eight the angles.
///
/// The angle is rounded to f32 before its cosine is taken, because torch does so: near 2π that rounding alone moves the
/// result by 2e-7 times the radius.
fn box_muller_block(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(FILL_FROM / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * f64::from(1.0 - *a).ln()).sqrt();
        let theta = f64::from(std::f32::consts::TAU * *b);
        *a = (radius * theta.cos()) as f32;
        *b = (radius * theta.sin()) as f32;
    }
}
