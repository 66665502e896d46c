//! Scenes: drawings on a ground, changed toward photographs.

use rand::{Rng, RngExt};
use resvg::tiny_skia::{FilterQuality, Pixmap, PixmapPaint, PremultipliedColorU8, Transform};

/// Side of a scene, in pixels: that of CLIP's input.
pub const SIDE: u32 = 224;

/// Place of a drawing in a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Centre, as fractions of the side.
    pub x: f32,
    pub y: f32,
    /// Side of the drawing, as a fraction of the scene's.
    pub size: f32,
    /// Turn in degrees.
    pub turn: f32,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

/// Draws a scene: a ground, then the drawings one over the other, then light, blur and noise.
/// Returns pixels `[SIDE, SIDE, 3]`.
pub fn compose(drawings: &[(&Pixmap, Place)], random: &mut impl Rng) -> Vec<u8> {
    let mut scene = ground(random);
    for (drawing, place) in drawings {
        let side = SIDE as f32;
        let scale = place.size * side / drawing.width() as f32;
        let flip = if place.mirrored { -scale } else { scale };
        let half = drawing.width() as f32 / 2.0;
        let transform = Transform::from_translate(-half, -half)
            .post_scale(flip, scale)
            .post_rotate(place.turn)
            .post_translate(place.x * side, place.y * side);
        let paint = PixmapPaint {
            quality: FilterQuality::Bilinear,
            ..PixmapPaint::default()
        };
        scene.draw_pixmap(0, 0, drawing.as_ref(), &paint, transform, None);
    }
    let mut values: Vec<f32> = scene
        .pixels()
        .iter()
        .flat_map(|p| [p.red(), p.green(), p.blue()])
        .map(|value| value as f32 / 255.0)
        .collect();
    light(&mut values, random);
    if random.random_bool(0.4) {
        values = blurred(&values);
    }
    let noise = random.random_range(0.0..0.06f32);
    values
        .into_iter()
        .map(|value| {
            let value = value + noise * (random.random::<f32>() - random.random::<f32>());
            (value.clamp(0.0, 1.0) * 255.0).round() as u8
        })
        .collect()
}

/// A ground of one colour, a gradient, a texture, or a sky over land.
fn ground(random: &mut impl Rng) -> Pixmap {
    let mut color = || -> [f32; 3] { std::array::from_fn(|_| random.random()) };
    let (first, second, third) = (color(), color(), color());
    // most photographs of single things have a calm ground
    let pale = first.map(|value| 0.75 + 0.25 * value);
    let kind = random.random_range(0..5);
    let turn = random.random_range(0.0..std::f32::consts::TAU);
    let texture = Texture::new(random);
    let horizon = random.random_range(0.35..0.75f32);
    let mut scene = Pixmap::new(SIDE, SIDE).expect("a small picture");
    for (index, pixel) in scene.pixels_mut().iter_mut().enumerate() {
        let (x, y) = (index as u32 % SIDE, index as u32 / SIDE);
        let [u, v] = [x, y].map(|at| at as f32 / SIDE as f32);
        let along = (u - 0.5) * turn.cos() + (v - 0.5) * turn.sin() + 0.5;
        let grain = texture.at(u, v);
        let color = match kind {
            0 => pale,
            1 => mixed(pale, second, 0.4 * along),
            2 => mixed(first, second, along),
            3 => mixed(first, second, grain),
            _ if v < horizon => mixed(pale, second, 0.3 * v),
            _ => mixed(second, third, grain),
        };
        let [red, green, blue] = color.map(|value| (value.clamp(0.0, 1.0) * 255.0) as u8);
        *pixel = PremultipliedColorU8::from_rgba(red, green, blue, 255).expect("opaque");
    }
    scene
}

fn mixed(from: [f32; 3], to: [f32; 3], part: f32) -> [f32; 3] {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * part)
}

/// Smooth noise of several scales, in 0 to 1.
struct Texture {
    values: Vec<f32>,
    scale: f32,
}

impl Texture {
    /// Side of the lattice of values.
    const LATTICE: usize = 64;

    fn new(random: &mut impl Rng) -> Texture {
        Texture {
            values: (0..Self::LATTICE * Self::LATTICE)
                .map(|_| random.random())
                .collect(),
            scale: random.random_range(2.0..8.0),
        }
    }

    fn at(&self, u: f32, v: f32) -> f32 {
        let octaves = [(1.0, 0.5), (2.0, 0.25), (4.0, 0.15), (8.0, 0.1)];
        let values = octaves.map(|(scale, weight)| {
            weight * self.lattice(u * self.scale * scale, v * self.scale * scale)
        });
        values.iter().sum()
    }

    fn lattice(&self, x: f32, y: f32) -> f32 {
        let value =
            |x: usize, y: usize| self.values[y % Self::LATTICE * Self::LATTICE + x % Self::LATTICE];
        let (left, top) = (x as usize, y as usize);
        let [u, v] = [x.fract(), y.fract()].map(|t| t * t * (3.0 - 2.0 * t));
        let above = value(left, top) * (1.0 - u) + value(left + 1, top) * u;
        let below = value(left, top + 1) * (1.0 - u) + value(left + 1, top + 1) * u;
        above * (1.0 - v) + below * v
    }
}

/// Light that falls from one side, with another contrast, gamma and tint.
fn light(values: &mut [f32], random: &mut impl Rng) {
    let turn = random.random_range(0.0..std::f32::consts::TAU);
    let strength = random.random_range(0.0..0.5f32);
    let gamma = random.random_range(0.75..1.35f32);
    let contrast = random.random_range(0.7..1.15f32);
    let tint: [f32; 3] = std::array::from_fn(|_| random.random_range(0.9..1.08));
    for (index, pixel) in values.chunks_exact_mut(3).enumerate() {
        let (x, y) = (index as u32 % SIDE, index as u32 / SIDE);
        let [u, v] = [x, y].map(|at| at as f32 / SIDE as f32 - 0.5);
        let shade = 1.0 + strength * (u * turn.cos() + v * turn.sin());
        for (value, tint) in pixel.iter_mut().zip(tint) {
            let changed = (value.powf(gamma) - 0.5) * contrast + 0.5;
            *value = (changed * shade * tint).clamp(0.0, 1.0);
        }
    }
}

/// The mean of each pixel's neighbourhood of 3x3.
fn blurred(values: &[f32]) -> Vec<f32> {
    let side = SIDE as usize;
    let near = |at: usize| at.saturating_sub(1)..(at + 2).min(side);
    let mean = |x: usize, y: usize, channel: usize| {
        let all = near(y).flat_map(|y| near(x).map(move |x| (y * side + x) * 3 + channel));
        let (sum, count) = all.fold((0.0, 0), |(sum, count), at| (sum + values[at], count + 1));
        sum / count as f32
    };
    let pixels = (0..side * side).map(|index| (index % side, index / side));
    pixels
        .flat_map(|(x, y)| (0..3).map(move |channel| mean(x, y, channel)))
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const MIDDLE: Place = Place {
        x: 0.5,
        y: 0.5,
        size: 0.5,
        turn: 0.0,
        mirrored: false,
    };

    fn compose_with(seed: u64, drawings: &[(&Pixmap, Place)]) -> Vec<u8> {
        compose(drawings, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn scenes_follow_their_seed() {
        assert_eq!(compose_with(1, &[]), compose_with(1, &[]));
        assert_ne!(compose_with(1, &[]), compose_with(2, &[]));
    }

    #[test]
    fn drawings_cover_their_places_only() {
        let mut black = Pixmap::new(64, 64).unwrap();
        black.fill(resvg::tiny_skia::Color::BLACK);
        for seed in 0..8 {
            let (with, without) = (
                compose_with(seed, &[(&black, MIDDLE)]),
                compose_with(seed, &[]),
            );
            let at = |picture: &[u8], x: usize, y: usize| picture[(y * SIDE as usize + x) * 3];
            assert!(at(&with, 112, 112) < 110, "seed {seed}");
            assert_eq!(at(&with, 10, 10), at(&without, 10, 10), "seed {seed}");
        }
    }
}
