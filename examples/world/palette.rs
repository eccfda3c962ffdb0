//! Colours: the tones of each coat, and the arithmetic of mixing and lighting them.

use crate::scene::Coat;

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// From `0xrrggbb`.
    pub const fn hex(code: u32) -> Self {
        Rgb((code >> 16) as u8, (code >> 8) as u8, code as u8)
    }

    /// `t` of the way to `other`.
    pub fn mix(self, other: Rgb, t: f32) -> Self {
        let part = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * t + 0.5) as u8;
        Rgb(part(self.0, other.0), part(self.1, other.1), part(self.2, other.2))
    }

    /// Each channel times its gain.
    pub fn lit(self, gain: [f32; 3]) -> Self {
        let part = |a: u8, g: f32| (f32::from(a) * g + 0.5).min(255.0) as u8;
        Rgb(part(self.0, gain[0]), part(self.1, gain[1]), part(self.2, gain[2]))
    }
}

/// White.
pub const WHITE: Rgb = Rgb::hex(0x00ff_ffff);
/// The dark of eyes and noses.
pub const INK: Rgb = Rgb::hex(0x002b_2129);
/// The pink inside ears, and of some noses.
pub const ROSE: Rgb = Rgb::hex(0x00f2_9aa6);

/// The tones of one coat: three for the fur, one for the outline, and the patches' if it has patches.
#[derive(Debug, Clone, Copy)]
pub struct Tones {
    /// The fur.
    pub base: Rgb,
    /// The fur in shade, and the legs on the far side.
    pub shade: Rgb,
    /// Muzzle and belly.
    pub light: Rgb,
    /// The outline.
    pub line: Rgb,
    /// What is drawn on the fur: closed eyes, mouths, whiskers.
    pub mark: Rgb,
    /// Ears, tail and large patches where they differ from the fur.
    pub patch: Option<Rgb>,
}

impl Rgb {
    /// Whether black features are lost on it.
    pub fn dark(self) -> bool {
        u32::from(self.0) + u32::from(self.1) + u32::from(self.2) < 290
    }
}

/// The tones of a coat.
pub fn tones(coat: Coat) -> Tones {
    match coat {
        Coat::Brown => plain(0x0090_5a32),
        Coat::Black => Tones {
            base: Rgb::hex(0x003c_3c46),
            shade: Rgb::hex(0x002a_2a33),
            light: Rgb::hex(0x0074_7482),
            line: Rgb::hex(0x0015_151b),
            mark: Rgb::hex(0x00c9_c9d4),
            patch: None,
        },
        Coat::White => white(None),
        Coat::Grey => plain(0x0098_9da6),
        Coat::Orange => plain(0x00f2_8a24),
        Coat::Cream => plain(0x00f5_d890),
        Coat::Pink => plain(0x00f5_97ba),
        Coat::Blue => plain(0x0056_8ae6),
        Coat::BlackAndWhite => white(Some(Rgb::hex(0x0038_3842))),
        Coat::BrownAndWhite => white(Some(Rgb::hex(0x0092_592f))),
    }
}

/// Tones derived from one colour.
fn plain(code: u32) -> Tones {
    let base = Rgb::hex(code);
    let deep = base.mix(Rgb::hex(0x0030_1838), 0.62);
    Tones {
        base,
        shade: base.mix(deep, 0.3),
        light: base.mix(WHITE, 0.6),
        line: deep,
        mark: deep.mix(INK, 0.5),
        patch: None,
    }
}

/// Off-white with grey shade, and patches perhaps.
pub fn white(patch: Option<Rgb>) -> Tones {
    Tones {
        base: Rgb::hex(0x00fa_f8f4),
        shade: Rgb::hex(0x00d6_d5dc),
        light: WHITE,
        line: Rgb::hex(0x0078_7684),
        mark: Rgb::hex(0x004a_4552),
        patch,
    }
}
